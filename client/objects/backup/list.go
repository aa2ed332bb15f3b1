package backup

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// List tells the backups of a FrameDB, the oldest first. One that cannot be
// read is told with Damaged set.
func (r *Repository) List(ctx context.Context, id wire.FrameDBID) ([]Summary, error) {
	p, err := r.place(id)
	if err != nil {
		return nil, err
	}
	heads, err := p.heads(ctx, id)
	if err != nil {
		return nil, err
	}
	all := make([]Summary, len(heads))
	for i, h := range heads {
		all[i] = h.Summary
	}
	return all, nil
}

// Stat tells of one backup.
//
// Errors: ErrNotFound, ErrCorrupt.
func (r *Repository) Stat(ctx context.Context, id wire.FrameDBID, name Name) (Summary, error) {
	_, h, err := r.open(ctx, id, name)
	return h.Summary, err
}

// Entries calls f for each object of a backup, in no order, until f fails.
//
// Errors: ErrNotFound, ErrCorrupt, f's own.
func (r *Repository) Entries(ctx context.Context, id wire.FrameDBID, name Name, f func(Entry) error) error {
	p, h, err := r.open(ctx, id, name)
	if err != nil {
		return err
	}
	return p.entries(ctx, h, f)
}

func (r *Repository) open(ctx context.Context, id wire.FrameDBID, name Name) (place, head, error) {
	p, err := r.place(id)
	if err == nil {
		err = name.Validate()
	}
	if err != nil {
		return place{}, head{}, err
	}
	h, err := p.readHead(ctx, id, name)
	return p, h, err
}

// heads reads all heads, the oldest first.
func (p place) heads(ctx context.Context, id wire.FrameDBID) ([]head, error) {
	var heads []head
	for o, err := range p.s3.list(ctx, p.headKey("")) {
		if err != nil {
			return nil, err
		}
		name := Name(o.key)
		if name.Validate() != nil {
			continue // not ours
		}
		h, err := p.readHead(ctx, id, name)
		switch code := wire.CodeOf(err); {
		case code == wire.CodeNotFound && wire.AsError(err).Field == "":
			continue // deleted meanwhile
		case code == wire.CodeCorrupt, code == wire.CodeConflict:
			h = head{Summary: Summary{Name: name, FrameDB: id, Damaged: err.Error()}}
		case err != nil:
			return nil, err
		}
		heads = append(heads, h)
	}
	slices.SortStableFunc(heads, func(a, b head) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return heads, nil
}

// latestOf is the newest backup that can be read; nil when there is none.
func latestOf(heads []head) *head {
	for i := range slices.Backward(heads) {
		if heads[i].Damaged == "" {
			return &heads[i]
		}
	}
	return nil
}

// Delete takes a backup away, a damaged one, too. Its bytes that no other
// backup uses are freed by Sweep, which takes its time. A restore that is under
// way may fail then.
//
// Errors: ErrNotFound.
func (r *Repository) Delete(ctx context.Context, id wire.FrameDBID, name Name) error {
	p, _, err := r.open(ctx, id, name)
	if code := wire.CodeOf(err); err != nil && code != wire.CodeCorrupt && code != wire.CodeConflict {
		return err
	}
	if err := p.s3.remove(ctx, p.headKey(name)); err != nil {
		return err
	}
	r.log.Info("backup deleted", "framedb", id, "backup", name)
	return nil
}

// Retain deletes all but the last keep backups of a job, by their instants,
// and tells which. Those of other jobs and of none stay, and so do damaged
// ones, which count for nothing.
//
// Errors: ErrInvalidArgument with Field "keep" or "job".
func (r *Repository) Retain(ctx context.Context, id wire.FrameDBID, job JobName, keep int) ([]Name, error) {
	if keep < 1 {
		return nil, invalid("keep", "give at least 1")
	}
	if err := job.Validate(); err != nil {
		return nil, err
	}
	all, err := r.List(ctx, id)
	if err != nil {
		return nil, err
	}
	var deleted []Name
	for _, s := range surplus(all, job, keep) {
		if err := r.Delete(ctx, id, s.Name); err != nil && wire.CodeOf(err) != wire.CodeNotFound {
			return deleted, err
		}
		deleted = append(deleted, s.Name)
	}
	return deleted, nil
}

// surplus decides what Retain deletes.
func surplus(all []Summary, job JobName, keep int) []Summary {
	mine := ofJob(all, job)
	return mine[:max(0, len(mine)-keep)]
}

// ofJob gives the readable backups of a job by their instants.
func ofJob(all []Summary, job JobName) []Summary {
	mine := slices.DeleteFunc(slices.Clone(all), func(s Summary) bool { return s.Job != job || s.Damaged != "" })
	slices.SortStableFunc(mine, func(a, b Summary) int { return a.Instant.Compare(b.Instant) })
	return mine
}

// since gives the first backup of a job of this instant or a later one.
func since(all []Summary, job JobName, instant time.Time) (Summary, bool) {
	for _, s := range ofJob(all, job) {
		if !s.Instant.Before(instant) {
			return s, true
		}
	}
	return Summary{}, false
}
