package demo

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestTheLoopIsRealJPEG(t *testing.T) {
	t.Parallel()
	l, err := encodeLoop(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var first []picture
	for n := range uint64(4) {
		pictures, err := l.frame(n)
		if err != nil || len(pictures) != len(l.sizes()) {
			t.Fatalf("frame %d: %d pictures, %v", n, len(pictures), err)
		}
		for i, p := range pictures {
			img, err := jpeg.Decode(bytes.NewReader(p.data))
			if err != nil {
				t.Fatalf("frame %d in %s: %v", n, p.size, err)
			}
			if got := (imageSize{img.Bounds().Dx(), img.Bounds().Dy()}).String(); got != p.size || got != l.sizes()[i] {
				t.Errorf("frame %d in %s is %s", n, p.size, got)
			}
			if n > 0 && bytes.Equal(p.data, first[i].data) {
				t.Errorf("frames 0 and %d are alike in %s", n, p.size)
			}
		}
		if n == 0 {
			first = pictures
		}
	}
	if size := len(first[0].data); size < 100_000 || size > 2_000_000 {
		t.Errorf("a picture has %d bytes, which is not what a camera makes", size)
	}
}

func TestThePictureMoves(t *testing.T) {
	t.Parallel()
	a, b := paint(160, 90, 0), paint(160, 90, 0.5)
	if bytes.Equal(a.Y, b.Y) {
		t.Error("half a loop later nothing has moved")
	}
	// The ball is right of the middle first, then left of it.
	if white := func(img *image.YCbCr, x int) bool {
		return color.GrayModel.Convert(img.At(x, 45)).(color.Gray).Y > 150 && crAt(img, x, 45) > 180
	}; !white(a, 136) || white(b, 136) || !white(b, 24) {
		t.Error("the ball is not where it should be")
	}
}

// crAt is a picture's red part at a point.
func crAt(img *image.YCbCr, x, y int) uint8 { return img.Cr[img.COffset(x, y)] }

func TestFilesOfADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newTwoSizes(t)
	for _, name := range []string{"b.jpg", "a.JPEG", "note.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), m.jpg, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.files) != 2 || filepath.Base(d.files[0].path) != "a.JPEG" || !slices.Equal(d.sizes(), []string{"8x8"}) {
		t.Errorf("found %v", d.files)
	}
	p, err := d.frame(3)
	if err != nil || !bytes.Equal(p[0].data, stamp(m.jpg, 3)) {
		t.Errorf("frame 3: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c.jpg"), []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir, t.TempDir(), filepath.Join(dir, "none")} {
		if _, err := openDir(bad); !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "input" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
