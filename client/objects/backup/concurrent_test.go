package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/objects/redisstore"
	"github.com/framedb/framedb/client/wire"
)

// TestChangedMeanwhile: objects that are replaced and deleted all the time are
// in the backup with one whole version that was there, or not at all.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	mem, _ := newRedis(t)
	for what, store := range map[string]*objects.Store{"memory": mem, "storage": newSQL(t)} {
		for round := range 2 {
			changeWhile(t, store, func(version func(key objects.Key, data []byte) bool) {
				name := backup.Name(fmt.Sprint(what, round))
				report := make1(t, repo, store, name)
				to, _ := newRedis(t)
				restore(t, repo, name, to, backup.RestoreOptions{})
				n := int64(0)
				for _, info := range listed(t, to) {
					n++
					got, _, err := to.ReadAll(t.Context(), info.Key, 1<<30)
					if err != nil || !version(info.Key, got) {
						t.Errorf("%s: %q has %d bytes that are no version, %v", what, info.Key, len(got), err)
					}
				}
				if n != report.Objects || n == 0 {
					t.Errorf("%s: %d objects of %+v", what, n, report)
				}
				verify(t, repo, name)
			})
		}
	}
}

// changeWhile runs f while writers replace and delete objects, small and in
// pieces, and one stays.
func changeWhile(t *testing.T, store *objects.Store, f func(version func(objects.Key, []byte) bool)) {
	t.Helper()
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	versionOf := func(key objects.Key, n int64) []byte { return content(fmt.Sprint(key, n%16), sizeOf(key)) }
	for i := range 4 {
		key := objects.Key(fmt.Sprint("changing/", i))
		put(t, store, key, versionOf(key, 0), objects.PutOptions{})
		wg.Go(func() {
			for n := int64(1); !stop.Load(); n++ {
				var err error
				if n%5 == 4 {
					err = store.Delete(t.Context(), key, objects.Condition{})
				} else {
					_, err = store.Put(t.Context(), key, bytes.NewReader(versionOf(key, n)), objects.PutOptions{})
				}
				if err != nil && wire.CodeOf(err) != wire.CodeNotFound {
					t.Errorf("writer: %v", err)
					return
				}
				<-time.After(pauseOf(key)) // the load, not a wait for something
			}
		})
	}
	put(t, store, "changing/stays", versionOf("changing/stays", 0), objects.PutOptions{})
	f(func(key objects.Key, data []byte) bool {
		for n := range int64(16) {
			if bytes.Equal(data, versionOf(key, n)) {
				return true
			}
		}
		return false
	})
}

func sizeOf(key objects.Key) int64 {
	if key == "changing/0" {
		return backup.PieceSize + 5000
	}
	return 50_000
}

// pauseOf leaves time to read a large object whole, now and then.
func pauseOf(key objects.Key) time.Duration {
	if sizeOf(key) > backup.PieceSize {
		return time.Second
	}
	return 20 * time.Millisecond
}

func listed(t *testing.T, store *objects.Store) []objects.Info {
	t.Helper()
	var all []objects.Info
	var opts objects.ListOptions
	for {
		page, err := store.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Objects...)
		if opts.Cursor = page.Next; opts.Cursor == "" {
			return all
		}
	}
}

// TestTwoRunners: two agents run one instant at one time; there is one backup
// of it, complete, and both hear of it.
func TestTwoRunners(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	store, _ := newRedis(t)
	for i := range 50 {
		put(t, store, objects.Key(fmt.Sprint("o", i)), content(fmt.Sprint(i), 10_000), objects.PutOptions{})
	}
	at := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			report, err := backup.Run(t.Context(), backup.Job{Name: "nightly", Instant: at, FrameDB: source, Store: store, Repository: open(t, target(s3)), Keep: 3})
			if err != nil || report.Objects != 50 || report.Name != "nightly.20261130t030000z" {
				t.Errorf("%+v, %v", report, err)
			}
			if !report.Repeated {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	repo := open(t, target(s3))
	if got := names(t, repo); made.Load() != 1 || len(got) != 1 {
		t.Errorf("%d were made: %v", made.Load(), got)
	}
	verify(t, repo, "nightly.20261130t030000z")
}

// TestRun: instants of a job, its retention, and what it leaves alone.
func TestRun(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	put(t, store, "stays", []byte("stays"), objects.PutOptions{})
	make1(t, repo, store, "by-hand")
	at := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	run := func(day, keep int) backup.Report {
		t.Helper()
		put(t, store, "day", fmt.Append(nil, "day ", day), objects.PutOptions{})
		report, err := backup.Run(t.Context(), backup.Job{Name: "nightly", Instant: at.AddDate(0, 0, day), FrameDB: source, Store: store, Repository: repo, Keep: keep})
		if err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		return report
	}
	for day := range 5 {
		if report := run(day, 2); report.Repeated || report.Objects != 2 {
			t.Errorf("day %d: %+v", day, report)
		}
	}
	want := "[by-hand nightly.20261203t030000z nightly.20261204t030000z]"
	if got := fmt.Sprint(names(t, repo)); got != want {
		t.Errorf("backups: %s", got)
	}
	// A retry of one that is there, and of one that later ones have replaced.
	for _, day := range []int{4, 3, 0} {
		if report := run(day, 2); !report.Repeated {
			t.Errorf("day %d again: %+v", day, report)
		}
	}
	if got := fmt.Sprint(names(t, repo)); got != want {
		t.Errorf("backups after retries: %s", got)
	}
	for range 2 {
		if _, err := repo.SweepAfter(t.Context(), source, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names(t, repo) {
		verify(t, repo, name)
	}
	for _, bad := range []backup.Job{
		{Name: "UP", Instant: at, FrameDB: source},
		{Name: "n", FrameDB: source},
		{Name: "n", Instant: at.Add(1), FrameDB: source},
		{Name: "n", Instant: at, FrameDB: source, Keep: -1},
	} {
		if _, err := backup.Run(t.Context(), bad); wire.CodeOf(err) != wire.CodeInvalidArgument {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestListedTwice: a listing may have an object twice, a backup has it once.
func TestListedTwice(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	mem, rdb := newRedis(t)
	put(t, mem, "o", []byte("x"), objects.PutOptions{})
	store := objects.New(twice{redisstore.New(redisstore.Config{Master: fixed{rdb}})})
	if report := make1(t, repo, store, "one"); report.Objects != 1 || report.Bytes != 1 {
		t.Errorf("%+v", report)
	}
}

type twice struct{ objects.Backend }

func (b twice) List(ctx context.Context, opts objects.ListOptions) (objects.Page, error) {
	page, err := b.Backend.List(ctx, opts)
	page.Objects = append(page.Objects, page.Objects...)
	return page, err
}

// TestCancel ends a backup in the middle.
func TestCancel(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	fill(t, store, "cancel")
	for _, restoring := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		tell := func(p backup.Progress) {
			if p.Bytes > 1<<20 {
				cancel()
			}
		}
		var err error
		if restoring {
			make1(t, repo, store, "one")
			to, _ := newRedis(t)
			_, err = repo.Restore(ctx, source, "one", to, backup.RestoreOptions{Progress: tell})
		} else {
			_, err = repo.Backup(ctx, source, store, backup.Options{Name: "one", Progress: tell})
		}
		if err == nil || ctx.Err() == nil {
			t.Errorf("restoring %v: %v", restoring, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	_, err := repo.Backup(ctx, source, store, backup.Options{Name: "two"})
	wantCode(t, "no time", err, wire.CodeTimeout, "")
}
