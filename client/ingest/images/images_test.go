package images_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/framedb/framedb/client/ingest/images"
	"github.com/framedb/framedb/client/wire"
)

// picture is noise: its JPEG has many bytes 0xff in it.
func picture(w, h int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	r := rand.New(rand.NewPCG(1, uint64(w)))
	for y := range h {
		for x := range w {
			img.Set(x, y, color.RGBA{uint8(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32()), 255})
		}
	}
	return img
}

func encode(t testing.TB, f images.Format, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch f {
	case images.JPEG:
		err = jpeg.Encode(&b, picture(w, h), &jpeg.Options{Quality: 95})
	case images.PNG:
		err = png.Encode(&b, picture(w, h))
	case images.PNM:
		fmt.Fprintf(&b, "P6\n# a comment P6 1 1\n%d %d\n255\n", w, h)
		b.Write(bytes.Repeat([]byte("P6\n"), w*h))
	case images.BMP:
		size := 54 + w*h*4
		b.WriteString("BM")
		b.Write([]byte{byte(size), byte(size >> 8), byte(size >> 16), 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0})
		b.Write([]byte{byte(w), byte(w >> 8), 0, 0, byte(-h), byte(-h >> 8), 0xff, 0xff})
		b.Write(make([]byte, size-26))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var formats = []images.Format{images.JPEG, images.PNG, images.PNM, images.BMP}

func scan(r io.Reader, max int) (list []images.Image, err error) {
	s := images.NewScanner(r, max)
	for {
		img, err := s.Next()
		if err != nil {
			return list, err
		}
		list = append(list, img)
	}
}

func TestImagesComeOutAsTheyWere(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want [][]byte
	for i := range 20 {
		for _, f := range formats {
			want = append(want, encode(t, f, 1+i*7, 30))
			stream = append(stream, want[len(want)-1]...)
		}
	}
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream))} {
		got, err := scan(r, 0)
		if err != io.EOF || len(got) != len(want) {
			t.Fatalf("%s: %d of %d images, %v", name, len(got), len(want), err)
		}
		for i, img := range got {
			if !bytes.Equal(img.Data, want[i]) || img.Format != formats[i%4] || img.Size() != fmt.Sprintf("%dx30", 1+i/4*7) {
				t.Errorf("%s: image %d is a %s of %s and %d bytes, want %d", name, i, img.Format, img.Size(), len(img.Data), len(want[i]))
			}
		}
	}
}

func TestAThumbnailDoesNotEndAJPEG(t *testing.T) {
	t.Parallel()
	inner, outer := encode(t, images.JPEG, 8, 8), encode(t, images.JPEG, 40, 30)
	n := len(inner) + 2
	b := append([]byte{0xff, 0xd8, 0xff, 0xff, 0xe1, byte(n >> 8), byte(n)}, inner...)
	b = append(b, outer[2:]...)
	got, err := scan(bytes.NewReader(append(b, outer...)), 0)
	if err != io.EOF || len(got) != 2 || !bytes.Equal(got[0].Data, b) || got[0].Size() != "40x30" {
		t.Fatalf("%d images, %v", len(got), err)
	}
}

func TestPartHeadersArePassedOver(t *testing.T) {
	t.Parallel()
	img := encode(t, images.JPEG, 20, 20)
	var b bytes.Buffer
	for range 3 {
		fmt.Fprintf(&b, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(img), img)
	}
	for _, end := range []string{"", "--frame--", "--frame--\r\n"} {
		got, err := scan(bytes.NewReader(append(bytes.Clone(b.Bytes()), end...)), 0)
		if err != io.EOF || len(got) != 3 || !bytes.Equal(got[2].Data, img) {
			t.Errorf("%q: %d images, %v", end, len(got), err)
		}
	}
	for _, bad := range []string{"--frame\r\nContent", "-x\r\n\r\n", "--" + string(make([]byte, 10_000))} {
		if got, err := scan(bytes.NewReader(append(bytes.Clone(b.Bytes()), bad...)), 0); wire.CodeOf(err) != wire.CodeMalformed || len(got) != 3 {
			t.Errorf("%.20q: %d images, %v", bad, len(got), err)
		}
	}
}

func TestAStreamThatIsCut(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		one := encode(t, f, 9, 9)
		whole := append(bytes.Clone(one), one...)
		for cut := range whole {
			got, err := scan(bytes.NewReader(whole[:cut]), 0)
			want := wire.CodeMalformed
			if cut == 0 || cut == len(one) {
				want = ""
			}
			if err == io.EOF {
				err = nil
			}
			if wire.CodeOf(err) != want || len(got) != cut/len(one) {
				t.Errorf("%s cut at %d of %d: %d images, %v", f, cut, len(whole), len(got), err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := scan(io.MultiReader(bytes.NewReader(encode(t, images.PNG, 9, 9)[:50]), iotest.ErrReader(broken)), 0); !errors.Is(err, broken) {
		t.Errorf("the reader's error: %v", err)
	}
}

func TestAnImageThatIsTooLargeIsPassedOver(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		large, small := encode(t, f, 200, 200), encode(t, f, 5, 5)
		s := images.NewScanner(bytes.NewReader(append(bytes.Clone(large), small...)), len(large)-1)
		if _, err := s.Next(); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("%s: %v", f, err)
		}
		if img, err := s.Next(); err != nil || !bytes.Equal(img.Data, small) {
			t.Errorf("%s, then: %v", f, err)
		}
	}
}

func TestWhatIsNoImage(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"GIF89a", "hello", "P6 0 5 255 ", "P6 99999999 5 255 ", "P5 1 1 70000 x", "P6 x", "\xff\xd8\x00\x00",
		"\xff\xd8\xff\xe1\x00\x00", "\x89PNG\r\n\x1a\r12345678", "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIDAT", "\xff\xd8\xff\xd9",
		"BM\x00\x00\x00\x00" + string(make([]byte, 30))} {
		if got, err := scan(bytes.NewReader([]byte(s)), 0); wire.CodeOf(err) != wire.CodeMalformed || len(got) != 0 {
			t.Errorf("%q: %d images, %v", s, len(got), err)
		}
	}
}

// FuzzScanner splits anything: what comes out is what went in, in order, and an
// image by itself is one image.
func FuzzScanner(f *testing.F) {
	for _, format := range formats {
		one := encode(f, format, 4, 4)
		f.Add(append(bytes.Clone(one), one...))
	}
	f.Add([]byte("--b\r\nA: b\r\n\r\nP5 1 1 255 x--b--"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := scan(bytes.NewReader(b), 1000)
		rest := b
		for _, img := range got {
			i := bytes.Index(rest, img.Data)
			if i < 0 || len(img.Data) > 1000 || img.Width <= 0 || img.Height <= 0 {
				t.Fatalf("an image of %s and %d bytes was not there", img.Size(), len(img.Data))
			}
			rest = rest[i+len(img.Data):]
			again, err := scan(bytes.NewReader(img.Data), 1000)
			if err != io.EOF || len(again) != 1 {
				t.Fatalf("an image by itself is %d, %v", len(again), err)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	one := encode(b, images.JPEG, 400, 300)
	b.SetBytes(int64(len(one)))
	for b.Loop() {
		if got, _ := scan(bytes.NewReader(one), 0); len(got) != 1 {
			b.Fatal(len(got))
		}
	}
}
