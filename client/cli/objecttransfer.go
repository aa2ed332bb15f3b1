package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Transfers of a directory that are under way at once. More help where the way
// is long; a database's connections and disk are shared by all of them.
const (
	defaultParallel = 4
	maxParallel     = 64
)

func addParallelFlag(cmd *cobra.Command, n *int) {
	cmd.Flags().IntVar(n, "parallel", defaultParallel, fmt.Sprintf("objects of a directory at a time, 1 to %d", maxParallel))
}

func (s *session) checkParallel(n int) error {
	if n < 1 || n > maxParallel {
		return usagef(s.cmd, "--parallel %d: give 1 to %d", n, maxParallel)
	}
	return nil
}

// moved is what became of one object.
type moved struct {
	Object string `json:"object"` // <framedb-id>/<key>
	File   string `json:"file,omitempty"`
	From   string `json:"from,omitempty"`
	Size   int64  `json:"size"`
	// Sum is empty for an object of which nothing was read.
	Sum *objects.Sum `json:"checksum,omitempty"`
	// Skipped says that it was there already.
	Skipped bool `json:"skipped,omitempty"`
}

// transfer is a number of objects on their way, with one bar for all of them.
type transfer struct {
	s     *session
	verb  string // "written"
	total int64  // bytes; negative when not known
	files int
	start time.Time

	mu    sync.Mutex
	bar   *progress // guarded by mu
	bytes int64     // guarded by mu: on their way, or skipped
	ended []moved   // guarded by mu
	errs  []error   // guarded by mu
}

func (s *session) newTransfer(label, verb string, files int, total int64) *transfer {
	return &transfer{s: s, verb: verb, total: total, files: files, bar: s.progress(label), start: time.Now()}
}

// count notes bytes that moved; a negative number takes back what is to be
// moved again.
func (t *transfer) count(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += n
	note := formatBytes(int64(float64(t.bytes)/max(time.Since(t.start).Seconds(), 0.001))) + "/s"
	if t.files > 1 {
		note = fmt.Sprintf("%d/%d objects, %s", len(t.ended), t.files, note)
	}
	t.bar.setBytes(t.bytes, t.total, note)
}

// Write counts what passes.
func (t *transfer) Write(p []byte) (int, error) {
	t.count(int64(len(p)))
	return len(p), nil
}

// end notes what became of one. What failed is said at once, if there are more.
func (t *transfer) end(m moved, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.ended = append(t.ended, m)
		return
	}
	t.errs = append(t.errs, err)
	if t.files > 1 {
		t.bar.finish()
		t.s.note("%s: %v", m.Object, err)
	}
}

// each runs f for each item, some at a time. One that fails does not keep the
// others from going on, unless the command was interrupted.
func each[T any](ctx context.Context, parallel int, items []T, f func(context.Context, T)) {
	next := make(chan T)
	var work sync.WaitGroup
	for range min(parallel, len(items)) {
		work.Go(func() {
			for item := range next {
				f(ctx, item)
			}
		})
	}
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		next <- item
	}
	close(next)
	work.Wait()
}

// finish prints what was done and returns why it is not all.
func (t *transfer) finish(ctx context.Context) error {
	t.bar.finish()
	var printed error
	if t.s.json() {
		printed = t.s.print(notNil(t.ended), nil)
	} else if t.files != 1 || len(t.ended) > 0 {
		t.summary()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(t.errs) == 1 && t.files == 1:
		return t.errs[0]
	case len(t.errs) > 0:
		return fmt.Errorf("%d of %s failed: %w", len(t.errs), plural(t.files, "object"), t.errs[0])
	}
	return printed
}

func (t *transfer) summary() {
	if t.files == 1 {
		m := t.ended[0]
		what := t.verb
		if m.Skipped {
			what = "there already"
		}
		fmt.Fprintf(t.s.out, "%s  %s  %s\n", m.Object, formatBytes(m.Size), what)
		return
	}
	var bytes int64
	skipped := 0
	for _, m := range t.ended {
		if m.Skipped {
			skipped++
		} else {
			bytes += m.Size
		}
	}
	fmt.Fprintf(t.s.out, "%s %s, %s", plural(len(t.ended)-skipped, "object"), t.verb, formatBytes(bytes))
	if skipped > 0 {
		fmt.Fprintf(t.s.out, "; %d there already", skipped)
	}
	fmt.Fprintln(t.s.out)
}

// notAFile says that a name of an object cannot be one of a file.
func notAFile(key objects.Key) error {
	return wire.InField("key", wire.Errorf(wire.CodeInvalidArgument, "%q cannot be the name of a file", key))
}
