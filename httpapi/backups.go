package httpapi

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
)

// Backups are the places for backups that the agent's configuration names.
type Backups interface {
	// Targets tells of them, and no secrets.
	Targets() []wire.BackupTarget
	// Repository gives the backups at one of them.
	//
	// Errors: ErrNotFound with Field "target", which names those that there are.
	Repository(wire.BackupTargetName) (*backup.Repository, error)
}

// backupProbe is asked for to see whether a FrameDB is there before anything
// is written to S3.
const backupProbe objects.Key = "framedb.probe"

// isThere tells whether a FrameDB is there and can be reached.
func isThere(ctx context.Context, store *objects.Store) error {
	_, err := store.Stat(ctx, backupProbe)
	if wire.CodeOf(err) == wire.CodeNotFound && wire.AsError(err).Field == "" {
		return nil // nobody needs the object
	}
	return err
}

// backupsAt are the backups of one FrameDB at one target.
type backupsAt struct {
	id   wire.FrameDBID
	repo *backup.Repository
	name wire.BackupName // where one is meant
}

// backupsOf needs no FrameDB to be there: its backups outlive it. Whichever
// member of a cluster is named, the cluster's are meant.
func (s *Server) backupsOf(id wire.FrameDBID, target wire.BackupTargetName) (backupsAt, error) {
	switch {
	case target == "":
		return backupsAt{}, wire.InField("target", wire.Errorf(wire.CodeMissingField, "is required"))
	case s.cfg.Backups == nil:
		return backupsAt{}, wire.InField("target", wire.Errorf(wire.CodeNotFound, "this agent has no backup targets"))
	}
	if cluster, _, member := id.SplitMember(); member {
		id = wire.FrameDBID(cluster)
	}
	repo, err := s.cfg.Backups.Repository(target)
	return backupsAt{id: id, repo: repo}, err
}

// backupNamed is one of backupsOf, by the path.
func (s *Server) backupNamed(c *gin.Context, target wire.BackupTargetName) (backupsAt, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return backupsAt{}, err
	}
	name := wire.BackupName(c.Param("backup"))
	if err := name.Validate(); err != nil {
		return backupsAt{}, respell(err, map[string]string{"name": "backup"})
	}
	at, err := s.backupsOf(id, target)
	at.name = name
	return at, err
}

func queryTarget(c *gin.Context) (wire.BackupTargetName, error) {
	q, err := queryOf(c)
	return wire.BackupTargetName(q.Get("target")), err
}

// ofBackup names what is at fault as an HTTP caller knows it. What is wrong at
// S3 is a field of the target.
func ofBackup(err error) error {
	if err == nil || wire.CodeOf(err) == wire.CodeInternal {
		return err // a foreign error stays what it is
	}
	e := respell(err, map[string]string{
		"endpoint": "target.endpoint", "bucket": "target.bucket", "region": "target.region", "ca_file": "target.ca_file",
		"access_key_file": "target.access_key_file", "secret_key_file": "target.secret_key_file",
	})
	if e.Code == wire.CodeNotFound && e.Field == "" {
		missing := *e
		missing.Field = "backup"
		return &missing
	}
	return e
}

func (s *Server) v1ListBackupTargets(*gin.Context) (reply, error) {
	if s.cfg.Backups == nil {
		return ok([]wire.BackupTarget{})
	}
	return ok(emptyNotNull(s.cfg.Backups.Targets()))
}

func (s *Server) v1ListBackups(c *gin.Context) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	target, err := queryTarget(c)
	if err != nil {
		return reply{}, err
	}
	at, err := s.backupsOf(id, target)
	if err != nil {
		return reply{}, err
	}
	all, err := at.repo.List(c.Request.Context(), at.id)
	if err != nil {
		return reply{}, ofBackup(err)
	}
	list := make([]wire.Backup, len(all))
	for i := range all {
		list[i] = backupRow(&all[i])
	}
	return ok(list)
}

// v1DeleteBackup also marks the bytes that are of no use any more, which a
// later sweep drops.
func (s *Server) v1DeleteBackup(c *gin.Context) (reply, error) {
	target, err := queryTarget(c)
	if err != nil {
		return reply{}, err
	}
	at, err := s.backupNamed(c, target)
	if err != nil {
		return reply{}, err
	}
	if err := at.repo.Delete(c.Request.Context(), at.id, at.name); err != nil {
		return reply{}, ofBackup(err)
	}
	s.sweepBackups(c.Request.Context(), at)
	return emptyReply(c, 204)
}

// sweepBackups is not what the caller asked for: what fails, the next one does.
func (s *Server) sweepBackups(ctx context.Context, at backupsAt) {
	if _, err := at.repo.Sweep(ctx, at.id); err != nil {
		s.cfg.Logger.Warn("backups could not be swept", "framedb_id", at.id, "err", err)
	}
}

func (s *Server) v1CreateBackup(c *gin.Context, in *wire.CreateBackup) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	if in.Name == "" {
		in.Name = wire.ManualBackup(time.Now())
	}
	if err := in.Name.Validate(); err != nil {
		return reply{}, err
	}
	at, err := s.backupsOf(id, in.Target)
	if err != nil {
		return reply{}, err
	}
	store := s.cfg.Objects.Store(id)
	if err := isThere(c.Request.Context(), store); err != nil {
		return reply{}, err
	}
	opts := backup.Options{Name: in.Name, Selection: selectionOf(in.Prefixes, in.Keys), SkipDamaged: in.SkipDamaged}
	return working(s, c, in.Name, func(ctx context.Context, progress func(backup.Progress)) (wire.BackupReport, error) {
		opts.Progress = progress
		report, err := at.repo.Backup(ctx, at.id, store, opts)
		switch e := wire.AsError(err); {
		case err == nil:
			s.sweepBackups(ctx, at)
		case e.Code == wire.CodeNotFound && e.Field == "":
			err = wire.InField("keys", err) // all else that is not there has a field
		}
		return wire.BackupReport{Backup: backupRow(&report.Summary), Sent: report.Sent, Gone: report.Gone}, err
	})
}

func (s *Server) v1RestoreBackup(c *gin.Context, in *wire.RestoreBackup) (reply, error) {
	if err := checkOptional("to", in.To); err != nil {
		return reply{}, err
	}
	at, err := s.backupNamed(c, in.Target)
	if err != nil {
		return reply{}, err
	}
	to, field := in.To, "to"
	if to == "" {
		to, field = at.id, "framedb_id"
	}
	store := s.cfg.Objects.Store(to)
	if err := isThere(c.Request.Context(), store); err != nil {
		return reply{}, respell(err, map[string]string{"framedb_id": field})
	}
	opts := backup.RestoreOptions{Selection: selectionOf(in.Prefixes, in.Keys), Overwrite: in.Overwrite, IgnoreExpiry: in.IgnoreExpiry}
	return working(s, c, at.name, func(ctx context.Context, progress func(backup.Progress)) (wire.RestoreReport, error) {
		opts.Progress = progress
		done, err := at.repo.Restore(ctx, at.id, at.name, store, opts)
		return wire.RestoreReport{
			Objects: done.Objects, Bytes: done.Bytes, Same: done.Same, Kept: done.Kept, FirstKept: texts(done.FirstKept), Expired: done.Expired,
		}, err
	})
}

func (s *Server) v1VerifyBackup(c *gin.Context, in *wire.VerifyBackup) (reply, error) {
	at, err := s.backupNamed(c, in.Target)
	if err != nil {
		return reply{}, err
	}
	return working(s, c, at.name, func(ctx context.Context, progress func(backup.Progress)) (wire.VerifyReport, error) {
		found, err := at.repo.Verify(ctx, at.id, at.name, backup.VerifyOptions{Progress: progress})
		return wire.VerifyReport{
			Objects: found.Objects, Bytes: found.Bytes, Damaged: found.Damaged, FirstDamaged: skippedRows(found.FirstDamaged),
		}, err
	})
}

// checkPlan checks the schedule, which the store does not know.
func checkPlan(plan *wire.BackupPlan) error {
	if plan == nil || plan.Schedule == "" {
		return nil // the store refuses what is half empty
	}
	if _, err := backup.ParseSchedule(plan.Schedule); err != nil {
		return respell(err, map[string]string{"schedule": "backup.schedule"})
	}
	return nil
}

func selectionOf(prefixes, keys []string) backup.Selection {
	sel := backup.Selection{Prefixes: prefixes}
	for _, k := range keys {
		sel.Keys = append(sel.Keys, objects.Key(k))
	}
	return sel
}

func backupRow(s *backup.Summary) wire.Backup {
	return wire.Backup{
		Name: s.Name, FrameDB: s.FrameDB, Instant: s.Instant, Prefixes: givenPrefixes(s.Selection.Prefixes), Keys: texts(s.Selection.Keys),
		Created: s.Created, Finished: s.Finished, Objects: s.Objects, Bytes: s.Bytes,
		Skipped: s.Skipped, FirstSkipped: skippedRows(s.FirstSkipped), Damaged: s.Damaged,
	}
}

// givenPrefixes leaves out the empty one, which stands for no selection.
func givenPrefixes(all []string) []string {
	if len(all) == 1 && all[0] == "" {
		return nil
	}
	return all
}

func texts(keys []objects.Key) []string {
	var all []string
	for _, k := range keys {
		all = append(all, string(k))
	}
	return all
}

func skippedRows(skipped []backup.Skipped) []wire.SkippedObject {
	var rows []wire.SkippedObject
	for _, s := range skipped {
		rows = append(rows, wire.SkippedObject{Key: string(s.Key), Why: s.Why})
	}
	return rows
}
