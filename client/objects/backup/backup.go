package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Options says what is backed up, and how.
type Options struct {
	// Name of the backup.
	Name Name
	// Selection of objects; the zero value takes the whole FrameDB.
	Selection Selection
	// SkipDamaged leaves out objects whose bytes are damaged, and says so in
	// the Summary. Without it such an object fails the backup.
	SkipDamaged bool
	// Parallel is how many objects are transferred at one time, 1 to
	// MaxParallel; 0 means DefaultParallel. Each takes up to 32 MiB of memory.
	Parallel int
	// Progress hears of every step, one call at a time. It must not block. It
	// costs a second listing of the FrameDB.
	Progress func(Progress)

	job     JobName // of Run
	instant time.Time
}

// Report says what a backup did.
type Report struct {
	Summary
	// Sent is how many bytes of objects went to S3; the others were there.
	Sent int64
	// Gone is how many objects were deleted between listing and reading.
	Gone int64
	// Repeated: the backup was there already, and nothing was done.
	Repeated bool
}

// Backup copies objects of a FrameDB to S3. Every object is in it with the
// whole of one version, the one that was there when it was read; the backup as
// a whole is not of one moment. It shows in List only when it is complete.
// After an error, also of a process that died, make it again: what was sent is
// not sent again.
//
// Errors: ErrAlreadyExists (there is a backup of this name), ErrInvalidArgument
// with the field of Options, ErrNotFound (one of Selection.Keys), ErrCorrupt,
// those of the store, and those of Repository.
func (r *Repository) Backup(ctx context.Context, id wire.FrameDBID, store *objects.Store, opts Options) (report Report, err error) {
	defer func() { err = ended(err); r.metrics.done("backup", err) }()
	p, err := r.place(id)
	if err != nil {
		return Report{}, err
	}
	if err := opts.Name.Validate(); err != nil {
		return Report{}, err
	}
	if opts.Selection, err = opts.Selection.normal(); err != nil {
		return Report{}, err
	}
	if opts.Parallel, err = checkParallel(opts.Parallel); err != nil {
		return Report{}, err
	}
	if _, err := p.readHead(ctx, id, opts.Name); wire.CodeOf(err) != wire.CodeNotFound || wire.AsError(err).Field != "" {
		if err == nil {
			err = exists(id, opts.Name)
		}
		return Report{}, err
	}
	for range spoiledTries {
		m := &making{repo: r, place: p, id: id, store: store, opts: opts, run: newRun()}
		if report, err = m.make(ctx); !errors.Is(err, errSpoiled) {
			break
		}
		r.log.Warn("a backup is begun again: a sweep wants to drop what it uses", "framedb", id, "backup", opts.Name)
	}
	if err == nil {
		r.metrics.complete(report.Summary)
		r.log.Info("backup complete", "framedb", id, "backup", opts.Name, "objects", report.Objects, "bytes", report.Bytes,
			"sent", report.Sent, "skipped", report.Skipped)
	}
	return report, err
}

func exists(id wire.FrameDBID, name Name) error {
	return wire.InField("name", wire.Errorf(wire.CodeAlreadyExists, "there is a backup %q of %q already", name, id))
}

// spoiledTries is how often a backup is begun that sweeps come across.
const spoiledTries = 3

// errSpoiled: pieces that the backup uses may be dropped.
var errSpoiled = fmt.Errorf("backup: %w", wire.Errorf(wire.CodeConflict, "what it uses is being swept; make it again"))

// making is one run.
type making struct {
	repo  *Repository
	place place
	id    wire.FrameDBID
	store *objects.Store
	opts  Options
	run   runID

	index   *index
	body    bodyWriter
	tracker tracker
	skipped skips
	gone    counter
}

func (m *making) make(ctx context.Context) (Report, error) {
	begin := time.Now()
	if err := m.place.touch(ctx, m.run, m.opts.Name); err != nil {
		return Report{}, err
	}
	guard, err := m.prepare(ctx)
	if err != nil {
		return Report{}, err
	}
	m.tracker.tell = m.opts.Progress
	m.body.store = func(ctx context.Context, gz []byte) (piece, error) {
		p, _, err := m.upload(ctx, gz)
		return p, err
	}
	if err := m.all(ctx, guard); err != nil {
		return Report{}, err
	}
	return m.finish(ctx, begin)
}

// all transfers all objects and the body of the manifest.
func (m *making) all(ctx context.Context, g *guard) error {
	run, stop := g.start(ctx)
	err := each(run, m.opts.Parallel, func(send func(item) error) error { return m.feed(run, send) }, m.transfer)
	if err == nil {
		err = m.body.flush(run)
	}
	stop()
	if err != nil {
		return err
	}
	return g.check(ctx)
}

// prepare finds out what S3 has already.
func (m *making) prepare(ctx context.Context) (*guard, error) {
	g := &guard{m: m, read: time.Now()}
	var err error
	if m.index, err = m.place.load(ctx); err != nil {
		return nil, err
	}
	heads, err := m.place.heads(ctx, m.id)
	if err != nil {
		return nil, err
	}
	if latest := latestOf(heads); latest != nil {
		// Without it, large objects are read again: no reason to give up.
		if err := m.place.entries(ctx, *latest, m.index.learn); err != nil && ctx.Err() == nil {
			m.repo.log.Warn("the manifest of the latest backup is not used", "framedb", m.id, "backup", latest.Name, "error", err)
		}
	}
	if m.opts.Progress != nil {
		err = m.list(ctx, func(it item) error {
			m.tracker.p.TotalObjects++
			m.tracker.p.TotalBytes += it.info.Size
			return nil
		})
	}
	return g, err
}

// headWithin bounds the writing of the head; see guard.
const headWithin = 5 * time.Minute

// finish makes the backup.
func (m *making) finish(ctx context.Context, begin time.Time) (Report, error) {
	h := head{Run: m.run, Body: m.body.pieces, Summary: Summary{
		Format: Format, Name: m.opts.Name, FrameDB: m.id, Job: m.opts.job, Instant: m.opts.instant, Selection: m.opts.Selection,
		Created: begin.UTC().Round(time.Millisecond), Finished: time.Now().UTC().Round(time.Millisecond),
		Objects: m.body.objects, Bytes: m.body.bytes,
	}}
	h.Skipped, h.FirstSkipped = m.skipped.count, m.skipped.first
	text, err := h.encode()
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, headWithin)
	defer cancel()
	if _, err := m.place.s3.put(ctx, m.place.headKey(h.Name), text, true); err != nil {
		if wire.CodeOf(err) != wire.CodePrecondition {
			return Report{}, err
		}
		// Ours, whose answer was lost, or another's.
		there, err := m.place.readHead(ctx, m.id, h.Name)
		if err != nil {
			return Report{}, err
		}
		if there.Run != m.run {
			return Report{}, exists(m.id, h.Name)
		}
	}
	if err := m.place.s3.remove(ctx, m.place.runDir()+m.run.String()); err != nil {
		m.repo.log.Warn("a file of a finished run is left for the sweep", "error", err)
	}
	return Report{Summary: h.Summary, Sent: m.tracker.now().Moved, Gone: m.gone.get()}, nil
}
