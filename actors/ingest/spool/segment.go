package spool

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// segment is one file of records.
type segment struct {
	path  string
	first uint64 // index of the first record
	nonce nonce
	file  file
	size  int64 // guarded by Log.mu: what is in the file and may be read
	// sealed is guarded by Log.mu: nothing is appended any more.
	sealed bool
}

const segmentSuffix = ".seg"

func segmentName(first uint64, n nonce) string {
	return fmt.Sprintf("%016x-%016x%s", first, uint64(n), segmentSuffix)
}

func parseSegmentName(name string) (first uint64, n nonce, ok bool) {
	base, isSegment := strings.CutSuffix(name, segmentSuffix)
	a, b, two := strings.Cut(base, "-")
	first, err := strconv.ParseUint(a, 16, 64)
	random, err2 := strconv.ParseUint(b, 16, 64)
	return first, nonce(random), isSegment && two && err == nil && err2 == nil && len(base) == 33
}

// listSegments opens the segments of a directory, oldest first.
func listSegments(dir string, open opener) (segments []*segment, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		first, n, ok := parseSegmentName(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return segments, err
		}
		s := &segment{path: filepath.Join(dir, e.Name()), first: first, nonce: n, size: info.Size()}
		if s.file, err = open(s.path); err != nil {
			return segments, err
		}
		segments = append(segments, s)
	}
	slices.SortFunc(segments, func(a, b *segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return segments, nil
}

// writers are the buffers of Append, which joins small pieces.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 256<<10) }}

// write writes records behind offset, the first one with this index, and
// returns where they end. It changes nothing of the segment.
func (s *segment) write(offset int64, h header, payloads []Payload) (end int64, err error) {
	w := writers.Get().(*bufio.Writer)
	defer func() {
		w.Reset(nil)
		writers.Put(w)
	}()
	at := io.NewOffsetWriter(s.file, offset)
	w.Reset(at)
	var b [headerSize]byte
	for _, p := range payloads {
		h.length, h.sum = p.size(), p.sum()
		w.Write(h.append(b[:0], s.nonce)) // a bufio.Writer keeps its first error
		for _, piece := range p {
			w.Write(piece)
		}
		offset += h.size()
		h.index++
	}
	return offset, w.Flush()
}
