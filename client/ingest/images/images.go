// Package images splits raw streams of images, as `ffmpeg -f image2pipe` and
// MJPEG cameras give them, into single ones: JPEG, PNG, PNM and BMP, one behind
// the other, also mixed. It looks at no pixel: an image is where its format says
// that it ends, and is as large as it says.
package images

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// Format names a format, as the end of a file name does.
type Format string

// The formats.
const (
	JPEG Format = "jpg"
	PNG  Format = "png"
	PNM  Format = "pnm" // PPM (P6) and PGM (P5)
	BMP  Format = "bmp"
)

// Image is one image.
type Image struct {
	Format        Format
	Width, Height int
	Data          []byte // the caller's to keep
}

// Size is the image's size as frames have it, "<W>x<H>".
func (i *Image) Size() string { return fmt.Sprintf("%dx%d", i.Width, i.Height) }

// Scanner reads images one behind the other. Between them it passes over the
// part headers of multipart/x-mixed-replace, which cameras send over HTTP.
type Scanner struct {
	r    *bufio.Reader
	max  int
	n    int    // images begun
	data []byte // of the image that is being read
	over bool   // it has more than max bytes, which are not kept
	size int64  // of that one
}

// NewScanner makes a scanner of images of at most max bytes each; 0 is
// wire.MaxFrame.
func NewScanner(r io.Reader, max int) *Scanner {
	if max <= 0 {
		max = wire.MaxFrame
	}
	return &Scanner{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// Next returns the next image.
//
// Errors: io.EOF at the end; ErrTooLarge for an image of more than max bytes
// (the next call goes on behind it); ErrMalformed when what comes is no image
// or ends in the middle, and the reader's own errors: nothing comes behind them.
func (s *Scanner) Next() (Image, error) {
	if err := s.passParts(); err != nil {
		return Image{}, s.end(err)
	}
	s.n++
	s.data, s.over, s.size = nil, false, 0
	start, err := s.r.Peek(2)
	if err != nil {
		return Image{}, s.cut(err)
	}
	var img Image
	switch {
	case start[0] == 0xff && start[1] == 0xd8:
		img, err = s.jpeg()
	case start[0] == 0x89 && start[1] == 'P':
		img, err = s.png()
	case start[0] == 'P' && (start[1] == '5' || start[1] == '6'):
		img, err = s.pnm()
	case start[0] == 'B' && start[1] == 'M':
		img, err = s.bmp()
	default:
		err = s.malformed("it begins with % x, which is no JPEG, PNG, PNM or BMP", start)
	}
	switch {
	case err != nil:
		return Image{}, s.cut(err)
	case s.over:
		return Image{}, wire.Errorf(wire.CodeTooLarge, "image %d of the stream has %d bytes: at most %d", s.n, s.size, s.max)
	case img.Width <= 0 || img.Height <= 0:
		return Image{}, s.malformed("it is %dx%d", img.Width, img.Height)
	}
	img.Data = s.data
	return img, nil
}

func (s *Scanner) malformed(format string, args ...any) error {
	return wire.Errorf(wire.CodeMalformed, "image %d of the stream: %s", s.n, fmt.Sprintf(format, args...))
}

// cut is the error of a stream that ends in the middle of an image.
func (s *Scanner) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return s.malformed("the stream ends in the middle of it")
	}
	return err
}

// end is the error of a stream that ends between images.
func (s *Scanner) end(err error) error {
	if err == io.ErrUnexpectedEOF {
		return wire.Errorf(wire.CodeMalformed, "the stream ends in the header of a part behind image %d", s.n)
	}
	return err
}

// maxPart bounds the header of a part in bytes.
const maxPart = 8 << 10

// passParts passes over line ends and part headers; io.EOF when nothing comes.
func (s *Scanner) passParts() error {
	for {
		c, err := s.r.Peek(1)
		if err != nil {
			return err
		}
		switch c[0] {
		case '\r', '\n':
			s.r.Discard(1)
		case '-':
			if err := s.passPart(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// passPart passes over "--boundary", header lines and an empty line, or over
// the boundary that ends the stream.
func (s *Scanner) passPart() error {
	for passed, first := 0, true; ; first = false {
		line, err := s.r.ReadSlice('\n')
		text := strings.TrimRight(string(line), "\r\n")
		if first && len(text) > 2 && strings.HasSuffix(text, "--") && (err == nil || err == io.EOF) {
			return nil // the last boundary
		}
		if passed += len(line); err == bufio.ErrBufferFull || passed > maxPart || first && !strings.HasPrefix(text, "--") {
			return wire.Errorf(wire.CodeMalformed, "behind image %d comes neither an image nor the header of a part", s.n)
		}
		switch {
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case text == "":
			return nil
		}
	}
}

// keep takes what was looked at into the image.
func (s *Scanner) keep(b []byte) {
	s.size += int64(len(b))
	if s.over = s.over || s.size > int64(s.max); s.over {
		s.data = nil
		return
	}
	s.data = append(s.data, b...)
}

// take reads n bytes into the image, and returns them as long as they are few:
// at most as many as the buffer has.
func (s *Scanner) take(n int) ([]byte, error) {
	b, err := s.r.Peek(n)
	if err != nil {
		return nil, err
	}
	s.keep(b)
	s.r.Discard(n)
	return b, nil
}

// takeAll reads n bytes, however many, into the image.
func (s *Scanner) takeAll(n int64) error {
	for n > 0 {
		b, err := s.r.Peek(int(min(n, int64(s.r.Size()))))
		s.keep(b)
		s.r.Discard(len(b))
		if n -= int64(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// takeUntil reads up to a byte and with it into the image.
func (s *Scanner) takeUntil(c byte) error {
	if err := s.takeBefore(c); err != nil {
		return err
	}
	_, err := s.take(1)
	return err
}

// takeBefore reads up to a byte, which it leaves, into the image.
func (s *Scanner) takeBefore(c byte) error {
	for {
		if _, err := s.r.Peek(1); err != nil {
			return err
		}
		b, _ := s.r.Peek(s.r.Buffered())
		i := bytes.IndexByte(b, c)
		if i >= 0 {
			b = b[:i]
		}
		s.keep(b)
		s.r.Discard(len(b))
		if i >= 0 {
			return nil
		}
	}
}
