package backup_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
)

// TestSweep: what is dropped is what no backup uses, and nothing is left when
// there is no backup.
func TestSweep(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	states := map[backup.Name]map[objects.Key]int{}
	now := map[objects.Key]int{}
	for step := range 60 {
		switch rnd.IntN(5) {
		case 0, 1:
			key := objects.Key(fmt.Sprint("k", rnd.IntN(6)))
			now[key] = rnd.IntN(8) // contents come back
			put(t, store, key, content(fmt.Sprint(now[key]), 1000), objects.PutOptions{})
		case 2:
			name := backup.Name(fmt.Sprint("b", step))
			make1(t, repo, store, name)
			states[name] = map[objects.Key]int{}
			for k, v := range now {
				states[name][k] = v
			}
		case 3:
			for name := range states {
				if err := repo.Delete(t.Context(), source, name); err != nil {
					t.Fatal(err)
				}
				delete(states, name)
				break
			}
		case 4:
			if _, err := repo.SweepAfter(t.Context(), source, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, state := range states {
		to, _ := newRedis(t)
		restore(t, repo, name, to, backup.RestoreOptions{})
		for key, v := range state {
			expect(t, to, key, content(fmt.Sprint(v), 1000))
		}
		if err := repo.Delete(t.Context(), source, name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := repo.SweepAfter(t.Context(), source, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/data/", "/marks/", "/runs/", "/backups/"} {
		if left := s3.Files(bucket, dir); len(left) != 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

// TestSweepWaits: with the ages in earnest nothing is dropped at once, and an
// interrupted run's pieces not even marked.
func TestSweepWaits(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	put(t, store, "o", []byte("some"), objects.PutOptions{})
	make1(t, repo, store, "one")
	if err := repo.Delete(t.Context(), source, "one"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{2, 0} { // the object and the manifest's body
		if s, err := repo.Sweep(t.Context(), source); err != nil || s.Marked != want || s.Dropped != 0 {
			t.Errorf("sweep %d: %+v, %v", i, s, err)
		}
	}
	// Marked ones are sent again, not used.
	if report := make1(t, repo, store, "two"); report.Sent != 4 {
		t.Errorf("%+v", report)
	}
	if s, err := repo.SweepAfter(t.Context(), source, backup.Abandoned, 0); err != nil || s.Dropped != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	verify(t, repo, "two")
}

// TestSweepDuringBackup: a sweep marks what a backup uses already. The backup
// is begun again and does not use it.
func TestSweepDuringBackup(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	for i := range 20 {
		put(t, store, objects.Key(fmt.Sprint("o", i)), content(fmt.Sprint(i), 100), objects.PutOptions{})
	}
	make1(t, repo, store, "one")
	swept := false
	p := progressed{hook: func(p backup.Progress) {
		if p.Objects < 5 || swept {
			return
		}
		swept = true
		if err := repo.Delete(t.Context(), source, "one"); err != nil {
			t.Error(err)
		}
		if s, err := repo.SweepAfter(t.Context(), source, backup.Abandoned, backup.Grace); err != nil || s.Marked < 20 {
			t.Errorf("%+v, %v", s, err)
		}
	}}
	report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: "two", Progress: p.tell})
	if err != nil || report.Objects != 20 || report.Sent != 2000 {
		t.Errorf("%+v, %v", report, err)
	}
	for range 2 {
		if _, err := repo.SweepAfter(t.Context(), source, time.Hour, 0); err != nil {
			t.Fatal(err)
		}
	}
	verify(t, repo, "two")
}
