package ingest

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/ingest/images"
	"github.com/framedb/framedb/client/wire"
)

// FromStream takes in a stream of frames (see client/ingest) until it ends, and
// calls each for the result of every frame, in order. What comes while frames
// are written goes with the next batch; the stream is not read on while memory
// is full.
//
// Errors: ErrMalformed when the stream is none or is cut: frames that came whole
// before were taken; those of Ingest for a whole call; each's own; ctx's; the
// reader's. The read under way ends with the reader only: close it when ctx
// ends.
func (s *Service) FromStream(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error {
	d := ingest.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	return s.pump(ctx, source, level, each, func() (piece, error) {
		n, err := d.Next()
		if err != nil {
			return piece{}, err
		}
		grant, err := s.admitPatiently(ctx, int64(n))
		if err != nil {
			return piece{}, err
		}
		p := piece{grant: grant}
		p.frame, p.bad = d.Frame(make([]byte, n))
		if ingest.Broken(p.bad) {
			grant.Release()
			return piece{}, p.bad
		}
		return p, nil
	})
}

// FromImages takes in a raw stream of images, as FromStream does a stream of
// frames. The frames get their keys here.
func (s *Service) FromImages(ctx context.Context, source wire.SourceID, r io.Reader, level ingest.Level, each func(ingest.Result) error) error {
	scanner := images.NewScanner(r, wire.MaxFrame)
	return s.pump(ctx, source, level, each, func() (piece, error) {
		img, err := scanner.Next()
		if errors.Is(err, wire.ErrTooLarge) {
			return piece{bad: err}, nil
		}
		if err != nil {
			return piece{}, err
		}
		grant, err := s.admitPatiently(ctx, int64(len(img.Data)))
		if err != nil {
			return piece{}, err
		}
		return piece{frame: ingest.Frame{Sizes: []ingest.Size{{Name: img.Size(), Data: img.Data}}}, grant: grant}, nil
	})
}

// admitPatiently is Admit that waits while memory is full.
func (s *Service) admitPatiently(ctx context.Context, n int64) (*Grant, error) {
	for {
		g, err := s.Admit(n)
		if err == nil || !errors.Is(err, wire.ErrOverloaded) {
			return g, err
		}
		sleep(ctx, wire.AsError(err).RetryAfter)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// piece is one frame of a stream, or what is wrong with it.
type piece struct {
	frame ingest.Frame
	bad   error
	grant *Grant
}

// maxAhead bounds the frames that are read while others are written.
const maxAhead = 64

// pump reads pieces on one goroutine and ingests what has come on another.
func (s *Service) pump(ctx context.Context, source wire.SourceID, level ingest.Level, each func(ingest.Result) error, next func() (piece, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	pieces := make(chan piece, maxAhead)
	var end error
	go func() {
		defer close(pieces)
		for {
			p, err := next()
			if err != nil {
				if err != io.EOF {
					end = err
				}
				return
			}
			select {
			case pieces <- p:
			case <-ctx.Done():
				p.grant.Release()
				end = ctx.Err()
				return
			}
		}
	}()
	err := s.ingestPieces(ctx, source, level, each, pieces)
	cancel()
	for p := range pieces { // closed by the reader, which is waited for so
		p.grant.Release()
	}
	if err == nil {
		err = end
	}
	return err
}

func (s *Service) ingestPieces(ctx context.Context, source wire.SourceID, level ingest.Level, each func(ingest.Result) error, pieces <-chan piece) error {
	for p := range pieces {
		batch := gather(p, pieces)
		var fs []ingest.Frame
		var grant *Grant
		for _, p := range batch {
			if grant = grant.add(p.grant); p.bad == nil {
				fs = append(fs, p.frame)
			}
		}
		results, err := s.Ingest(ctx, source, fs, Options{Level: level, Grant: grant})
		if err != nil && results == nil {
			return err
		}
		for _, p := range batch {
			r := ingest.Result{Error: wire.AsError(p.bad)}
			if p.bad == nil {
				r, results = results[0], results[1:]
			} else if p.frame.Key != (wire.FrameKey{}) {
				r.Frame = p.frame.Key.String()
			}
			if err := each(r); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gather takes what has come already.
func gather(first piece, pieces <-chan piece) []piece {
	batch := []piece{first}
	bytes := first.frame.Bytes()
	for len(batch) < maxAhead && bytes < maxWriteBytes {
		select {
		case p, ok := <-pieces:
			if !ok {
				return batch
			}
			batch = append(batch, p)
			bytes += p.frame.Bytes()
		default:
			return batch
		}
	}
	return batch
}
