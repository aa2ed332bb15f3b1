package sqlstore_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// kills is at how many random points the tests kill; FRAMEDB_TEST_LARGE asks
// for more.
func kills() int {
	if os.Getenv("FRAMEDB_TEST_LARGE") != "" {
		return 60
	}
	return 8
}

// content is an object by number; some have parts.
func content(writer, n int) []byte {
	sizes := []int64{0, 700, 90 << 10, 900 << 10, 3 << 20}
	seed := sha256.Sum256(fmt.Appendf(nil, "%d/%d", writer, n))
	data := make([]byte, sizes[int(seed[0])%len(sizes)])
	rand.NewChaCha8(seed).Read(data)
	return data
}

const gone = -1 // the content of a key that was deleted

// writer changes one key, one change after the other, and keeps what it was
// told of them.
type writer struct {
	number  int
	key     objects.Key
	said    int // what is there for certain
	perhaps int // what may be there instead, when unsure
	unsure  bool
	acked   int
}

func (w *writer) run(ctx context.Context, t *testing.T, store *objects.Store, stop *atomic.Bool) {
	for n := w.acked + w.number*1e6 + 1; !stop.Load(); n++ {
		next := n
		var err error
		if n%5 == 0 && w.said != gone {
			next = gone
			err = store.Delete(ctx, w.key, objects.Condition{})
		} else {
			_, err = store.Put(ctx, w.key, bytes.NewReader(content(w.number, n)), objects.PutOptions{})
		}
		switch wire.CodeOf(err) {
		case "":
			w.said, w.unsure = next, false
			w.acked++
		case wire.CodeOutcomeUnknown:
			w.perhaps, w.unsure = next, true
			return
		case wire.CodeUnavailable, wire.CodeTimeout: // nothing was changed
			return
		default:
			t.Errorf("writer %d: %v (%s)", w.number, err, wire.CodeOf(err))
			return
		}
	}
}

// check compares what is there with what the writer was told.
func (w *writer) check(t *testing.T, store *objects.Store) {
	t.Helper()
	got, _, err := store.ReadAll(t.Context(), w.key, 1<<30)
	is := func(n int) bool {
		if n == gone {
			return errors.Is(err, wire.ErrNotFound)
		}
		return err == nil && bytes.Equal(got, content(w.number, n))
	}
	switch {
	case is(w.said):
	case w.unsure && is(w.perhaps):
		w.said = w.perhaps
	default:
		t.Errorf("%s: %d bytes, %v; want number %d (unsure: %v, then %d)", w.key, len(got), err, w.said, w.unsure, w.perhaps)
	}
	w.unsure = false
}

// TestKillDatabase kills the database in the middle of puts and deletes: what
// was acknowledged is there, what was refused is not, and no part is left.
func TestKillDatabase(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--max-allowed-packet=2M", "--innodb-buffer-pool-size=64M")
	s.Settle()
	dsn := s.SocketDSN()
	store := objects.New(open(t, dsn, sqlstore.Config{}))
	writers := make([]*writer, 4)
	for i := range writers {
		writers[i] = &writer{number: i, key: objects.Key(fmt.Sprint("w", i)), said: gone}
	}
	for range kills() {
		killWhile(t, s, store, writers)
		for _, w := range writers {
			w.check(t, store)
		}
	}
	acked := 0
	for _, w := range writers {
		acked += w.acked
	}
	if acked < len(writers) {
		t.Errorf("only %d changes were acknowledged: the test tests nothing", acked)
	}
	t.Logf("%d changes were acknowledged", acked)
	clean(t, store, dsn)
}

// killWhile kills the database at a random point of what the writers do.
func killWhile(t *testing.T, s *mysqltest.Server, store *objects.Store, writers []*writer) {
	t.Helper()
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	for _, w := range writers {
		wg.Go(func() { w.run(t.Context(), t, store, &stop) })
	}
	<-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond) // a random point, not a wait for something
	s.Kill()
	stop.Store(true)
	s.Restart()
}

func clean(t *testing.T, store *objects.Store, dsn string) {
	t.Helper()
	objecttest.Eventually(t, 20*time.Second, "nothing hidden is left", func() error {
		if _, err := store.Sweep(t.Context(), objects.SweepAges{}); err != nil {
			return err
		}
		if n := (under{DB: plain(t, dsn)}).Hidden(t); n > 0 {
			return fmt.Errorf("%d parts", n)
		}
		return nil
	})
}

// childDSN makes the test binary a client that is to be killed.
const childDSN = "FRAMEDB_TEST_CHILD_DSN"

// TestChild puts objects for ever and says which were acknowledged, when
// TestKillClient runs it.
func TestChild(t *testing.T) {
	dsn := os.Getenv(childDSN)
	if dsn == "" {
		return
	}
	store := objects.New(open(t, dsn, sqlstore.Config{}))
	fmt.Println("ready")
	for n := 0; ; n++ {
		fmt.Println("put", n)
		if _, err := store.Put(t.Context(), "c", bytes.NewReader(content(9, n)), objects.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("done", n)
	}
}

// TestKillClient kills clients in the middle of puts.
func TestKillClient(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--max-allowed-packet=2M")
	dsn := s.SocketDSN()
	store := objects.New(open(t, dsn, sqlstore.Config{}))
	for range kills() {
		begun, done := killedClient(t, dsn)
		got, _, err := store.ReadAll(t.Context(), "c", 1<<30)
		switch {
		case begun >= 0 && err == nil && bytes.Equal(got, content(9, begun)):
		case done >= 0 && err == nil && bytes.Equal(got, content(9, done)):
		case done < 0: // whatever the client before left
		default:
			t.Errorf("%d bytes, %v; the client had done %d and begun %d", len(got), err, done, begun)
		}
		clean(t, store, dsn)
	}
}

// killedClient runs a client, kills it at a random point, and tells which puts
// it had begun and done.
func killedClient(t *testing.T, dsn string) (begun, done int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v=false")
	cmd.Env = append(os.Environ(), childDSN+"="+dsn)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun, done = -1, -1
	lines := bufio.NewScanner(out)
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "ready":
			timer.Reset(time.Duration(rand.IntN(200)) * time.Millisecond)
		case strings.HasPrefix(line, "put "):
			fmt.Sscanf(line, "put %d", &begun)
		case strings.HasPrefix(line, "done "):
			fmt.Sscanf(line, "done %d", &done)
		}
	}
	io.Copy(io.Discard, out)
	cmd.Wait()
	return begun, done
}
