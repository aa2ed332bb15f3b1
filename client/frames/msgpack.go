package frames

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// decodeCounts reads a MessagePack array of want integers. Lua's numbers become
// integers of any width; from 2^53 on framedb.lua gives text.
func decodeCounts(b []byte, want int) ([]int64, error) {
	n, b, err := arrayLength(b)
	if err != nil {
		return nil, err
	}
	if n != want {
		return nil, badAnswer("%d counts for %d keys", n, want)
	}
	counts := make([]int64, n)
	for i := range counts {
		if counts[i], b, err = integer(b); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 {
		return nil, badAnswer("%d bytes too many", len(b))
	}
	return counts, nil
}

func badAnswer(format string, args ...any) error {
	return final{wire.Errorf(wire.CodeInternal, "the decrement function answers "+format, args...)}
}

func arrayLength(b []byte) (int, []byte, error) {
	switch {
	case len(b) >= 1 && b[0]&0xf0 == 0x90:
		return int(b[0] & 0x0f), b[1:], nil
	case len(b) >= 3 && b[0] == 0xdc:
		return int(binary.BigEndian.Uint16(b[1:])), b[3:], nil
	case len(b) >= 5 && b[0] == 0xdd:
		return int(binary.BigEndian.Uint32(b[1:])), b[5:], nil
	}
	return 0, nil, badAnswer("no array")
}

// text reads an integer of n characters.
func text(b []byte, n int) (int64, []byte, error) {
	if len(b) < n {
		return 0, nil, badAnswer("half a count")
	}
	count, err := strconv.ParseInt(string(b[:n]), 10, 64)
	if err != nil {
		return 0, nil, badAnswer("a count of %q", b[:n])
	}
	return count, b[n:], nil
}

// integer reads the one at the head of b and returns what follows.
func integer(b []byte) (int64, []byte, error) {
	if len(b) == 0 {
		return 0, nil, badAnswer("too few counts")
	}
	kind, rest := b[0], b[1:]
	switch {
	case kind < 0x80 || kind >= 0xe0:
		return int64(int8(kind)), rest, nil
	case kind&0xe0 == 0xa0:
		return text(rest, int(kind&0x1f))
	case kind < 0xcc || kind > 0xd3:
		return 0, nil, badAnswer("type %#x", kind)
	}
	width := 1 << (kind & 3)
	if len(rest) < width {
		return 0, nil, badAnswer("half a count")
	}
	var u uint64
	for _, c := range rest[:width] {
		u = u<<8 | uint64(c)
	}
	if signed := kind >= 0xd0; signed {
		shift := 64 - 8*width
		return int64(u<<shift) >> shift, rest[width:], nil
	}
	if int64(u) < 0 {
		return 0, nil, fmt.Errorf("%w", badAnswer("a count of %d", u))
	}
	return int64(u), rest[width:], nil
}
