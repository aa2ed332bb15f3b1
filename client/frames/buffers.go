package frames

import (
	"math/bits"
	"sync"

	"github.com/framedb/framedb/client/wire"
)

// Buffers come in sizes of powers of two, from 512 bytes to wire.MaxFrame, so
// that a frame wastes less than half of its buffer and a source of frames of
// about one size uses the same few again and again.
const (
	minClass = 9 // 512 bytes
	maxClass = 26
	// spare is room for the line end that follows a value on the wire: with it
	// a large value comes in whole reads.
	spare = 2
)

var _ [1<<maxClass - wire.MaxFrame]struct{} // the largest buffer holds any frame

// buffer is one pooled buffer.
type buffer struct {
	bytes []byte
	class int
}

// buffers holds what is not in use. The garbage collector empties it.
type buffers [maxClass - minClass + 1]sync.Pool

// get returns a buffer of at least n bytes; n is at most wire.MaxFrame.
func (p *buffers) get(n int) *buffer {
	class := 0
	if n > 1<<minClass {
		class = bits.Len(uint(n-1)) - minClass
	}
	if b, ok := p[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{bytes: make([]byte, 1<<(class+minClass)+spare), class: class}
}

func (p *buffers) put(b *buffer) { p[b.class].Put(b) }
