package raftstore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func openLog(t tester, dir string) *logStore {
	t.Helper()
	s, err := openLogStore(dir, "n1", func(time.Duration) {})
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	return s
}

func closeLog(t tester, s *logStore) {
	t.Helper()
	if err := s.close(); err != nil {
		t.Errorf("close log: %v", err)
	}
}

func entries(from, to uint64) []*raft.Log {
	var all []*raft.Log
	for i := from; i <= to; i++ {
		all = append(all, &raft.Log{Index: i, Term: 1, Data: []byte{byte(i)}})
	}
	return all
}

func bounds(t tester, s *logStore) (first, last uint64) {
	t.Helper()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatalf("bounds: %v", err)
	}
	return first, last
}

func TestAnEntryComesBackAsItWasStored(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	at := time.Unix(1_700_000_000, 123_456_789)
	want := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("configuration"), Extensions: []byte("ext"), AppendedAt: at},
		{Index: 2, Term: 2, Type: raft.LogNoop},
		{Index: 3, Term: 1 << 40, Type: raft.LogCommand, Data: bytes.Repeat([]byte("x"), MaxEntry)},
	}
	if err := s.StoreLogs(want); err != nil {
		t.Fatal(err)
	}
	closeLog(t, s)
	s = openLog(t, dir)
	defer closeLog(t, s)
	for _, w := range want {
		var got raft.Log
		if err := s.GetLog(w.Index, &got); err != nil {
			t.Fatal(err)
		}
		if got.Index != w.Index || got.Term != w.Term || got.Type != w.Type || !bytes.Equal(got.Data, w.Data) || !bytes.Equal(got.Extensions, w.Extensions) || !got.AppendedAt.Equal(w.AppendedAt) {
			t.Errorf("entry %d came back as %+v", w.Index, got)
		}
	}
	if err := s.GetLog(4, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("entry that is not there: %v", err)
	}
}

// TestTheEntryFormatStays has the bytes of version 1, which later versions of
// this program must read.
func TestTheEntryFormatStays(t *testing.T) {
	l := &raft.Log{Index: 7, Term: 3, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1, 5)}
	const want = "0100" + "0000000000000003" + "000000003b9aca05" + "00000003" + "657874" + "64617461"
	if got := hex.EncodeToString(encodeEntry(nil, l)); got != want {
		t.Errorf("entry is %s, want %s", got, want)
	}
}

func TestWhatIsNoEntryIsNotRead(t *testing.T) {
	good := encodeEntry(nil, &raft.Log{Index: 7, Term: 3, Data: []byte("data"), Extensions: []byte("ext")})
	var l raft.Log
	for i := range entryHeader + len("ext") {
		if err := decodeEntry(7, good[:i], &l); err == nil {
			t.Errorf("cut at %d it is read", i)
		}
	}
	good[0]++
	if err := decodeEntry(7, good, &l); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("of another version: %v", err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(nil, &raft.Log{Index: 7, Term: 3, Data: []byte("data"), Extensions: []byte("ext")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if decodeEntry(7, b, &l) == nil && !bytes.Equal(encodeEntry(nil, &l), b) {
			t.Errorf("%x is read, and written as something else", b)
		}
	})
}

func TestADamagedLogIsRefusedAtOpen(t *testing.T) {
	ctx, dir := within(t), t.TempDir()
	s := open(t, ctx, testConfig(dir))
	propose(t, ctx, s, "", create("rotten"))
	propose(t, ctx, s, "", create("b"))
	closeStore(t, s)
	path := filepath.Join(dir, logDir, "00000001.log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("rotten"))] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, path)
}

// TestTheLogIsAsAList compares the store with a slice, through random appends,
// overwrites, deletions at both ends, gaps and reopenings.
func TestTheLogIsAsAList(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		sub := filepath.Join(dir, string(rune('a'+run%26)))
		s := emptyLog(t, sub)
		defer func() { closeLog(t, s) }()
		var first, last uint64 // of the model; 0, 0 when empty
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2: // append
				n := rapid.Uint64Range(1, 20).Draw(t, "n")
				if err := s.StoreLogs(entries(last+1, last+n)); err != nil {
					t.Fatalf("append: %v", err)
				}
				first, last = max(first, 1), last+n
				if first > last-n+1 {
					first = last - n + 1
				}
			case 3: // a snapshot took the log's place
				if last == 0 {
					continue
				}
				last += rapid.Uint64Range(2, 9).Draw(t, "gap")
				if err := s.StoreLog(entries(last, last)[0]); err != nil {
					t.Fatalf("behind a gap: %v", err)
				}
				first = last
			case 4: // compaction or conflict
				if last == 0 {
					continue
				}
				cut := rapid.Uint64Range(first, last).Draw(t, "cut")
				if rapid.Bool().Draw(t, "front") {
					if err := s.DeleteRange(first, cut); err != nil {
						t.Fatalf("delete: %v", err)
					}
					first = cut + 1
				} else {
					if err := s.DeleteRange(cut, last); err != nil {
						t.Fatalf("delete: %v", err)
					}
					last = cut - 1
				}
				if first > last {
					first, last = 0, 0
				}
			case 5:
				closeLog(t, s)
				s = openLog(t, sub)
			}
			checkLog(t, s, first, last)
		}
	})
}

// emptyLog opens a log and deletes what is in it.
func emptyLog(t tester, dir string) *logStore {
	t.Helper()
	if err := mkdir(dir); err != nil {
		t.Fatalf("%v", err)
	}
	s := openLog(t, dir)
	if err := s.DeleteRange(0, 1<<62); err != nil {
		t.Fatalf("delete all: %v", err)
	}
	return s
}

func checkLog(t tester, s *logStore, first, last uint64) {
	t.Helper()
	if f, l := bounds(t, s); f != first || l != last {
		t.Fatalf("log is %d to %d, want %d to %d", f, l, first, last)
	}
	var l raft.Log
	for i := first; i <= last && i > 0; i++ {
		if err := s.GetLog(i, &l); err != nil || l.Index != i || !bytes.Equal(l.Data, []byte{byte(i)}) {
			t.Fatalf("entry %d is %+v, %v", i, l, err)
		}
	}
	for _, i := range []uint64{first - 1, last + 1} {
		if err := s.GetLog(i, &l); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d, outside of the log: %v", i, err)
		}
	}
}

func TestStableValuesStay(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	if n, err := s.GetUint64([]byte("term")); n != 0 || err != nil {
		t.Errorf("absent number: %d, %v", n, err)
	}
	if b, err := s.Get([]byte("vote")); len(b) != 0 || err != nil {
		t.Errorf("absent value: %q, %v", b, err)
	}
	if err := errors.Join(s.SetUint64([]byte("term"), 42), s.Set([]byte("vote"), []byte("n1"))); err != nil {
		t.Fatal(err)
	}
	closeLog(t, s)
	s = openLog(t, dir)
	defer closeLog(t, s)
	if n, err := s.GetUint64([]byte("term")); n != 42 || err != nil {
		t.Errorf("number: %d, %v", n, err)
	}
	if b, err := s.Get([]byte("vote")); string(b) != "n1" || err != nil {
		t.Errorf("value: %q, %v", b, err)
	}
	if _, err := s.GetUint64([]byte("vote")); err == nil {
		t.Error("a value of two bytes is a number")
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	if err := s.keep(func(k *kept) { k.Format = 2 }); err != nil {
		t.Fatal(err)
	}
	closeLog(t, s)
	if _, err := openLogStore(dir, "n1", func(time.Duration) {}); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a log of another format: %v", err)
	}
}

// TestAHalfDoneBootstrapIsNone breaks off between Raft's two writes.
func TestAHalfDoneBootstrapIsNone(t *testing.T) {
	ctx, dir := within(t), t.TempDir()
	s := openLog(t, dir)
	broken := errors.New("broken off")
	err := s.atomically(func(l *logStore) error {
		return errors.Join(l.SetUint64([]byte("CurrentTerm"), 1), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	closeLog(t, s)
	if st := opened(t, ctx, testConfig(dir)).Status(); !st.IsLeader || len(st.Voters) != 1 {
		t.Errorf("status is %+v", st)
	}
}
