package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/framedb/framedb/client/wire"
)

// picture is a frame in one size, as a JPEG.
type picture struct {
	size string
	data []byte
}

// material is where frames come from.
type material interface {
	// sizes are all that occur.
	sizes() []string
	// frame returns frame n in its sizes, with n stamped into each, so that no
	// two frames are alike and one that was swapped for another is found out.
	frame(n uint64) ([]picture, error)
}

func loadMaterial(ctx context.Context, o Options) (material, error) {
	if o.Input != "" {
		return openDir(o.Input)
	}
	o.Note("encoding a moving picture")
	return encodeLoop(ctx, min(loopLength, o.Frames))
}

// loopLength is how many pictures are encoded ahead: at 25 a second, two cores
// have better to do than JPEG while the job runs.
const loopLength = 25

// loop is a moving picture in all sizes.
type loop struct{ pictures [][]picture }

func encodeLoop(ctx context.Context, length int) (*loop, error) {
	l := &loop{make([][]picture, length)}
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				l.pictures[i] = encodeAll(float64(i) / float64(length))
			}
		})
	}
	defer workers.Wait()
	defer close(next)
	for i := range length {
		select {
		case next <- i:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l, nil
}

func encodeAll(at float64) []picture {
	var all []picture
	for _, s := range loopSizes {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, paint(s.w, s.h, at), &jpeg.Options{Quality: 85}); err != nil {
			panic(err) // a buffer takes everything, and the sizes are right
		}
		all = append(all, picture{s.String(), b.Bytes()})
	}
	return all
}

func (l *loop) sizes() []string {
	var all []string
	for _, s := range loopSizes {
		all = append(all, s.String())
	}
	return all
}

func (l *loop) frame(n uint64) ([]picture, error) {
	var all []picture
	for _, p := range l.pictures[n%uint64(len(l.pictures))] {
		all = append(all, picture{p.size, stamp(p.data, n)})
	}
	return all, nil
}

// stamp puts n into a JPEG as a comment segment behind the start of image:
//
//	FF D8 | FF FE, length 2+16, "framedb " and n in 8 bytes, big endian | rest
func stamp(jpg []byte, n uint64) []byte {
	stamped := make([]byte, 0, len(jpg)+20)
	stamped = append(stamped, jpg[:2]...)
	stamped = append(stamped, 0xFF, 0xFE, 0, 18)
	stamped = append(stamped, "framedb "...)
	stamped = binary.BigEndian.AppendUint64(stamped, n)
	return append(stamped, jpg[2:]...)
}

// dir is a directory of JPEG files. They are read when their frame is due, so
// that there may be more of them than fits into memory.
type dir struct {
	files []dirFile
}

type dirFile struct{ path, size string }

// openDir finds the JPEG files of a directory, by name.
//
// Errors: ErrInvalidArgument (there are none, or one is no JPEG), os errors.
func openDir(path string) (*dir, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, wire.InField("input", wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	d := &dir{}
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if e.IsDir() || ext != ".jpg" && ext != ".jpeg" {
			continue
		}
		f := filepath.Join(path, e.Name())
		size, err := sizeOf(f)
		if err != nil {
			return nil, wire.InField("input", wire.Errorf(wire.CodeInvalidArgument, "%s: %v", f, err))
		}
		d.files = append(d.files, dirFile{f, size})
	}
	if len(d.files) == 0 {
		return nil, wire.InField("input", wire.Errorf(wire.CodeInvalidArgument, "no .jpg file is in %s", path))
	}
	return d, nil
}

func sizeOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	header, err := jpeg.DecodeConfig(f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%dx%d", header.Width, header.Height), nil
}

func (d *dir) sizes() []string {
	var all []string
	for _, f := range d.files {
		all = append(all, f.size)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (d *dir) frame(n uint64) ([]picture, error) {
	f := d.files[n%uint64(len(d.files))]
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	if len(data) < 2 || len(data)+20 > wire.MaxFrame {
		return nil, wire.Errorf(wire.CodeTooLarge, "%s has %d bytes: a frame has at most %d", f.path, len(data), wire.MaxFrame)
	}
	return []picture{{f.size, stamp(data, n)}}, nil
}
