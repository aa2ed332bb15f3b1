package backup

import (
	"context"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// Job is one instant of a schedule of backups.
type Job struct {
	Name JobName
	// Instant is one that the schedule gave, in whole seconds. Not the time of
	// now: it names the backup.
	Instant time.Time
	FrameDB wire.FrameDBID
	Store   *objects.Store
	// Repository is where to.
	Repository *Repository
	// Keep is how many backups of the job stay; 0 keeps all.
	Keep int

	Selection   Selection
	SkipDamaged bool
	Parallel    int
	Progress    func(Progress)
}

func (j Job) validate() error {
	if err := j.Name.Validate(); err != nil {
		return err
	}
	switch {
	case j.Instant.IsZero() || j.Instant.Nanosecond() != 0:
		return invalid("instant", "give one of the schedule, in whole seconds")
	case j.Keep < 0:
		return invalid("keep", "give at least 1, or 0 to keep all")
	}
	return nil
}

// Run sees to it that there is a backup of the job's instant, or of a later
// one, deletes what is too many, and sweeps. It can be repeated, and run by two
// at once: there is one backup of an instant, and Report.Repeated says that it
// was there. After an error run it again.
//
// Errors: those of Backup but ErrAlreadyExists, and of Retain and Sweep; the
// backup was made when Report.Name is set.
func Run(ctx context.Context, j Job) (Report, error) {
	if err := j.validate(); err != nil {
		return Report{}, err
	}
	report, err := j.backup(ctx)
	if err != nil {
		return Report{}, err
	}
	if j.Keep > 0 {
		if _, err := j.Repository.Retain(ctx, j.FrameDB, j.Name, j.Keep); err != nil {
			return report, err
		}
	}
	_, err = j.Repository.Sweep(ctx, j.FrameDB)
	return report, err
}

// backup makes the backup, unless there is one.
func (j Job) backup(ctx context.Context) (Report, error) {
	report, found, err := j.made(ctx)
	if found || err != nil {
		return report, err
	}
	report, err = j.Repository.Backup(ctx, j.FrameDB, j.Store, Options{
		Name: j.Name.At(j.Instant), Selection: j.Selection, SkipDamaged: j.SkipDamaged, Parallel: j.Parallel, Progress: j.Progress,
		job: j.Name, instant: j.Instant.UTC(),
	})
	if wire.CodeOf(err) != wire.CodeAlreadyExists {
		return report, err
	}
	if there, found, ferr := j.made(ctx); found || ferr != nil {
		return there, ferr
	}
	return Report{}, err // a backup of another kind has this name
}

// made looks for what another has made.
func (j Job) made(ctx context.Context) (Report, bool, error) {
	all, err := j.Repository.List(ctx, j.FrameDB)
	if err != nil {
		return Report{}, false, err
	}
	s, found := since(all, j.Name, j.Instant)
	return Report{Summary: s, Repeated: found}, found, nil
}
