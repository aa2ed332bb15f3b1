package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/httpapi"
)

// planned is the job of backups that are made as a plan says. A FrameDB has one
// plan at a time; what was made under a former one counts for Keep, too.
const planned backup.JobName = "planned"

// maxPlanned bounds the planned backups that run on an agent at one time; the
// others wait. Each takes up to 32 MiB of memory for each of its
// backup.DefaultParallel transfers.
const maxPlanned = 2

// backups are the backup targets of the configuration, and make what is planned.
type backups struct {
	targets []backup.Target
	repos   map[wire.BackupTargetName]*backup.Repository
	store   func(wire.FrameDBID) *objects.Store
	slots   chan struct{} // one element for each planned backup that runs
	now     func() time.Time
}

var (
	_ storage.Backups = (*backups)(nil)
	_ httpapi.Backups = (*backups)(nil)
)

// newBackups dials nothing. Errors: those of backup.New, with the key of the
// configuration.
func newBackups(targets []backup.Target, cfg backup.Config, store func(wire.FrameDBID) *objects.Store) (*backups, error) {
	b := &backups{
		targets: targets, repos: map[wire.BackupTargetName]*backup.Repository{},
		store: store, slots: make(chan struct{}, maxPlanned), now: time.Now,
	}
	for i, t := range targets {
		repo, err := backup.New(t, cfg)
		if err != nil {
			b.close()
			return nil, inTarget(i, err)
		}
		b.repos[wire.BackupTargetName(t.Name)] = repo
	}
	return b, nil
}

func (b *backups) close() {
	for _, repo := range b.repos {
		repo.Close()
	}
}

// openBackups dials nothing either: that a target does not answer keeps no
// agent from starting.
func (a *agent) openBackups(context.Context) error {
	metrics, err := backup.NewMetrics(a.metrics)
	if err != nil {
		return err
	}
	a.backups, err = newBackups(a.cfg.BackupTargets, backup.Config{Metrics: metrics, Logger: a.log}, a.objects.Store)
	if err != nil {
		return err
	}
	a.life.started("backup targets", func(context.Context) error { a.backups.close(); return nil })
	return nil
}

func (b *backups) Targets() []wire.BackupTarget {
	all := make([]wire.BackupTarget, len(b.targets))
	for i, t := range b.targets {
		all[i] = wire.BackupTarget{
			Name: wire.BackupTargetName(t.Name), Endpoint: t.Endpoint, Bucket: t.Bucket, Prefix: t.Prefix, Region: t.Region, Insecure: t.Insecure,
		}
	}
	return all
}

func (b *backups) Repository(target wire.BackupTargetName) (*backup.Repository, error) {
	repo, found := b.repos[target]
	if found {
		return repo, nil
	}
	var names []string
	for _, t := range b.targets {
		names = append(names, t.Name)
	}
	there := "none: name some in backup_targets of its configuration"
	if len(names) > 0 {
		there = strings.Join(names, ", ")
	}
	return nil, wire.InField("target", wire.Errorf(wire.CodeNotFound, "%.100q is not a backup target of this agent; there is %s", target, there))
}

// Due is true at once for a FrameDB without a backup: it gets the one of the
// instant before. From then on an instant that was missed is made up for as
// soon as that can be, the latest of several.
func (b *backups) Due(_ wire.FrameDBID, plan wire.BackupPlan, last, now time.Time) (bool, error) {
	schedule, err := b.schedule(plan)
	if err != nil {
		return false, err
	}
	if last.IsZero() {
		return true, nil
	}
	_, due := schedule.Due(last, now)
	return due, nil
}

func (b *backups) schedule(plan wire.BackupPlan) (backup.Schedule, error) {
	if _, err := b.Repository(wire.BackupTargetName(plan.Target)); err != nil {
		return backup.Schedule{}, inPlan("target", err)
	}
	schedule, err := backup.ParseSchedule(plan.Schedule)
	if err != nil {
		return backup.Schedule{}, inPlan("schedule", err)
	}
	return schedule, nil
}

// inPlan is what is wrong with a plan, wherever it was found.
func inPlan(field string, err error) error {
	e := *wire.AsError(err)
	e.Code, e.Field = wire.CodeInvalidArgument, "backup."+field
	e.Message = e.Field + ": " + strings.TrimPrefix(e.Message, field+": ")
	return &e
}

// Run makes the backup of the latest instant, or finds that there is one. The
// name of it is that of its instant, so that two agents that both believe that
// they own a FrameDB make one backup.
func (b *backups) Run(ctx context.Context, id wire.FrameDBID, plan wire.BackupPlan) (name string, at time.Time, err error) {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
	schedule, err := b.schedule(plan)
	if err != nil {
		return "", time.Time{}, err
	}
	report, err := backup.Run(ctx, backup.Job{
		Name: planned, Instant: schedule.Last(b.now()), FrameDB: id, Store: b.store(id),
		Repository: b.repos[wire.BackupTargetName(plan.Target)], Keep: plan.Keep,
	})
	if err != nil && report.Name != "" {
		err = fmt.Errorf("%s was made, but those that are too many could not be deleted: %w", report.Name, err)
	}
	return string(report.Name), report.Created, err
}
