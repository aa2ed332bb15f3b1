package raftstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

func mkdir(dir string) error { return os.MkdirAll(dir, 0o700) }

// snapshotNow takes a snapshot and deletes all of the log that it covers.
func snapshotNow(t tester, s *Store) {
	t.Helper()
	c := s.raft.ReloadableConfig()
	c.TrailingLogs = 0
	if err := s.raft.ReloadConfig(c); err != nil {
		t.Fatalf("settings: %v", err)
	}
	if err := s.raft.Snapshot().Error(); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
}

func TestASnapshotTakesTheLogsPlace(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	for i := range 50 {
		propose(t, ctx, s, wire.RequestID(fmt.Sprint("r", i)), mapping(wire.SourceID(fmt.Sprint("s", i))))
	}
	sub := s.Subscribe(s.View().Index())
	snapshotNow(t, s)
	first, last := bounds(t, s.logs)
	if first <= 50 && first != 0 {
		t.Errorf("the log still begins at %d", first)
	}
	propose(t, ctx, s, "", mapping("behind"))
	if events, err := sub.Next(ctx); err != nil || len(events) != 1 || events[0].Key != "behind/node-1" {
		t.Errorf("a subscriber got %+v, %v", events, err)
	}
	closeStore(t, s)

	s = opened(t, ctx, testConfig(dir))
	if n := s.View().CountMappings(); n != 51 {
		t.Errorf("%d mappings came back (log was %d to %d)", n, first, last)
	}
	before := s.View().Index()
	if res := propose(t, ctx, s, "r7", mapping("s7")); res.Index >= before {
		t.Error("a request ID from before the snapshot is forgotten")
	}
}

func TestTwoSnapshotsStayAndUnfinishedOnesGo(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	for i := range 4 {
		propose(t, ctx, s, "", create(wire.ClusterName(fmt.Sprint("c", i))))
		snapshotNow(t, s)
	}
	closeStore(t, s)
	unfinished := filepath.Join(dir, "snapshots", "9-99-1700000000000.tmp")
	if err := mkdir(unfinished); err != nil {
		t.Fatal(err)
	}
	opened(t, ctx, testConfig(dir))
	left, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil || len(left) != retainSnapshots {
		t.Errorf("there are %v, %v", left, err)
	}
}

// TestADamagedSnapshotFallsBack loses nothing while the log still reaches back
// to the snapshot before.
func TestADamagedSnapshotFallsBack(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	for i := range 2 {
		propose(t, ctx, s, "", create(wire.ClusterName(fmt.Sprint("c", i))))
		if err := s.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	snaps, err := openSnapshots(s.logs, newTestLogger())
	if err != nil {
		t.Fatal(err)
	}
	list, err := snaps.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("snapshots are %v, %v", list, err)
	}
	closeStore(t, s)
	if err := os.Truncate(filepath.Join(dir, "snapshots", list[0].ID, "state.bin"), 10); err != nil {
		t.Fatal(err)
	}
	s = opened(t, ctx, testConfig(dir))
	if n := len(s.View().Clusters()); n != 2 {
		t.Errorf("%d clusters came back", n)
	}
}

func TestAFailedSnapshotLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	out := runChild(t, "limited-snapshot", dir)
	if !strings.Contains(out, "snapshot failed") {
		t.Fatalf("child said:\n%s", out)
	}
	left, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil || len(left) != 0 {
		t.Errorf("left is %v, %v", left, err)
	}
	if n := opened(t, ctx, testConfig(dir)).View().CountMappings(); n != 50 {
		t.Errorf("%d mappings came back", n)
	}
}

// childLimitedSnapshot has a snapshot fail for lack of space.
func childLimitedSnapshot(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(testConfig(dir))
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := s.Propose(ctx, "", create("a")); err != nil {
		return err
	}
	for i := range 50 {
		m := mapping(wire.SourceID(fmt.Sprint("s", i)))
		m.Metadata = []byte(`{"x":"` + strings.Repeat("x", 4000) + `"}`)
		if _, err := s.Propose(ctx, "", m); err != nil {
			return err
		}
	}
	if err := limit(64 << 10); err != nil {
		return err
	}
	if err := s.raft.Snapshot().Error(); err != nil {
		fmt.Println("snapshot failed:", err)
	}
	return nil
}

func TestASubscriptionGoesOnAcrossARestart(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("a"))
	seen := s.View().Index()
	propose(t, ctx, s, "", create("b"))
	closeStore(t, s)

	s = opened(t, ctx, testConfig(dir))
	sub := s.Subscribe(seen, wire.TableClusters)
	events, err := sub.Next(ctx)
	if err != nil || len(events) != 1 || events[0].Op != wire.OpPut || events[0].Key != "b" {
		t.Errorf("replayed from the log: %+v, %v", events, err)
	}
	snapshotNow(t, s)
	closeStore(t, s)

	s = opened(t, ctx, testConfig(dir))
	sub = s.Subscribe(seen, wire.TableClusters)
	events, err = sub.Next(ctx)
	if err != nil || len(events) != 3 || events[0].Op != wire.OpReset {
		t.Errorf("restored from a snapshot: %+v, %v", events, err)
	}
	propose(t, ctx, s, "", state.RemoveCluster{Name: "a"})
	if events, err = sub.Next(ctx); err != nil || len(events) != 1 || events[0].Key != "a" {
		t.Errorf("and then: %+v, %v", events, err)
	}
}
