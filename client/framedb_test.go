package client_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

const cam = wire.SourceID("cam-1")

func frame(n int) wire.FrameKey { return wire.NewFrameKey(cam, 1, 1, uint64(n)) }

func drop1(n int, sizes ...string) wire.Decrement {
	return wire.Decrement{Key: frame(n).Count(), By: 1, Sizes: sizes}
}

func mustPut(t *testing.T, db *client.FrameDB, n int, sizes map[string][]byte) []wire.Mapping {
	t.Helper()
	done, err := db.PutFrame(t.Context(), frame(n), sizes, frames.PutOptions{})
	if err != nil {
		t.Fatalf("PutFrame: %v", err)
	}
	return done
}

// read returns what GetFramesFrom gives, "-" for what is missing.
func read(t *testing.T, db *client.FrameDB, keys ...string) []string {
	t.Helper()
	batch, err := db.GetFramesFrom(t.Context(), cam, keys)
	if err != nil {
		t.Fatalf("GetFramesFrom: %v", err)
	}
	defer batch.Release()
	return contents(batch.Frames)
}

func contents(fs []frames.Frame) []string {
	var got []string
	for _, f := range fs {
		if f.Missing {
			got = append(got, "-")
		} else {
			got = append(got, string(f.Data))
		}
	}
	return got
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestAFrameGoesThroughItsLife(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	near, far := p.addCluster(t, "near", 1), p.addCluster(t, "far", 1)
	p.write(cam, "tag-a", "far", `{"sizes":["8x8"],"ref_count":5}`)
	p.write(cam, "tag-b", "near", `{"sizes":["8x8","4x4"],"ref_count":2}`)
	p.write(cam, "tag-c", "far", `{"ref_count":0}`)
	db := p.open(t, "tag-b")

	done := mustPut(t, db, 1, map[string][]byte{"8x8": []byte("large"), "4x4": []byte("small"), "2x2": []byte("tiny")})
	want(t, "the mappings that have it", len(done), 2)
	want(t, "the keys on the far cluster", far.Servers[0].Client().DBSize(t.Context()).Val(), 2)
	want(t, "the far count", far.Servers[0].Client().Get(t.Context(), frame(1).Count()).Val(), "5")
	want(t, "the keys on the near cluster", near.Servers[0].Client().DBSize(t.Context()).Val(), 3)

	want(t, "the frame", read(t, db, frame(1).Data("8x8"), frame(2).Data("8x8"), frame(1).Data("4x4")), []string{"large", "-", "small"})
	want(t, "the whole frame without sizes", read(t, db, frame(1).String()), []string{"-"})
	db.SetRequiredSizes("4x4", "8x8")
	want(t, "the whole frame", read(t, db, frame(1).String(), "x"), []string{"small", "large", "-"})

	got, err := db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1, "8x8"), drop1(2)})
	want(t, "the first drop", got, []wire.Decremented{{Key: frame(1).Count(), Remaining: 1}, {Key: frame(2).Count(), Missing: true}})
	want(t, "its error", err, nil)
	got, err = db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{drop1(1)}) // in the required sizes
	want(t, "the second drop", got, []wire.Decremented{{Key: frame(1).Count(), Deleted: 2}})
	want(t, "its error", err, nil)

	db.SetRequiredSizes()
	mustPut(t, db, 3, map[string][]byte{"8x8": nil, "4x4": nil})
	got, _ = db.DecrBatchKeys(t.Context(), cam, []wire.Decrement{{Key: frame(3).Count(), By: 2}}) // in the metadata's
	want(t, "a drop without sizes", got, []wire.Decremented{{Key: frame(3).Count(), Deleted: 2}})

	want(t, "how often the agent was asked", p.askedFor(), 1)
}

func TestWithoutATagOfItsOwnAProgramTakesTheFirst(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-b", "c1", "")
	p.write(cam, "tag-a", "c1", "")
	for tags, first := range map[wire.NodeTag]wire.NodeTag{"": "tag-a", "tag-b": "tag-b", "other": "tag-a"} {
		var own []wire.NodeTag
		if tags != "" {
			own = []wire.NodeTag{"none", tags}
		}
		db := p.open(t, own...)
		_, m, err := db.Cluster(t.Context(), cam)
		if err != nil || m.NodeTag != first {
			t.Errorf("with tag %q: the mapping on %q (%v), want %q", tags, m.NodeTag, err, first)
		}
	}
}

func TestPutFrameRefusesWhatTheMetadataForbid(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	p.write(cam, "tag-b", "c1", `{"sizes":["8x8","16x16"]}`)
	db := p.open(t)
	_, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": nil}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != "sizes" {
		t.Errorf("a size too few: got %v", err)
	}
	for _, metadata := range []string{`{"sizes":"8x8"}`, `{"ref_count":-1}`, `{"ref_count":"x"}`} {
		p.write(cam, "tag-b", "c1", metadata)
		redistest.Eventually(t, 5*time.Second, "the metadata are heard of", func() error {
			_, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": nil}, frames.PutOptions{})
			if !errors.Is(err, wire.ErrConflict) {
				return fmt.Errorf("metadata %s: got %v", metadata, err)
			}
			return nil
		})
	}
	want(t, "the number of keys", c.Servers[0].Client().DBSize(t.Context()).Val(), 0)
	if _, err := db.PutFrame(t.Context(), wire.NewFrameKey("other", 0, 0, 0), nil, frames.PutOptions{}); !errors.Is(err, wire.ErrNotFound) {
		t.Errorf("an unmapped source: got %v", err)
	}
}

func TestPutFrameTellsWhichTagFailed(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "good", 1)
	full := redistest.StartCluster(t, 1, "--maxmemory", "1mb")
	p.members["full"] = full.Members("full")
	p.write(cam, "tag-a", "full", "")
	p.write(cam, "tag-b", "good", "")
	db := p.open(t)
	done, err := db.PutFrame(t.Context(), frame(1), map[string][]byte{"8x8": make([]byte, 1<<20)}, frames.PutOptions{})
	if !errors.Is(err, wire.ErrOverloaded) || len(done) != 1 || done[0].NodeTag != "tag-b" {
		t.Errorf("got %v, %v; want overloaded for tag-a alone", done, err)
	}
}

func TestPushSyncSerializes(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"a": []byte("1"), "b": []byte("2")}); err != nil {
		t.Fatal(err)
	}
	db.SetOutputSerializer(func(in map[string][]byte) (map[string][]byte, error) {
		return map[string][]byte{"b": append([]byte("x"), in["b"]...)}, nil
	})
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"b": []byte("3")}); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	db.SetOutputSerializer(func(map[string][]byte) (map[string][]byte, error) { return nil, refusal })
	if err := db.PushSync(t.Context(), cam, map[string][]byte{"b": []byte("4")}); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	want(t, "what is stored", read(t, db, "a", "b"), []string{"1", "x3"})
}

func TestLargeDecrementsGoInSteps(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	db := p.open(t)
	n := wire.MaxDecrements + 1
	mustPut(t, db, 0, map[string][]byte{"8x8": nil})
	mustPut(t, db, n-1, map[string][]byte{"8x8": nil})
	batch := make([]wire.Decrement, n)
	for i := range batch {
		batch[i] = drop1(i, "8x8")
	}
	ctx := client.WithRequestID(t.Context(), "mine")
	for range 2 { // the same token gives the same answers
		got, err := db.DecrBatchKeys(ctx, cam, batch)
		if err != nil || len(got) != n {
			t.Fatalf("%d results, %v", len(got), err)
		}
		want(t, "the first result", got[0], wire.Decremented{Key: frame(0).Count(), Deleted: 1})
		want(t, "the one between", got[1], wire.Decremented{Key: frame(1).Count(), Missing: true})
		want(t, "the last result", got[n-1], wire.Decremented{Key: frame(n - 1).Count(), Deleted: 1})
	}
}

func TestThePasswordComesFromAFile(t *testing.T) {
	p := newPlane(t)
	p.addCluster(t, "c1", 1)
	p.write(cam, "tag-a", "c1", "")
	path := filepath.Join(t.TempDir(), "password")
	for content, code := range map[string]wire.Code{redistest.Password + "\n": "", "wrong": wire.CodeForbidden} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(client.EnvPasswordFile, path)
		db := p.open(t)
		_, err := db.GetFramesFrom(t.Context(), cam, []string{"k"})
		if wire.CodeOf(err) != code {
			t.Errorf("with %q: got %v, want code %q", content, err, code)
		}
	}
	t.Setenv(client.EnvPasswordFile, path+".none")
	_, err := client.Open(t.Context(), client.Config{Addrs: []string{p.URL}})
	if !errors.Is(err, wire.ErrInvalidArgument) || wire.AsError(err).Field != client.EnvPasswordFile {
		t.Errorf("without the file: got %v", err)
	}
}
