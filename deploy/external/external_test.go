package external_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/external"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = wire.FrameDBID("theirs")

func specOf(address string) wire.StorageSpec {
	s := wire.StorageSpec{NodeTag: "a", External: &wire.ExternalStorage{Address: address}}
	s.ApplyDefaults()
	return s
}

func TestOnlyConnects(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := external.New()
	observe := func() deploy.Storage {
		t.Helper()
		seen, err := d.ObserveStorage(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	if seen := observe(); seen != (deploy.Storage{}) {
		t.Errorf("before it is known: %+v", seen)
	}
	if err := d.ApplyStorage(t.Context(), id, specOf(l.Addr().String()), deploy.StoragePassword{Password: "x"}); err != nil {
		t.Fatal(err)
	}
	if seen := observe(); !seen.Exists || !seen.Running || seen.NeedsApply || seen.Reason != "" || seen.Port != l.Addr().(*net.TCPAddr).Port {
		t.Errorf("it is %+v", seen)
	}
	l.Close()
	if seen := observe(); !seen.Exists || seen.Running || !strings.Contains(seen.Reason, "cannot be reached") {
		t.Errorf("gone it is %+v", seen)
	}
	for range 2 {
		if err := d.RemoveStorage(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if seen := observe(); seen.Exists {
		t.Errorf("forgotten it is %+v", seen)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	d := external.New()
	own := specOf("db:1")
	own.External = nil
	for name, s := range map[string]wire.StorageSpec{"none": own, "no port": specOf("db"), "empty": {}} {
		if err := d.ApplyStorage(t.Context(), id, s, deploy.StoragePassword{}); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.ObserveStorage(t.Context(), "../x"); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("observe: %v", err)
	}
	if seen, _ := d.ObserveStorage(t.Context(), id); seen.Exists {
		t.Error("a refused one is known")
	}
}
