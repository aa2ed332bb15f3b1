package process_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/deploy/process"
)

// TestStorageDriverKilledAnywhere kills the program of a driver at many moments
// of an ApplyStorage and of a RemoveStorage.
func TestStorageDriverKilledAnywhere(t *testing.T) {
	b := newBed(t, func(c *process.Config) { c.DieWithParent = false })
	for i := range 8 {
		after := time.Duration(i) * 300 * time.Millisecond
		b.killedDuring("apply storage", after)
		b.open()
		server := login(b.applyStorage(disk, storageSpec(), secret("first")), "first")
		if n := len(b.processes()); n != 1 {
			t.Fatalf("killed after %v: %d processes, want 1", after, n)
		}
		b.put(server, "k", "v")
		b.killedDuring("remove storage", after/10)
		b.open()
		if err := b.RemoveStorage(b.ctx, disk); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Join(b.cfg.Dir, ".storage"))
		if n := len(b.processes()); n != 0 || len(left) != 0 || err != nil {
			t.Fatalf("killed after %v: %d processes, %v, %v are left", after/10, n, left, err)
		}
	}
}

// TestStorageLosesNothing kills the database at many moments, the first of its
// life among them.
func TestStorageLosesNothing(t *testing.T) {
	b := newBed(t)
	var kept []objects.Key
	for i := range 10 {
		server := login(b.applyStorage(disk, storageSpec(), secret("first")), "first")
		acknowledged := make(chan []objects.Key, 1)
		go func() { acknowledged <- b.putUntilItFails(server, fmt.Sprintf("%d-", i)) }()
		<-time.After(time.Duration(i) * 25 * time.Millisecond)
		if err := syscall.Kill(b.storagePID(disk), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, <-acknowledged...)
		b.eventually(func() error {
			if b.observeStorage(disk).Running {
				return fmt.Errorf("it is still reported to run")
			}
			return nil
		})
	}
	store := b.store(login(b.applyStorage(disk, storageSpec(), secret("first")), "first"))
	for _, key := range kept {
		r, err := store.Get(b.ctx, key, objects.GetOptions{})
		if err != nil {
			t.Fatalf("%s was acknowledged: %v", key, err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != string(key) {
			t.Errorf("%s is %q, %v", key, got, err)
		}
		r.Close()
	}
	if len(kept) == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d objects were acknowledged and are there", len(kept))
}

func (b *bed) putUntilItFails(s sqlstore.Server, prefix string) (kept []objects.Key) {
	backend, err := sqlstore.OpenServer(b.ctx, s, sqlstore.Config{PoolSize: 1})
	if err != nil {
		return nil
	}
	defer backend.Close()
	for i := 0; ; i++ {
		key := objects.Key(fmt.Sprintf("%s%d", prefix, i))
		if _, err := objects.New(backend).Put(b.ctx, key, strings.NewReader(string(key)), objects.PutOptions{}); err != nil {
			return kept
		}
		kept = append(kept, key)
	}
}
