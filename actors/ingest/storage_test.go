package ingest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// object is what is stored under a key.
func object(s *objects.Store, key string) (string, error) {
	r, err := s.Get(context.Background(), objects.Key(key), objects.GetOptions{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func TestFramesGoToStorage(t *testing.T) {
	t.Parallel()
	db := mysqltest.Start(t)
	c, err := sqlstore.Connector(db.SocketDSN())
	if err != nil {
		t.Fatal(err)
	}
	backend, err := sqlstore.Open(t.Context(), sqlstore.Config{Connector: c})
	if err != nil {
		t.Fatal(err)
	}
	store := objects.New(backend)
	t.Cleanup(func() { store.Close() })
	b := newBed(t, nil)
	archive := Target{Name: OfFrameDB("archive"), Storage: true, Destination: NewStorage(store)}
	b.routes.set(source, Settings{FrameDB: "archive"}, archive)
	has := func(f ingest.Frame) error {
		for _, s := range f.Sizes {
			if got, err := object(store, f.Key.Data(s.Name)); err != nil || got != string(s.Data) {
				return fmt.Errorf("%s: %.50q, %v", f.Key.Data(s.Name), got, err)
			}
		}
		return nil
	}
	for range 2 { // the second time it is there already
		if r := b.take(durable, frame(source, 1))[0]; r.Level != durable {
			t.Errorf("%+v", r)
		}
		if err := has(frame(source, 1)); err != nil {
			t.Error(err)
		}
	}
	other := frame(source, 1)
	other.Sizes[0].Data = []byte("other")
	if r := b.take(durable, other)[0]; r.Duplicate {
		t.Errorf("other bytes: %+v", r)
	}
	if err := has(other); err != nil {
		t.Error(err)
	}
	long := ingest.Frame{Key: wire.NewFrameKey(source, 1<<60, 1<<60, 1<<60), Sizes: []ingest.Size{{Name: strings.Repeat("9", 60), Data: []byte("x")}}}
	long.Key.Prefix = string(source) + "?" + strings.Repeat("9", 120) + "?" + strings.Repeat("9", 60)
	if r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{long}, Options{}); err != nil || r[0].Error == nil || r[0].Error.Field != "frame" {
		t.Errorf("a key that is too long for an object: %+v, %v", r, err)
	}
	db.Settle()
	db.Kill()
	for n := 2; n < 6; n++ {
		if r := b.take(master, frame(source, n))[0]; r.Level != durable {
			t.Errorf("%+v", r)
		}
	}
	db.Restart()
	b.idle()
	for n := 2; n < 6; n++ {
		if err := has(frame(source, n)); err != nil {
			t.Error(err)
		}
	}
	b.nothingDropped()
}
