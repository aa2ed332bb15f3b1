package process_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// TestStoragePasswordChangesUnderLoad: who has the former password gets in
// until it is taken away, who has the new one from the moment that it is set.
func TestStoragePasswordChangesUnderLoad(t *testing.T) {
	b := newBed(t)
	seen := b.applyStorage(disk, storageSpec(), secret("first"))
	b.put(login(seen, "first"), "k", "v")
	pid := b.storagePID(disk)

	var told atomic.Value // the password that applications have
	told.Store("first")
	var connected atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := login(seen, told.Load().(string)).Ask(b.ctx); err != nil {
					t.Errorf("with the password %q: %v", told.Load(), err)
					return
				}
				connected.Add(1)
			}
		})
	}
	more := func() {
		t.Helper()
		from := connected.Load()
		b.eventually(func() error {
			if connected.Load() < from+20 && !t.Failed() {
				return errors.New("too few connections")
			}
			return nil
		})
	}
	more()
	b.applyStorage(disk, storageSpec(), deploy.StoragePassword{Password: "second's 'quotes\\", Former: "first", Changing: true})
	more()
	told.Store("second's 'quotes\\")
	more()
	b.applyStorage(disk, storageSpec(), secret("second's 'quotes\\"))
	more()
	close(stop)
	all.Wait()
	if _, err := login(seen, "first").Ask(b.ctx); !errors.Is(err, wire.ErrForbidden) {
		t.Errorf("the former password: %v, want ErrForbidden", err)
	}
	if b.storagePID(disk) != pid {
		t.Error("the server was restarted")
	}
	b.expect(login(seen, "second's 'quotes\\"), "k", "v")
}

// TestStoragePasswordIsBroughtInLine whatever the database has, and whether it
// runs.
func TestStoragePasswordIsBroughtInLine(t *testing.T) {
	b := newBed(t)
	seen := b.applyStorage(disk, storageSpec(), secret("first"))
	b.put(login(seen, "first"), "k", "v")
	takes := func(p string) {
		t.Helper()
		b.expect(login(seen, p), "k", "v")
	}

	b.killStorage(disk)
	b.applyStorage(disk, storageSpec(), deploy.StoragePassword{Password: "second", Former: "first", Changing: true})
	takes("second")
	takes("first")

	// Somebody set one by hand, or the one in between was set and never told.
	by := sqlstore.Passwords{Password: "by hand"}
	if err := login(seen, "second").SetPassword(b.ctx, by); err != nil {
		t.Fatal(err)
	}
	b.applyStorage(disk, storageSpec(), deploy.StoragePassword{Password: "third", Former: "first", Changing: true})
	takes("third")
	if _, err := login(seen, "by hand").Ask(b.ctx); !errors.Is(err, wire.ErrForbidden) {
		t.Errorf("the password that was set by hand: %v, want ErrForbidden", err)
	}

	// The empty one is the deployment's.
	b.applyStorage(disk, storageSpec(), deploy.StoragePassword{Former: "third", Changing: true})
	takes(password)
}
