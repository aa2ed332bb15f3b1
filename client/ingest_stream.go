package client

import (
	"context"
	"sync"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// Bounds of what an IngestStream sends at once, and of what waits in it.
const (
	streamFrames  = 64
	streamBytes   = 8 << 20
	streamWaiting = 2 * streamBytes
)

// IngestStream gives frames of a source to an agent, in order, without waiting
// for each: what is sent while a batch is on its way is the next batch. Its
// methods may be called by several goroutines.
type IngestStream struct {
	client *Client
	source wire.SourceID
	opts   IngestOptions
	each   func(ingest.Result)
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the sender has ended

	mu      sync.Mutex
	changed *sync.Cond
	waiting []ingest.Frame // guarded by mu
	bytes   int            // guarded by mu: of those, and of what is on its way
	closed  bool           // guarded by mu
	err     error          // guarded by mu: why nothing is sent any more
}

// IngestStream begins a stream that ends with Close, or with ctx. Each is called
// with the result of every frame, in order, by one goroutine; nil is allowed.
// Retries and IDs are those of Ingest.
func (c *Client) IngestStream(ctx context.Context, source wire.SourceID, opts IngestOptions, each func(ingest.Result)) *IngestStream {
	ctx, cancel := context.WithCancel(ctx)
	s := &IngestStream{client: c, source: source, opts: opts, each: each, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	if each == nil {
		s.each = func(ingest.Result) {}
	}
	go s.run()
	return s
}

// Send has a frame be sent. It waits while much is on its way. The data must not
// be changed before the frame has its result.
//
// Errors: those for which the stream has ended; ErrConflict after Close.
func (s *IngestStream) Send(f ingest.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closed && s.bytes > 0 && s.bytes+f.Bytes() > streamWaiting {
		s.changed.Wait()
	}
	switch {
	case s.err != nil:
		return s.err
	case s.closed:
		return wire.Errorf(wire.CodeConflict, "the stream is closed")
	}
	s.waiting = append(s.waiting, f)
	s.bytes += f.Bytes()
	s.changed.Broadcast()
	return nil
}

// Close waits until all frames have their results and ends the stream.
//
// Errors: those of Ingest, ctx's: then the frames that have no result may have
// been stored, and may be repeated with the same keys or IDs.
func (s *IngestStream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	<-s.done
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *IngestStream) run() {
	defer close(s.done)
	defer context.AfterFunc(s.ctx, func() { s.end(s.ctx.Err()) })()
	for {
		batch, bytes := s.next()
		if len(batch) == 0 {
			return
		}
		results, err := s.client.Ingest(s.ctx, s.source, batch, s.opts)
		if err != nil {
			s.end(err)
			return
		}
		for _, r := range results {
			s.each(r)
		}
		s.mu.Lock()
		s.bytes -= bytes
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// next waits for what is to be sent; nothing ends the stream.
func (s *IngestStream) next() (batch []ingest.Frame, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closed && len(s.waiting) == 0 {
		s.changed.Wait()
	}
	if s.err != nil {
		return nil, 0
	}
	n := 0
	for ; n < len(s.waiting) && n < streamFrames; n++ {
		if size := s.waiting[n].Bytes(); n > 0 && bytes+size > streamBytes {
			break
		}
		bytes += s.waiting[n].Bytes()
	}
	batch, s.waiting = s.waiting[:n:n], s.waiting[n:]
	return batch, bytes
}

func (s *IngestStream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.changed.Broadcast()
}
