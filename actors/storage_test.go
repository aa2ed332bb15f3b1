package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/actors"
	"github.com/framedb/framedb/actors/instance"
	"github.com/framedb/framedb/actors/storage"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/external"
	"github.com/framedb/framedb/raftstore/state"
)

// storageOf is what an agent with that driver has for persistent FrameDBs. On a
// faulty one nothing listens, and what is asked answers all the same.
func storageOf(d deploy.Driver) actors.Storage {
	if f, ok := d.(*faulty); ok {
		return actors.Storage{Driver: f, External: f, Database: answers{}}
	}
	driver, ok := d.(deploy.StorageDriver)
	if !ok {
		driver = newFaulty()
	}
	return actors.Storage{Driver: driver, External: external.New(), Database: database{}}
}

type answers struct{}

func (answers) Ask(context.Context, storage.Login) (wire.Engine, string, error) {
	return wire.EngineMariaDB, "10", nil
}
func (answers) Prepare(context.Context, storage.Login) error { return nil }

// database is the one of an agent.
type database struct{}

func server(at storage.Login) sqlstore.Server {
	return sqlstore.Server{Address: at.Address, Socket: at.Socket, User: at.User, Password: at.Password, Database: at.Database, TLS: at.TLS}
}

func (database) Ask(ctx context.Context, at storage.Login) (wire.Engine, string, error) {
	about, err := server(at).Ask(ctx)
	return about.Engine, about.Version, err
}

func (database) Prepare(ctx context.Context, at storage.Login) error { return server(at).Prepare(ctx) }

func onDisk(change ...func(*wire.StorageSpec)) wire.StorageSpec {
	s := wire.StorageSpec{NodeTag: tag}
	for _, c := range change {
		c(&s)
	}
	return s
}

func (s *store) disk(id wire.FrameDBID) wire.PersistentInstance {
	row, ok := s.View().Persistent(id)
	if !ok {
		return wire.PersistentInstance{}
	}
	return *row
}

// TestADiskStaysOnItsNode: nobody takes over what another node has on its disk,
// unless it is to be removed; and then its node deletes it when it is back.
func TestADiskStaysOnItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, d1, d2 := pair(t)
		b1.start()
		b2.start()
		b1.store.must(t, state.CreateStorage{ID: "corpus", Spec: onDisk()})
		<-time.After(10 * time.Second)
		s := b1.store.disk("corpus").Status
		if s.Owner != node || s.Phase != wire.PhaseReady || s.ObservedGeneration != 1 || s.URL != "mysql://192.0.2.1:4000" || s.Engine != wire.EngineMariaDB {
			t.Fatalf("it is %+v", s)
		}

		b1.replica.cut(true)
		b1.ring.elect(second)
		b1.ring.set(node, false)
		<-time.After(5 * time.Minute)
		s = b1.store.disk("corpus").Status
		if s.Owner != node || s.Phase != wire.PhaseDegraded || s.Reason != "its data is on node node-1, which is gone" {
			t.Errorf("its node is gone, and it is %+v", s)
		}
		b1.ring.set(node, true)
		b1.replica.cut(false)
		<-time.After(time.Minute)
		if s = b1.store.disk("corpus").Status; s.Phase != wire.PhaseReady || s.OwnerEpoch != 1 {
			t.Errorf("its node is back, and it is %+v", s)
		}
		if n := d2.observed(disk("corpus")); n > 0 {
			t.Errorf("the other node looked %d times", n)
		}

		b1.replica.cut(true)
		b1.ring.set(node, false)
		<-time.After(time.Minute)
		b1.store.must(t, state.RemoveStorage{ID: "corpus"})
		<-time.After(2 * time.Minute)
		if _, known := b1.store.View().Persistent("corpus"); known || d1.has() != "[disk/corpus]" {
			t.Errorf("it is stored: %v; its node has %s", known, d1.has())
		}
		b1.ring.set(node, true)
		b1.replica.cut(false)
		<-time.After(time.Minute)
		if left := b1.store.View().LeftoversOn(node); d1.has() != "[]" || len(left) > 0 {
			t.Errorf("its node has %s, and %d leftovers", d1.has(), len(left))
		}
		b1.stop()
		b2.stop()
	})
}

// TestADrainingNodeKeepsItsDisk, and hands on what is on an external server.
func TestADrainingNodeKeepsItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, d1, d2 := pair(t)
		b1.start()
		b2.start()
		b1.store.must(t,
			state.CreateStorage{ID: "corpus", Spec: onDisk()},
			state.AssignOwner{Item: state.Item{Storage: "corpus"}, Owner: node},
			state.CreateStorage{ID: "theirs", Spec: onDisk(func(s *wire.StorageSpec) { s.External = &wire.ExternalStorage{Address: "db:4000"} })},
			state.AssignOwner{Item: state.Item{Storage: "theirs"}, Owner: node},
			state.DrainNode{Name: node, Draining: true})
		<-time.After(time.Minute)
		if s := b1.store.disk("corpus").Status; s.Owner != node || s.Phase != wire.PhaseReady {
			t.Errorf("what is on the disk is %+v", s)
		}
		if s := b1.store.disk("theirs").Status; s.Owner != second || s.Phase != wire.PhaseReady {
			t.Errorf("what is on an external server is %+v", s)
		}
		if d2.has() != "[disk/theirs]" || !strings.Contains(d1.has(), "disk/corpus") {
			t.Errorf("the nodes have %s and %s", d1.has(), d2.has())
		}
		b1.stop()
		b2.stop()
	})
}

func TestADiskThatCannotBeRemovedSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaulty()
		b := newBed(t, d).start()
		b.store.must(t, state.CreateStorage{ID: "corpus", Spec: onDisk()})
		<-time.After(10 * time.Second)
		d.removesWith(errors.New("a disk that is broken"))
		b.store.must(t, state.RemoveStorage{ID: "corpus"})
		<-time.After(10 * time.Second)
		if s := b.store.disk("corpus").Status; s.Phase != wire.PhaseRemoving || !strings.Contains(s.Reason, "a disk that is broken") {
			t.Errorf("it is %+v", s)
		}
		d.removesWith(nil)
		<-time.After(10 * time.Second)
		if _, known := b.store.View().Persistent("corpus"); known || d.has() != "[]" {
			t.Errorf("it is stored: %v, and there is %s", known, d.has())
		}
		b.stop()
	})
}

// TestACrashOfADiskHarmsNobodyElse, and is told.
func TestACrashOfADiskHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFaulty()
		d.onObserve(disk("corpus"), func() error { panic("a fault of ours") })
		b := newBed(t, d).start()
		b.store.must(t, state.CreateStorage{ID: "corpus", Spec: onDisk()}, state.CreateStorage{ID: "other", Spec: onDisk()})
		<-time.After(10 * time.Second)
		if s := b.store.disk("corpus").Status; !strings.Contains(s.Reason, "its storage actor crashed") {
			t.Errorf("it is %+v", s)
		}
		if wrong := b.Degraded(); len(wrong) != 1 || !strings.HasPrefix(wrong[0], "persistent FrameDB corpus: its storage actor crashed") {
			t.Errorf("degraded: %q", wrong)
		}
		if s := b.store.disk("other").Status; s.Phase != wire.PhaseReady {
			t.Errorf("another one is %+v", s)
		}
		b.stop()
	})
}

// backups are due every half hour, and end as they are told to.
type backups struct {
	mu   sync.Mutex
	runs int   // guarded by mu
	err  error // guarded by mu
}

func (b *backups) Due(_ wire.FrameDBID, plan wire.BackupPlan, last, now time.Time) (bool, error) {
	if plan.Target != "s3" {
		return false, wire.Errorf(wire.CodeInvalidArgument, "no target %s", plan.Target)
	}
	return now.Sub(last) >= 30*time.Minute, nil
}

func (b *backups) Run(ctx context.Context, id wire.FrameDBID, _ wire.BackupPlan) (string, time.Time, error) {
	began := time.Now()
	select {
	case <-time.After(time.Minute): // it takes its time
	case <-ctx.Done():
		return "", began, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs++
	return fmt.Sprintf("%s-%d", id, b.runs), began, b.err
}

func (b *backups) becomes(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *backups) ran() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs
}

func TestBackupsAreMadeAsPlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newFaulty())
		b.timing = instance.DefaultTiming()
		made := &backups{}
		b.storage.Backups = made
		b.start()
		b.store.must(t, state.CreateStorage{ID: "corpus", Spec: onDisk(func(s *wire.StorageSpec) { s.Backup = &wire.BackupPlan{Schedule: "@daily", Target: "s3"} })})
		<-time.After(2 * time.Minute)
		s := b.store.disk("corpus").Status
		if s.LastBackup != "corpus-1" || s.LastBackupAt.IsZero() || s.BackupReason != "" || s.Phase != wire.PhaseReady {
			t.Errorf("the first is made, and it is %+v", s)
		}
		first := s.LastBackupAt
		made.becomes(errors.New("S3 is gone"))
		<-time.After(time.Hour)
		s = b.store.disk("corpus").Status
		if s.LastBackup != "corpus-1" || !s.LastBackupAt.Equal(first) || !strings.Contains(s.BackupReason, "S3 is gone") || s.Phase != wire.PhaseReady {
			t.Errorf("a later one failed, and it is %+v", s)
		}
		if n := made.ran(); n < 3 || n > 5 {
			t.Errorf("it was tried %d times in half an hour", n-1)
		}
		made.becomes(nil)
		<-time.After(15 * time.Minute)
		if s = b.store.disk("corpus").Status; s.LastBackup == "corpus-1" || s.BackupReason != "" {
			t.Errorf("S3 is back, and it is %+v", s)
		}
		wrong := wire.BackupPlan{Schedule: "@daily", Target: "nowhere"}
		b.store.must(t, state.UpdateStorage{ID: "corpus", UpdateStorage: wire.UpdateStorage{Backup: &wrong}})
		<-time.After(time.Minute)
		if s = b.store.disk("corpus").Status; s.BackupReason != "no target nowhere" || s.Phase != wire.PhaseReady {
			t.Errorf("the plan is wrong, and it is %+v", s)
		}
		b.stop()
	})
}

// sweeps counts what is swept.
type sweeps struct {
	mu sync.Mutex
	of map[wire.FrameDBID]int // guarded by mu
}

func (s *sweeps) Sweep(_ context.Context, id wire.FrameDBID) (objects.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[id]++
	return objects.Swept{}, nil
}

// TestOwnersSweep has every FrameDB swept by its owner alone, every ten minutes.
func TestOwnersSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b1, b2, _, _ := pair(t)
		s1, s2 := &sweeps{of: map[wire.FrameDBID]int{}}, &sweeps{of: map[wire.FrameDBID]int{}}
		b1.objects, b2.objects = s1, s2
		b1.timing, b2.timing = instance.DefaultTiming(), instance.DefaultTiming()
		b1.start()
		b2.start()
		b1.store.must(t,
			state.CreateStorage{ID: "corpus", Spec: onDisk()}, state.AssignOwner{Item: state.Item{Storage: "corpus"}, Owner: node},
			state.CreateClusters{Names: []wire.ClusterName{"alpha"}, Spec: spec(1)}, state.AssignOwner{Item: state.Item{Cluster: "alpha"}, Owner: node})
		<-time.After(101 * time.Minute)
		b1.stop()
		b2.stop()
		for _, id := range []wire.FrameDBID{"corpus", "alpha"} {
			if n := s1.of[id]; n < 9 || n > 11 {
				t.Errorf("%s was swept %d times in 101 minutes", id, n)
			}
		}
		if len(s2.of) > 0 {
			t.Errorf("the other node swept %v", s2.of)
		}
	})
}
