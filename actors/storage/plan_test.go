package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

var now = time.Unix(100_000, 0)

// healthy is a FrameDB of generation 2 with which all is well.
func healthy() Input {
	in := Input{Now: now, Bound: true}
	in.Row = wire.PersistentInstance{ID: "disk", Generation: 2, Status: wire.StorageStatus{
		Phase: wire.PhaseReady, ObservedGeneration: 2, Owner: "n1", OwnerEpoch: 1,
		Engine: wire.EngineMariaDB, Version: "10", URL: "mysql://127.0.0.1:4000", Node: "n1", Ready: wire.StorageReplicas{TiDB: 1},
	}}
	in.Past = Past{Applied: 2, Tried: 2, Prepared: 2, AppliedAt: now.Add(-time.Hour), Pause: firstPause}
	in.Seen.Storage = deploy.Storage{
		Exists: true, Running: true, Host: "127.0.0.1", Port: 4000, Node: "n1",
		Engine: wire.EngineMariaDB, Version: "10", Wanted: wire.StorageReplicas{TiDB: 1}, Ready: wire.StorageReplicas{TiDB: 1},
	}
	return in
}

// fresh was just created, and nothing of it is there.
func fresh() Input {
	in := healthy()
	in.Row.Generation = 1
	in.Row.Status = wire.StorageStatus{Phase: wire.PhaseCreating, Owner: "n1", OwnerEpoch: 1}
	in.Seen, in.Past = Observation{}, Past{}
	return in
}

func with(in Input, change func(*Input)) Input {
	change(&in)
	return in
}

// text is a plan in one line: "steps | phase generation: reason".
func (p Plan) text() string {
	var steps []string
	for _, a := range p.Actions {
		steps = append(steps, a.String())
	}
	s := p.Report
	return fmt.Sprintf("%s | %s %d: %s", strings.Join(steps, ", "), s.Phase, s.ObservedGeneration, s.Reason)
}

func TestMakePlan(t *testing.T) {
	t.Parallel()
	refused := wire.Errorf(wire.CodeForbidden, "no")
	silent := wire.Errorf(wire.CodeUnavailable, "no answer")
	dead := func(in *Input) {
		in.Seen.Running, in.Seen.NeedsApply, in.Seen.Reason = false, true, "killed by signal 9"
	}
	for _, c := range []struct {
		name string
		in   Input
		want string
	}{
		{"all is well", healthy(), " | ready 2: "},
		{"nothing is there yet", fresh(), "deploy its servers | creating 0: it is being made"},
		{"its server starts", with(fresh(), func(in *Input) {
			in.Past.Applied, in.Past.Tried = 1, 1
			in.Seen = healthy().Seen
			in.Seen.AskErr = silent
		}), " | creating 0: its server runs and does not answer yet: no answer"},
		{"it answers", with(fresh(), func(in *Input) {
			in.Past.Applied, in.Past.Tried = 1, 1
			in.Seen = healthy().Seen
		}), "prepare its database | creating 0: its database is being prepared"},
		{"it is ready for the first time", with(fresh(), func(in *Input) {
			in.Past = Past{Applied: 1, Tried: 1, Prepared: 1}
			in.Seen = healthy().Seen
		}), " | ready 1: "},
		{"what cannot be seen is not wrong", with(healthy(), func(in *Input) {
			in.Seen = Observation{Err: errors.New("no access")}
			in.Past = Past{}
		}), " | degraded 2: it could not be seen: no access"},
		{"a dead server is started", with(healthy(), dead), "deploy its servers | degraded 2: killed by signal 9"},
		{"one that dies again and again, after a pause", with(healthy(), func(in *Input) {
			dead(in)
			in.Past.AppliedAt, in.Past.Pause = now.Add(-7*time.Second), 8*time.Second
		}), " | degraded 2: killed by signal 9"},
		{"when that is over", with(healthy(), func(in *Input) {
			dead(in)
			in.Past.AppliedAt, in.Past.Pause = now.Add(-8*time.Second), 8*time.Second
		}), "deploy its servers | degraded 2: killed by signal 9"},
		{"a silent server is left alone", with(healthy(), func(in *Input) { in.Seen.AskErr = silent }),
			" | degraded 2: its server runs and does not answer yet: no answer"},
		{"an agent that started anew looks once", with(healthy(), func(in *Input) { in.Past = Past{} }), "deploy its servers | ready 2: "},
		{"and prepares once", with(healthy(), func(in *Input) { in.Past = Past{Applied: 2, Tried: 2} }), "prepare its database | ready 2: "},
		{"a change is brought about", with(healthy(), func(in *Input) { in.Row.Generation = 3 }), "deploy its servers | ready 2: "},
		{"at once, whatever failed before", with(healthy(), func(in *Input) {
			in.Row.Generation = 3
			in.Past.Failure, in.Past.AppliedAt, in.Past.Pause = "foo is unknown", now, longestPause
		}), "deploy its servers | degraded 2: foo is unknown"},
		{"a change that is refused is told", with(healthy(), func(in *Input) {
			in.Row.Generation = 3
			in.Past.Failure, in.Past.Tried, in.Past.AppliedAt = "foo is unknown", 3, now
		}), " | degraded 2: foo is unknown"},
		{"a password that is refused is set", with(healthy(), func(in *Input) { in.Seen.AskErr = refused }),
			"deploy its servers | degraded 2: its server refuses the password that FrameDB has: set the right one"},
		{"a former password is taken for a while", with(healthy(), func(in *Input) { in.Past.Overlap = now.Add(-overlap + 1) }), " | ready 2: "},
		{"and no longer", with(healthy(), func(in *Input) { in.Past.Overlap = now.Add(-overlap) }), "deploy its servers | ready 2: "},
		{"but as long as the store has it", with(healthy(), func(in *Input) { in.Past.Overlap, in.Changing = now.Add(-time.Hour), true }), " | ready 2: "},
		{"data that vanished is not replaced by none", with(healthy(), func(in *Input) { in.Seen, in.Past = Observation{}, Past{} }),
			" | degraded 2: nothing is left of it on n1: bring its files back from a backup, or remove it and create it anew"},
		{"where it is not on the node it is for the driver to say", with(healthy(), func(in *Input) { in.Seen, in.Past, in.Bound = Observation{}, Past{}, false }),
			"deploy its servers | degraded 2: it is being made"},
		{"one that is removed is removed", with(healthy(), func(in *Input) { in.Row.Status.Phase = wire.PhaseRemoving }), "remove it | removing 2: "},
		{"also when it cannot be seen", with(healthy(), func(in *Input) {
			in.Row.Status.Phase = wire.PhaseRemoving
			in.Seen.Err = errors.New("no")
		}), "remove it | removing 2: "},
		{"a backup is due", with(healthy(), func(in *Input) { in.Backup.Due = true }), "back it up | ready 2: "},
		{"one runs", with(healthy(), func(in *Input) { in.Backup = BackupState{Due: true, Running: true} }), " | ready 2: "},
		{"one failed just now", with(healthy(), func(in *Input) {
			in.Backup.Due = true
			in.Past.BackupFailedAt = now.Add(-backupPause + 1)
		}), " | ready 2: "},
		{"one failed a while ago", with(healthy(), func(in *Input) {
			in.Backup.Due = true
			in.Past.BackupFailedAt = now.Add(-backupPause)
		}), "back it up | ready 2: "},
		{"nothing is backed up that is not ready", with(healthy(), func(in *Input) { dead(in); in.Backup.Due = true }), "deploy its servers | degraded 2: killed by signal 9"},
	} {
		if got := MakePlan(c.in).text(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// TestReport: what was seen is told, and what was not stays.
func TestReport(t *testing.T) {
	t.Parallel()
	got := MakePlan(with(healthy(), func(in *Input) {
		in.Seen.Host, in.Seen.Port, in.Seen.Socket, in.Seen.Engine, in.Seen.Version = "::1", 4001, "/s", wire.EngineTiDB, "8"
	})).Report
	if got.URL != "mysql://[::1]:4001" || got.Socket != "/s" || got.Engine != wire.EngineTiDB || got.Version != "8" || got.Ready.TiDB != 1 {
		t.Errorf("it is %+v", got)
	}
	got = MakePlan(with(healthy(), func(in *Input) {
		in.Seen.AskErr, in.Seen.Engine, in.Seen.Version = wire.ErrUnavailable, "", ""
	})).Report
	if got.URL != "mysql://127.0.0.1:4000" || got.Engine != wire.EngineMariaDB || got.Ready.TiDB != 0 {
		t.Errorf("silent it is %+v", got)
	}
}

// TestNoURLBeforeItRan: a port that was taken for it leads nowhere yet.
func TestNoURLBeforeItRan(t *testing.T) {
	t.Parallel()
	got := MakePlan(with(fresh(), func(in *Input) {
		in.Seen.Storage = deploy.Storage{Exists: true, Host: "127.0.0.1", Port: 4000, NeedsApply: true}
	})).Report
	if got.URL != "" {
		t.Errorf("it has the URL %s", got.URL)
	}
}

func TestBackupsAreReported(t *testing.T) {
	t.Parallel()
	at := time.Unix(5000, 0)
	planned := func(in *Input) { in.Row.Backup = &wire.BackupPlan{Schedule: "@daily", Target: "s3"} }
	for _, c := range []struct {
		name         string
		in           Input
		backup, says string
	}{
		{"none is planned", with(healthy(), func(in *Input) { in.Row.Status.BackupReason = "old" }), "", ""},
		{"the plan is wrong", with(healthy(), func(in *Input) {
			planned(in)
			in.Backup.Err = wire.Errorf(wire.CodeInvalidArgument, "no such target")
		}), "", "no such target"},
		{"one ended well", with(healthy(), func(in *Input) {
			planned(in)
			in.Row.Status.BackupReason = "old"
			in.Backup.Ended = &backupEnd{name: "b1", at: at}
		}), "b1", ""},
		{"one failed", with(healthy(), func(in *Input) {
			planned(in)
			in.Row.Status.LastBackup = "b0"
			in.Backup.Ended = &backupEnd{at: at, err: errors.New("disk full")}
		}), "b0", "the backup that began at 1970-01-01T01:23:20Z failed: disk full"},
		{"nothing is new", with(healthy(), func(in *Input) { planned(in); in.Row.Status.LastBackup = "b0" }), "b0", ""},
	} {
		got := MakePlan(c.in).Report
		if got.LastBackup != c.backup || got.BackupReason != c.says {
			t.Errorf("%s: %q, %q", c.name, got.LastBackup, got.BackupReason)
		}
	}
}

func TestPausesGrow(t *testing.T) {
	t.Parallel()
	var p Past
	at := now
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		p = p.tried(at, 1)
		if p.Pause != want*time.Second || p.AppliedAt != at {
			t.Errorf("after try %d it rests for %v, want %v", i+1, p.Pause, want*time.Second)
		}
		at = at.Add(p.Pause)
	}
	if p.tried(at, 2).Pause != firstPause {
		t.Error("a new generation waits for the failures of another")
	}
	if p.tried(at.Add(calm+1), 1).Pause != firstPause {
		t.Error("a long time without a failure counts for nothing")
	}
}
