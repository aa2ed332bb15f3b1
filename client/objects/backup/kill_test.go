package backup_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// kills is at how many random points each of the two tests kills;
// FRAMEDB_TEST_LARGE asks for more.
func kills() int {
	if os.Getenv("FRAMEDB_TEST_LARGE") != "" {
		return 60
	}
	return 12
}

// childPlan makes the test binary a process that is to be killed.
const childPlan = "FRAMEDB_TEST_BACKUP_CHILD"

type plan struct {
	Target  backup.Target
	Redis   string // host:port
	Restore backup.Name
	Backup  backup.Name
}

// TestChild makes a backup or a restore when one of the kill tests runs it.
func TestChild(t *testing.T) {
	text := os.Getenv(childPlan)
	if text == "" {
		return
	}
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: p.Redis, Password: redistest.Password})
	defer rdb.Close()
	repo := open(t, p.Target)
	step := func(backup.Progress) { fmt.Println("step") }
	var err error
	if p.Backup != "" {
		_, err = repo.Backup(t.Context(), source, redisAt(rdb), backup.Options{Name: p.Backup, Progress: step})
	} else {
		_, err = repo.Restore(t.Context(), source, p.Restore, redisAt(rdb), backup.RestoreOptions{Overwrite: true, Progress: step})
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("done")
}

// killed runs a child and kills it at a random point of its work. It reports
// whether the child was done before.
func killed(t *testing.T, p plan) (done bool) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v=false")
	cmd.Env = append(os.Environ(), childPlan+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var rest strings.Builder
	lines := bufio.NewScanner(out)
	for steps := 1 + rand.IntN(2*fillObjects); lines.Scan(); {
		switch line := lines.Text(); line {
		case "step":
			if steps--; steps == 0 {
				timer.Reset(rand.N(5 * time.Millisecond)) // within what comes next
			}
		case "done":
			done = true
		default:
			rest.WriteString(line + "\n")
		}
	}
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil && !done && strings.Contains(rest.String(), "FAIL") {
		t.Errorf("the child failed by itself: %v\n%s", err, rest.String())
	}
	return done
}

const fillObjects = 61

// fill gives a FrameDB some objects, 10 MiB in all, one of them in pieces.
func fill(t *testing.T, store *objects.Store, seed string) map[objects.Key][]byte {
	t.Helper()
	all := map[objects.Key][]byte{"large": content(seed, 9<<20)}
	for i := range fillObjects - 1 {
		all[objects.Key(fmt.Sprint("small/", i))] = content(fmt.Sprint(seed, i), 20_000)
	}
	for key, data := range all {
		put(t, store, key, data, objects.PutOptions{})
	}
	return all
}

// TestKillBackup kills processes in the middle of backups: each backup is
// complete or not there, and the next one goes on where the last one was.
func TestKillBackup(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	server := redistest.Start(t)
	store := redisAt(server.Client())
	p := plan{Target: target(s3), Redis: server.Addr()}
	went := 0
	for n, round := 0, 0; n < kills(); round++ {
		all := fill(t, store, fmt.Sprint("round", round))
		p.Backup = backup.Name(fmt.Sprint("backup-", round))
		done := false
		for range 3 { // the second and third go on
			if done = killed(t, p); done {
				break
			}
			n++
			if slices.Contains(names(t, repo), p.Backup) { // killed behind the last step
				done = true
				break
			}
		}
		report, err := repo.Backup(t.Context(), source, store, backup.Options{Name: p.Backup})
		if (wire.CodeOf(err) == wire.CodeAlreadyExists) != done || err != nil && !done {
			t.Fatalf("done %v, then %v", done, err)
		}
		if !done && report.Sent < 9<<20 {
			went++
		}
		verify(t, repo, p.Backup)
		to, _ := newRedis(t)
		if got := restore(t, repo, p.Backup, to, backup.RestoreOptions{}); got.Objects != fillObjects {
			t.Errorf("%+v", got)
		}
		for key, data := range all {
			expect(t, to, key, data)
		}
	}
	if went == 0 {
		t.Error("none went on: the test tests too little")
	}
	for range 2 {
		if _, err := repo.SweepAfter(t.Context(), source, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names(t, repo) {
		verify(t, repo, name)
	}
}

// TestKillRestore kills processes in the middle of restores: each object is the
// old or the restored one, whole, and the next restore goes on.
func TestKillRestore(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	from, _ := newRedis(t)
	want := fill(t, from, "backup")
	make1(t, repo, from, "one")
	server := redistest.Start(t)
	to := redisAt(server.Client())
	p := plan{Target: target(s3), Redis: server.Addr(), Restore: "one"}
	went := 0
	for n, round := 0, 0; n < kills(); round++ {
		old := fill(t, to, fmt.Sprint("old", round))
		for range 3 {
			if killed(t, p) {
				break
			}
			n++
			for key := range want {
				got, _, err := to.ReadAll(t.Context(), key, 1<<30)
				if err != nil || !bytes.Equal(got, want[key]) && !bytes.Equal(got, old[key]) {
					t.Errorf("%q has %d bytes that are neither old nor new, %v", key, len(got), err)
				}
			}
		}
		if got := restore(t, repo, "one", to, backup.RestoreOptions{Overwrite: true}); got.Same > 0 && got.Objects > 0 {
			went++
		}
		for key, data := range want {
			expect(t, to, key, data)
		}
	}
	if went == 0 {
		t.Error("none went on: the test tests too little")
	}
}

// TestKillS3 kills the server in the middle of backups and restores and starts
// it again: they ride it out, or fail and go on later.
func TestKillS3(t *testing.T) {
	t.Parallel()
	s3 := startS3(t)
	repo := open(t, target(s3))
	store, _ := newRedis(t)
	to, _ := newRedis(t)
	fill(t, store, "before")
	begin := time.Now()
	make1(t, repo, store, "zero")
	within := time.Since(begin) * 3 / 2
	for round := range 5 {
		all := fill(t, store, fmt.Sprint("round", round))
		name := backup.Name(fmt.Sprint("backup-", round))
		crash := func(f func(context.Context) error) {
			end := make(chan error, 1)
			go func() { end <- f(t.Context()) }()
			<-time.After(rand.N(within)) // a random point, not a wait for something
			s3.Kill()
			s3.Restart()
			if err := <-end; err != nil {
				t.Logf("round %d: %v", round, err)
				if err := f(t.Context()); err != nil {
					t.Fatalf("round %d, again: %v", round, err)
				}
			}
		}
		crash(func(ctx context.Context) error {
			_, err := repo.Backup(ctx, source, store, backup.Options{Name: name})
			if err != nil && slices.Contains(names(t, repo), name) {
				return nil
			}
			return err
		})
		verify(t, repo, name)
		crash(func(ctx context.Context) error {
			_, err := repo.Restore(ctx, source, name, to, backup.RestoreOptions{Overwrite: true})
			return err
		})
		for key, data := range all {
			expect(t, to, key, data)
		}
	}
}
