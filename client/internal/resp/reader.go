package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	// readBuffer holds many small replies at once; beyond 64 KiB nothing was gained.
	readBuffer = 64 << 10
	// headRead is how much is read in search of a header while values are
	// large: what comes with the header is copied once more, the rest goes
	// straight to its place.
	headRead = 2 << 10
	// largeValue is from where a value is read straight into its place.
	largeValue = 16 << 10

	maxDepth = 8       // of nested arrays
	maxArray = 1 << 20 // elements of one array
)

// ErrProtocol is returned for bytes that are no RESP2. The connection is of no
// use after it.
var ErrProtocol = errors.New("not the Redis protocol")

// Error is an error reply of the server. Its first word is the code.
type Error string

func (e Error) Error() string { return string(e) }

// Code is the first word: "ERR", "READONLY", "OOM".
func (e Error) Code() string {
	code, _, _ := bytes.Cut([]byte(e), []byte(" "))
	return string(code)
}

// CodeOf returns the code of the server's error reply in err's chain, or "".
func CodeOf(err error) string {
	var e Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return ""
}

// Reader reads replies. It reads large values without copying them.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is unread
	// large is true while the last value was: then headers are looked for in
	// small reads.
	large bool
}

// NewReader makes a reader.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// fill reads at least one more byte into the buffer.
func (r *Reader) fill() error {
	if r.buf == nil {
		r.buf = make([]byte, readBuffer)
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
	} else if r.w == len(r.buf) {
		if r.r == 0 {
			return fmt.Errorf("%w: a line is too long", ErrProtocol)
		}
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	end := len(r.buf)
	if r.large && r.w+headRead < end {
		end = r.w + headRead
	}
	n, err := r.src.Read(r.buf[r.w:end])
	r.w += n
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	default:
		return err
	}
}

// line returns the next line without its end; it is valid until the next read.
func (r *Reader) line() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+scanned:r.w], '\n'); i >= 0 {
			end := r.r + scanned + i
			line := r.buf[r.r:end]
			r.r = end + 1
			if len(line) < 2 || line[len(line)-1] != '\r' {
				return nil, fmt.Errorf("%w: a line of %d bytes", ErrProtocol, len(line))
			}
			return line[:len(line)-1], nil
		}
		scanned = r.w - r.r
		if err := r.fill(); err != nil {
			return nil, unexpected(err, scanned > 0)
		}
	}
}

func unexpected(err error, inside bool) error {
	if inside && err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Bulk reads the header of a string reply: its length, or -1 for nil. Read
// then reads the string. An error reply is returned as Error.
func (r *Reader) Bulk() (int, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	switch line[0] {
	case '$':
		return length(line)
	case '-':
		return 0, Error(line[1:])
	}
	return 0, fmt.Errorf("%w: %.20q where a string is due", ErrProtocol, line)
}

// Array reads the header of an array reply: its length, or -1 for nil.
func (r *Reader) Array() (int, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	switch line[0] {
	case '*':
		return length(line)
	case '-':
		return 0, Error(line[1:])
	}
	return 0, fmt.Errorf("%w: %.20q where an array is due", ErrProtocol, line)
}

// Status reads a reply that must be a status ("OK") and drops it.
func (r *Reader) Status() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	switch line[0] {
	case '+':
		return nil
	case '-':
		return Error(line[1:])
	}
	return fmt.Errorf("%w: %.20q where a status is due", ErrProtocol, line)
}

// length parses what stands behind '$' or '*'.
func length(line []byte) (int, error) {
	if len(line) == 3 && line[1] == '-' && line[2] == '1' {
		return -1, nil
	}
	n := 0
	for _, c := range line[1:] {
		if c < '0' || c > '9' || n > 1<<40 {
			return 0, fmt.Errorf("%w: a length of %.20q", ErrProtocol, line[1:])
		}
		n = n*10 + int(c-'0')
	}
	if len(line) == 1 {
		return 0, fmt.Errorf("%w: an empty length", ErrProtocol)
	}
	return n, nil
}

// Read reads a string whose header was read into dst, and its line end. When
// dst has room for two bytes more, they are overwritten.
func (r *Reader) Read(dst []byte) error {
	n := len(dst)
	r.large = n >= largeValue
	if cap(dst) < n+2 {
		if err := r.full(dst); err != nil {
			return err
		}
		var end [2]byte
		if err := r.full(end[:]); err != nil {
			return err
		}
		return checkEnd(end[:])
	}
	dst = dst[:n+2]
	if err := r.full(dst); err != nil {
		return err
	}
	return checkEnd(dst[n:])
}

func checkEnd(end []byte) error {
	if end[0] != '\r' || end[1] != '\n' {
		return fmt.Errorf("%w: a string ends with %q", ErrProtocol, end)
	}
	return nil
}

func (r *Reader) full(dst []byte) error {
	for {
		n := copy(dst, r.buf[r.r:r.w])
		r.r += n
		if dst = dst[n:]; len(dst) == 0 {
			return nil
		}
		if len(dst) >= largeValue {
			_, err := io.ReadFull(r.src, dst)
			return unexpected(err, true)
		}
		if err := r.fill(); err != nil {
			return unexpected(err, true)
		}
	}
}

// Reply reads any reply: string, int64, nil, []any or Error. A string above
// maxString bytes is ErrProtocol; it is for small answers. An error reply at
// the top is the error; one inside an array is an element.
func (r *Reader) Reply(maxString int) (any, error) {
	v, err := r.reply(maxString, 0)
	if e, failed := v.(Error); failed && err == nil {
		return nil, e
	}
	return v, err
}

func (r *Reader) reply(maxString, depth int) (any, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	switch line[0] {
	case '+':
		return string(line[1:]), nil
	case '-':
		return Error(line[1:]), nil
	case ':':
		n, err := strconv.ParseInt(string(line[1:]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: the number %.20q", ErrProtocol, line[1:])
		}
		return n, nil
	}
	n, err := length(line)
	switch {
	case err != nil || n < 0:
		return nil, err
	case line[0] == '$' && n <= maxString:
		return r.text(n)
	case line[0] == '*' && n <= maxArray && depth < maxDepth:
		return r.elements(n, maxString, depth+1)
	}
	return nil, fmt.Errorf("%w: %.20q", ErrProtocol, line)
}

func (r *Reader) text(n int) (any, error) {
	b := make([]byte, n)
	if err := r.Read(b); err != nil {
		return nil, err
	}
	return string(b), nil
}

func (r *Reader) elements(n, maxString, depth int) (any, error) {
	// The length is the server's word: it is not allocated in advance.
	list := make([]any, 0, min(n, 1024))
	for range n {
		v, err := r.reply(maxString, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}
