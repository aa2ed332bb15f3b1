package images

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// jpeg reads segments up to EOI. A thumbnail inside of a segment does not end
// it, because segments know their length.
func (s *Scanner) jpeg() (Image, error) {
	img := Image{Format: JPEG}
	if _, err := s.take(2); err != nil {
		return img, err
	}
	for {
		marker, err := s.marker()
		switch {
		case err != nil:
			return img, err
		case marker == 0xd9: // EOI
			return img, nil
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd7: // TEM, RSTn: nothing follows
			continue
		}
		if err := s.segment(marker, &img); err != nil {
			return img, err
		}
		if marker == 0xda { // SOS: data without a length, up to the next marker
			if err := s.scan(); err != nil {
				return img, err
			}
		}
	}
}

// marker reads one, with the bytes 0xff that may stand before it.
func (s *Scanner) marker() (byte, error) {
	b, err := s.take(1)
	if err != nil {
		return 0, err
	}
	if b[0] != 0xff {
		return 0, s.malformed("a JPEG marker is due at byte %d, and %#x is there", s.size-1, b[0])
	}
	for {
		b, err := s.take(1)
		if err != nil {
			return 0, err
		}
		if b[0] != 0xff {
			return b[0], nil
		}
	}
}

func (s *Scanner) segment(marker byte, img *Image) error {
	b, err := s.take(2)
	if err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(b)) - 2
	if n < 0 {
		return s.malformed("a JPEG segment has the length %d", n+2)
	}
	if isSOF(marker) {
		if n < 5 {
			return s.malformed("the JPEG frame header has %d bytes", n)
		}
		b, err := s.take(5)
		if err != nil {
			return err
		}
		img.Height, img.Width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
		n -= 5
	}
	return s.takeAll(int64(n))
}

// isSOF reports whether the marker begins a frame header: SOF0 to SOF15 but for
// DHT, JPG and DAC, which lie between them.
func isSOF(m byte) bool { return m >= 0xc0 && m <= 0xcf && m != 0xc4 && m != 0xc8 && m != 0xcc }

// scan reads the data behind SOS up to the next marker, which it leaves.
func (s *Scanner) scan() error {
	for {
		if err := s.takeBefore(0xff); err != nil {
			return err
		}
		b, err := s.r.Peek(2)
		if err != nil {
			return err
		}
		if b[1] != 0 && (b[1] < 0xd0 || b[1] > 0xd7) { // neither a stuffed 0xff nor RSTn
			return nil
		}
		s.take(2)
	}
}

// png reads chunks up to IEND.
func (s *Scanner) png() (Image, error) {
	img := Image{Format: PNG}
	b, err := s.take(8)
	if err != nil {
		return img, err
	}
	if string(b) != "\x89PNG\r\n\x1a\n" {
		return img, s.malformed("it begins like a PNG and goes on otherwise")
	}
	for first := true; ; first = false {
		b, err := s.take(8)
		if err != nil {
			return img, err
		}
		n, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:])
		if n > 1<<31-1 || first != (kind == "IHDR") || first && n < 8 {
			return img, s.malformed("the PNG chunk %q of %d bytes is out of place", kind, n)
		}
		if first {
			b, err := s.take(8)
			if err != nil {
				return img, err
			}
			img.Width, img.Height = int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint32(b[4:]))
			n -= 8
		}
		if err := s.takeAll(n + 4); err != nil { // and its CRC
			return img, err
		}
		if kind == "IEND" {
			return img, nil
		}
	}
}

// pnm reads "P6 <width> <height> <maxval> " and as many bytes as that says.
func (s *Scanner) pnm() (Image, error) {
	img := Image{Format: PNM}
	b, err := s.take(2)
	if err != nil {
		return img, err
	}
	channels := int64(3)
	if b[1] == '5' {
		channels = 1
	}
	var numbers [3]int
	for i := range numbers {
		if numbers[i], err = s.number(); err != nil {
			return img, err
		}
	}
	img.Width, img.Height = numbers[0], numbers[1]
	switch {
	case numbers[2] > 65535:
		return img, s.malformed("its greatest value is %d", numbers[2])
	case numbers[2] > 255:
		channels *= 2
	}
	return img, s.takeAll(int64(img.Width) * int64(img.Height) * channels)
}

// number reads white space, comments, a number of 1 to 1<<20, and the one white
// space behind it.
func (s *Scanner) number() (int, error) {
	var digits strings.Builder
	for digits.Len() < 8 {
		b, err := s.take(1)
		if err != nil {
			return 0, err
		}
		switch c := b[0]; {
		case c >= '0' && c <= '9':
			digits.WriteByte(c)
		case c == '#' && digits.Len() == 0:
			if err := s.takeUntil('\n'); err != nil {
				return 0, err
			}
		case strings.IndexByte(" \t\r\n", c) < 0:
			return 0, s.malformed("%q stands in its header", c)
		case digits.Len() > 0:
			n, err := strconv.Atoi(digits.String())
			if err != nil || n < 1 || n > 1<<20 {
				return 0, s.malformed("%s stands in its header", digits.String())
			}
			return n, nil
		}
		if s.size > maxPart {
			break
		}
	}
	return 0, s.malformed("its header has no end")
}

// bmp reads as many bytes as the file header says.
func (s *Scanner) bmp() (Image, error) {
	img := Image{Format: BMP}
	b, err := s.take(26)
	if err != nil {
		return img, err
	}
	size := int64(binary.LittleEndian.Uint32(b[2:]))
	if dib := binary.LittleEndian.Uint32(b[14:]); dib < 40 || size < 26 {
		return img, s.malformed("a BMP of %d bytes with a header of %d is not known", size, dib)
	}
	img.Width = int(int32(binary.LittleEndian.Uint32(b[18:])))
	if img.Height = int(int32(binary.LittleEndian.Uint32(b[22:]))); img.Height < 0 {
		img.Height = -img.Height // from the top to the bottom
	}
	return img, s.takeAll(size - 26)
}
