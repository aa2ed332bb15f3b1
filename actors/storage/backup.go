package storage

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// askForBackup fills in what the plan has to know of backups.
func (w *worker) askForBackup(in *Input) {
	plan := in.Row.Backup
	in.Backup.Running, in.Backup.Ended = w.cfg.Record.backedUp()
	if end := in.Backup.Ended; end != nil {
		in.Past.BackupFailedAt = time.Time{}
		if end.err != nil {
			in.Past.BackupFailedAt = in.Now
		}
		w.cfg.Record.past.BackupFailedAt = in.Past.BackupFailedAt
	}
	switch {
	case plan == nil:
	case w.cfg.Backups == nil:
		in.Backup.Err = wire.Errorf(wire.CodeUnavailable, "backups are not set up on node %s", w.cfg.Node)
	default:
		in.Backup.Due, in.Backup.Err = w.cfg.Backups.Due(w.cfg.ID, *plan, in.Row.Status.LastBackupAt, in.Now)
	}
}

// backUp starts a backup, which goes on beside the rounds, and ends with the
// actor: the next owner makes one.
func (w *worker) backUp(plan wire.BackupPlan) {
	if !w.cfg.Record.beginBackup() {
		return
	}
	begun := w.now()
	end := &backupEnd{at: begun}
	w.cfg.Jobs.Go(func() {
		defer func() {
			if crash := recover(); crash != nil {
				w.cfg.Logger.Error("a backup crashed", "framedb_id", w.cfg.ID, "panic", crash, "stack", string(debug.Stack()))
				end.err = fmt.Errorf("it crashed: %v", crash)
			}
			w.cfg.Record.endBackup(end)
		}()
		name, at, err := w.cfg.Backups.Run(w.ctx, w.cfg.ID, plan)
		if end.err = err; err == nil {
			end.name, end.at = name, at
		}
		if end.err != nil {
			w.cfg.Logger.Warn("a backup failed", "framedb_id", w.cfg.ID, "err", end.err)
		} else {
			w.cfg.Logger.Info("backed up", "framedb_id", w.cfg.ID, "backup", end.name, "took", w.now().Sub(begun))
		}
	})
}
