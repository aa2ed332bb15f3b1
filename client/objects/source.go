package objects

import (
	"io"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/wire"
)

// MaxSize is the largest object in bytes. It bounds what one writer can ask of
// a database by mistake; the layouts have room for more.
const MaxSize = 10 << 30

// Source is what a backend reads an object from. It counts and sums, and ends
// with io.EOF only when the bytes are as many and those that the caller
// announced: a backend that stores at io.EOF never stores the wrong ones.
type Source struct {
	r    io.Reader
	hash *xxh3.Hasher128
	n    int64
	size int64                // announced; -1 when not
	sum  *Sum                 // announced; nil when not
	late func() (*Sum, error) // asked at the end; nil when not
	err  error                // the end, once it was reached
}

func newSource(r io.Reader, opts PutOptions) *Source {
	s := &Source{r: r, hash: xxh3.New128(), size: -1, sum: opts.Checksum, late: opts.ChecksumAtEnd}
	if opts.Size != nil {
		s.size = *opts.Size
	}
	return s
}

// Read reads on.
//
// Errors: io.EOF at the end of an object that is as announced;
// ErrInvalidArgument when it is shorter or longer, ErrChecksum when it has
// another checksum; ErrTooLarge; the caller's reader's own, unchanged.
func (s *Source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.hash.Write(p[:n])
	switch {
	case s.n > MaxSize:
		n, s.err = 0, tooLarge()
	case s.size >= 0 && s.n > s.size:
		n, s.err = 0, wire.InField("size", wire.Errorf(wire.CodeInvalidArgument, "%d bytes were announced and more came", s.size))
	case err == io.EOF:
		s.err = s.atEnd()
	default:
		s.err = err
	}
	return n, s.err
}

func tooLarge() error {
	return wire.InField("size", wire.Errorf(wire.CodeTooLarge, "an object has at most %d bytes", MaxSize))
}

func (s *Source) atEnd() error {
	if s.size >= 0 && s.n != s.size {
		return wire.InField("size", wire.Errorf(wire.CodeInvalidArgument, "%d bytes were announced and %d came", s.size, s.n))
	}
	if s.late != nil {
		sum, err := s.late()
		if err != nil {
			return err
		}
		if sum != nil && *sum != s.Sum() {
			return s.otherSum(*sum)
		}
	}
	if s.sum != nil && *s.sum != s.Sum() {
		return s.otherSum(*s.sum)
	}
	return io.EOF
}

func (s *Source) otherSum(announced Sum) error {
	return wire.Errorf(wire.CodeChecksum, "the bytes have the checksum %v, announced was %v", s.Sum(), announced)
}

// Size is how many bytes were read.
func (s *Source) Size() int64 { return s.n }

// Sum is the checksum of what was read.
func (s *Source) Sum() Sum { return s.hash.Sum128().Bytes() }

// Announced is the size that the caller announced, -1 when it did not. It is a
// hint for buffers.
func (s *Source) Announced() int64 { return s.size }
