package sqlstore_test

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/objects/mysqltest"
	"github.com/framedb/framedb/client/objects/objecttest"
	"github.com/framedb/framedb/client/objects/sqlstore"
	"github.com/framedb/framedb/client/wire"
)

// tidbVars is what TiDB says with its default limits, the row smaller so that
// tests are quick.
var tidbVars = map[string]string{
	"version":            "8.0.11-TiDB-v8.5.0",
	"max_allowed_packet": "67108864",
	"tidb_config":        `{"performance": {"txn-entry-size-limit": 1048576, "txn-total-size-limit": 104857600}}`,
}

// TestTiDBFaults runs the suite with TiDB's limits and, at one of a
// hundred operations, an error after which the same must be tried again, or an answer
// that is lost.
func TestTiDBFaults(t *testing.T) {
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	passing := []error{
		driver.ErrBadConn, mysql.ErrInvalidConn, tidbError(1105), tidbError(1205), tidbError(1213), tidbError(8002), tidbError(8022),
		tidbError(8028), tidbError(9002), tidbError(9003), tidbError(9005), tidbError(9007), tidbError(1290),
	}
	openFaulty := func(t testing.TB) (*objects.Store, objecttest.Under) {
		dsn := s.Database()
		f := newFaulty(t, dsn)
		f.vars, f.entry, f.txn = tidbVars, 1<<20, 100<<20
		b := open(t, dsn, sqlstore.Config{Connector: f})
		f.set(func(f *faulty) {
			f.before = func(o op) error {
				if o.kind == "prepare" || rand.N(100) > 0 {
					return nil
				}
				return passing[rand.N(len(passing))]
			}
			f.after = func(o op) bool { return rand.N(200) == 0 }
		})
		return objects.New(b), under{DB: plain(t, dsn)}
	}
	objecttest.Run(t, objecttest.Backend{
		Open: openFaulty, LosesAnswers: true,
		Limits:  []int64{1<<20 - 4<<10},
		Largest: 9 << 20,
	})
}

func newFaulty(t testing.TB, dsn string) *faulty {
	t.Helper()
	c, err := sqlstore.Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return &faulty{Connector: c}
}

// TestErrorsThatStay: each error, at each step of a put, ends with its code,
// and what was there is still there.
func TestErrorsThatStay(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	dsn := s.Database()
	f := newFaulty(t, dsn)
	store := objects.New(open(t, dsn, sqlstore.Config{Connector: f}))
	before := bytes.Repeat([]byte("before"), 1000)
	if _, err := store.Put(t.Context(), "o", bytes.NewReader(before), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		code wire.Code
		// atCommit is the code when nobody can know what a COMMIT did.
		atCommit wire.Code
	}{
		{tidbError(8025), wire.CodeTooLarge, wire.CodeTooLarge},
		{tidbError(8004), wire.CodeTooLarge, wire.CodeTooLarge},
		{tidbError(1153), wire.CodeTooLarge, wire.CodeTooLarge},
		{mysql.ErrPktTooLarge, wire.CodeTooLarge, wire.CodeTooLarge},
		{tidbError(1021), wire.CodeDiskFull, wire.CodeDiskFull},
		{tidbError(1114), wire.CodeDiskFull, wire.CodeDiskFull},
		{tidbError(3), wire.CodeDiskFull, wire.CodeDiskFull},
		{tidbError(1213), wire.CodeUnavailable, wire.CodeUnavailable},
		{tidbError(9007), wire.CodeUnavailable, wire.CodeUnavailable},
		{tidbError(1290), wire.CodeUnavailable, wire.CodeUnavailable},
		{tidbError(1836), wire.CodeUnavailable, wire.CodeUnavailable},
		{tidbError(1105), wire.CodeUnavailable, wire.CodeOutcomeUnknown},
		{tidbError(9005), wire.CodeUnavailable, wire.CodeOutcomeUnknown},
		{tidbError(9003), wire.CodeOverloaded, wire.CodeOverloaded},
		{tidbError(1142), wire.CodeForbidden, wire.CodeForbidden},
		{tidbError(65000), wire.CodeInternal, wire.CodeOutcomeUnknown},
		{driver.ErrBadConn, wire.CodeUnavailable, wire.CodeUnavailable},
		{mysql.ErrInvalidConn, wire.CodeUnavailable, wire.CodeOutcomeUnknown},
	} {
		for _, kind := range []string{"exec", "commit"} {
			f.set(func(f *faulty) {
				f.before = func(o op) error {
					if o.kind == kind {
						return c.err
					}
					return nil
				}
			})
			want := c.code
			if kind == "commit" {
				want = c.atCommit
			}
			_, err := store.Put(t.Context(), "o", bytes.NewReader([]byte("after")), objects.PutOptions{})
			if wire.CodeOf(err) != want || want != wire.CodeOutcomeUnknown && !errors.Is(err, c.err) {
				t.Errorf("%v at %s: %v (%s), want %s", c.err, kind, err, wire.CodeOf(err), want)
			}
			f.set(func(f *faulty) { f.before = nil })
			if got, _, err := store.ReadAll(t.Context(), "o", 1<<20); err != nil || !bytes.Equal(got, before) {
				t.Fatalf("%v at %s: %d bytes, %v; want what was there", c.err, kind, len(got), err)
			}
		}
	}
}

// TestLostCommit: the answer to a COMMIT is lost. What happened is found out
// and happens once.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	dsn := s.Database()
	f := newFaulty(t, dsn)
	store := objects.New(open(t, dsn, sqlstore.Config{Connector: f}))
	other := objects.New(open(t, dsn, sqlstore.Config{}))
	lose := func(meanwhile func()) {
		lost := false
		f.set(func(f *faulty) {
			f.after = func(o op) bool {
				if o.kind != "commit" || lost {
					return false
				}
				lost = true
				meanwhile()
				return true
			}
		})
	}
	put := func(s *objects.Store, data string, c objects.Condition) error {
		_, err := s.Put(t.Context(), "o", bytes.NewReader([]byte(data)), objects.PutOptions{Condition: c})
		return err
	}
	expect := func(want string) {
		t.Helper()
		if got, _, err := store.ReadAll(t.Context(), "o", 1<<20); err != nil || string(got) != want {
			t.Errorf("there is %q, %v; want %q", got, err, want)
		}
	}
	lose(func() {})
	if err := put(store, "one", objects.Condition{IfAbsent: true}); err != nil {
		t.Errorf("an if-absent put that was committed: %v", err)
	}
	expect("one")
	lose(func() {
		if err := put(other, "theirs", objects.Condition{}); err != nil {
			t.Error(err)
		}
	})
	if err := put(store, "two", objects.Condition{}); wire.CodeOf(err) != wire.CodeOutcomeUnknown {
		t.Errorf("a put that another one has overwritten: %v", err)
	}
	expect("theirs")
	lose(func() {})
	if err := store.Delete(t.Context(), "o", objects.Condition{}); err != nil {
		t.Errorf("a delete that was committed: %v", err)
	}
	if found, err := store.Exists(t.Context(), "o"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

// TestRowLimitOfTheServer: the server takes less than it said.
func TestRowLimitOfTheServer(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=1M")
	dsn := s.Database()
	f := newFaulty(t, dsn)
	f.entry = 300 << 10
	b := open(t, dsn, sqlstore.Config{Connector: f})
	if l := b.Limits(); l.Packet != 1<<20 || l.Row != 512<<10 || l.Chunk != 256<<10 {
		t.Errorf("limits %+v", l)
	}
	store := objects.New(b)
	for _, n := range []int{300 << 10, 400 << 10, 512 << 10, 512<<10 + 1, 20 << 20} {
		data := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		if _, err := store.Put(t.Context(), "o", bytes.NewReader(data), objects.PutOptions{}); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got, _, err := store.ReadAll(t.Context(), "o", 1<<30); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	f.set(func(f *faulty) { f.entry = 100 << 10 })
	_, err := store.Put(t.Context(), "new", bytes.NewReader(make([]byte, 400<<10)), objects.PutOptions{})
	if wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("an object that fits nowhere: %v", err)
	}
}

// TestExclusive: without other programs, a changed row is damage.
func TestExclusive(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	dsn := s.Database()
	store := objects.New(open(t, dsn, sqlstore.Config{Exclusive: true}))
	old := under{DB: plain(t, dsn)}
	old.Write(t, "theirs", []byte("an old client's"))
	if got, info, err := store.ReadAll(t.Context(), "theirs", 100); string(got) != "an old client's" || !info.Foreign || err != nil {
		t.Errorf("%q, %+v, %v", got, info, err)
	}
	if _, err := store.Put(t.Context(), "mine", bytes.NewReader([]byte("mine")), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	old.Write(t, "mine", []byte("mime"))
	if got, _, err := store.ReadAll(t.Context(), "mine", 100); !errors.Is(err, wire.ErrCorrupt) || got != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestWrongCollation: a table that holds "A" and "a" for equal is refused.
func TestWrongCollation(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t)
	dsn := s.Database()
	db := plain(t, dsn)
	if _, err := db.Exec("CREATE TABLE data_table (`key` VARCHAR(255) COLLATE utf8mb4_general_ci PRIMARY KEY, data LONGBLOB)"); err != nil {
		t.Fatal(err)
	}
	c, err := sqlstore.Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlstore.Open(t.Context(), sqlstore.Config{Connector: c}); !errors.Is(err, wire.ErrConflict) {
		t.Errorf("open: %v", err)
	}
}

// TestBadDSN: the error does not hold the password.
func TestBadDSN(t *testing.T) {
	for _, dsn := range []string{"", "root:secret@tcp(x", "root:secret@tcp(127.0.0.1:1)/", "root:secret@udp(x)/y?zz=%zz"} {
		_, err := sqlstore.Connector(dsn)
		if !errors.Is(err, wire.ErrInvalidArgument) || bytes.Contains(fmt.Append(nil, err), []byte("secret")) {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

// TestAbandonedUpload: a sweep takes an upload that stands still; its writer
// hears of it.
func TestAbandonedUpload(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, "--innodb-flush-log-at-trx-commit=0")
	dsn := s.Database()
	b := open(t, dsn, sqlstore.Config{})
	store := objects.New(b)
	looked := false
	body := &halting{left: 20 << 20, at: 10 << 20, f: func() {
		if looked = true; (under{DB: plain(t, dsn)}).Hidden(t) == 0 {
			t.Error("there are no parts in the middle of an upload")
		}
		if _, err := store.Sweep(t.Context(), objects.DefaultSweepAges()); err != nil {
			t.Error(err)
		}
		if (under{DB: plain(t, dsn)}).Hidden(t) == 0 {
			t.Error("a sweep took a young upload")
		}
		if _, err := store.Sweep(t.Context(), objects.SweepAges{}); err != nil {
			t.Error(err)
		}
	}}
	_, err := store.Put(t.Context(), "o", body, objects.PutOptions{})
	if !errors.Is(err, wire.ErrConflict) || !looked {
		t.Errorf("put: %v", err)
	}
	if _, err := store.Sweep(t.Context(), objects.SweepAges{}); err != nil {
		t.Error(err)
	}
	if n := (under{DB: plain(t, dsn)}).Hidden(t); n != 0 {
		t.Errorf("%d parts are left", n)
	}
}

// halting gives zeros and calls f in the middle.
type halting struct {
	left, at int
	f        func()
}

func (h *halting) Read(p []byte) (int, error) {
	if h.left < h.at && h.f != nil {
		f := h.f
		h.f = nil
		f()
	}
	if h.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), h.left)
	clear(p[:n])
	h.left -= n
	return n, nil
}
