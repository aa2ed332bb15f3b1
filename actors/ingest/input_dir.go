package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/ingest/images"
	"github.com/framedb/framedb/client/wire"
)

// Directories in a watched one.
const (
	doneDir = "done" // files whose frames were taken, with AfterMove
	badDir  = "bad"  // files that are no frames
)

const (
	// dirPause is how often a directory is looked at. A file is taken when it
	// did not change between two looks: whoever writes it may still be at it.
	dirPause = 500 * time.Millisecond
	maxFiles = 64 // at one look
)

// dirFetcher takes frames from files: each is an image (JPEG, PNG, PNM, BMP) or
// a stream of frames, and is deleted or moved when its frames are taken. An
// image whose name without its end is a frame key, P__n, has that key. Others
// have an ID of name, time and length, so that a file that comes again after a
// crash is not stored twice.
type dirFetcher struct {
	*Fetcher
	log  *slog.Logger
	seen map[string]seenFile // at the last look
}

type seenFile struct {
	size int64
	at   time.Time
}

func (d *dirFetcher) pause() time.Duration { return dirPause }

func (d *dirFetcher) fetch(ctx context.Context) (taken int, err error) {
	names, err := d.look()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := d.take(ctx, name); err != nil {
			return taken, err
		}
		delete(d.seen, name)
		taken++
	}
	return taken, nil
}

// look returns files that did not change since the last look, oldest first.
func (d *dirFetcher) look() ([]string, error) {
	entries, err := os.ReadDir(d.Input.Path)
	if err != nil {
		return nil, err
	}
	now := map[string]seenFile{}
	var ready []string
	for _, e := range entries {
		name := e.Name()
		if ok, _ := filepath.Match(d.glob(), name); !ok || !e.Type().IsRegular() || strings.HasPrefix(name, ".") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		now[name] = seenFile{info.Size(), info.ModTime()}
		if old, ok := d.seen[name]; ok && old == now[name] {
			ready = append(ready, name)
		}
	}
	d.seen = now
	slices.SortFunc(ready, func(a, b string) int {
		if c := now[a].at.Compare(now[b].at); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return ready[:min(len(ready), maxFiles)], nil
}

func (d *dirFetcher) glob() string {
	if d.Input.Glob == "" {
		return "*"
	}
	return d.Input.Glob
}

// take takes one file in, and takes it away.
func (d *dirFetcher) take(ctx context.Context, name string) error {
	path := filepath.Join(d.Input.Path, name)
	if d.seen[name].size > ingest.MaxBytes {
		return d.setAside(name, wire.Errorf(wire.CodeTooLarge, "it has %d bytes: at most %d", d.seen[name].size, ingest.MaxBytes))
	}
	// It waits for memory; the frames then take theirs by themselves.
	grant, err := d.Service.admitPatiently(ctx, d.seen[name].size)
	if err != nil {
		return err
	}
	grant.Release()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody took it away
	} else if err != nil {
		return err
	}
	frames, bad := d.parse(name, data)
	refused, err := d.takeAll(ctx, frames)
	if err != nil {
		return err
	}
	for _, why := range refused {
		bad = errors.Join(bad, why)
	}
	switch {
	case bad != nil:
		return d.setAside(name, bad)
	case d.Input.After == AfterMove:
		return d.move(name, d.doneDir())
	}
	return os.Remove(path)
}

// setAside moves a file that is no frame, or not only frames, out of the way.
func (d *dirFetcher) setAside(name string, why error) error {
	d.log.Error("a file is not taken, or not all of it, and is put aside", "file", name, "err", why)
	return d.move(name, filepath.Join(d.Input.Path, badDir))
}

func (d *dirFetcher) doneDir() string {
	if d.Input.Done == "" {
		return filepath.Join(d.Input.Path, doneDir)
	}
	return d.Input.Done
}

// move takes a file out of the watched directory, also to another file system.
func (d *dirFetcher) move(name, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	from, to := filepath.Join(d.Input.Path, name), filepath.Join(dir, name)
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".part", data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(to+".part", to); err != nil {
		return err
	}
	return os.Remove(from)
}

// parse reads the frames of a file; with an error those that are whole.
func (d *dirFetcher) parse(name string, data []byte) (frames []ingest.Frame, err error) {
	id := func(n int) wire.RequestID {
		f := d.seen[name]
		return wire.RequestID(fmt.Sprintf("file:%x:%d:%d:%d", xxh3.HashString(name), f.at.UnixNano(), f.size, n))
	}
	if !isImage(data) {
		return parseStream(data, id)
	}
	scanner := images.NewScanner(bytes.NewReader(data), wire.MaxFrame)
	for {
		img, err := scanner.Next()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		f := ingest.Frame{ID: id(len(frames)), Sizes: []ingest.Size{{Name: img.Size(), Data: img.Data}}}
		if key, ok := wire.ParseFrame(strings.TrimSuffix(name, filepath.Ext(name))); ok && len(frames) == 0 {
			f.Key, f.ID = key, ""
		}
		frames = append(frames, f)
	}
}

func isImage(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\xff\xd8")) || bytes.HasPrefix(data, []byte("\x89PNG")) || bytes.HasPrefix(data, []byte("BM")) ||
		bytes.HasPrefix(data, []byte("P5")) || bytes.HasPrefix(data, []byte("P6"))
}

// parseStream reads a file that is a stream of frames.
func parseStream(data []byte, id func(n int) wire.RequestID) (frames []ingest.Frame, bad error) {
	d := ingest.NewDecoder(bytes.NewReader(data))
	if len(data) == 0 {
		return nil, wire.Errorf(wire.CodeMalformed, "it is empty")
	}
	for {
		n, err := d.Next()
		if err == io.EOF {
			return frames, bad
		}
		if err != nil {
			return frames, errors.Join(bad, err)
		}
		if n > len(data) {
			return frames, errors.Join(bad, wire.Errorf(wire.CodeMalformed, "it ends in the middle of a frame of %d bytes", n))
		}
		f, err := d.Frame(make([]byte, n))
		switch {
		case ingest.Broken(err):
			return frames, errors.Join(bad, err)
		case err != nil:
			bad = errors.Join(bad, err)
			continue
		case f.ID == "" && f.Key == (wire.FrameKey{}):
			f.ID = id(len(frames))
		}
		frames = append(frames, f)
	}
}
