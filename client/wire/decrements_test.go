package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func aBatch(n int) wire.DecrementFrames {
	d := wire.DecrementFrames{NodeTag: "rack-1"}
	for i := range n {
		d.Decrements = append(d.Decrements, wire.Decrement{Key: wire.NewFrameKey("cam-1", 1, 1, uint64(i)).Count(), By: 1, Sizes: []string{"608x608", "8x8"}})
	}
	return d
}

func TestDecrementsAreWrittenAsJSONHasThem(t *testing.T) {
	t.Parallel()
	odd := wire.DecrementFrames{Decrements: []wire.Decrement{
		{Key: "ref__a\"b\\c?0?0__1", By: -1, Sizes: []string{}}, {Key: "é\n<&>\x7f\xff", By: 1 << 40, Sizes: []string{"", "x"}},
	}}
	for _, d := range []wire.DecrementFrames{{Decrements: []wire.Decrement{}}, aBatch(3), odd} {
		want, err := json.Marshal(d)
		if got := d.AppendJSON(nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got  %s\nwant %s (%v)", got, want, err)
		}
	}
	results := wire.DecrementResults{Results: []wire.Decremented{{Key: "a", Remaining: 7}, {Key: "b", Missing: true}, {Key: "c<", Deleted: 2}}}
	want, err := json.Marshal(results)
	if got := results.AppendJSON(nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s (%v)", got, want, err)
	}
	if got, plain := wire.ReadDecrementResults([]byte(`{"results":[{"key":"a","remaining":7,"deleted":0},{"key":"b","missing":true,"remaining":0,"deleted":0}]}`)); !plain ||
		!reflect.DeepEqual(got.Results, results.Results[:2]) {
		t.Errorf("got %+v (%v)", got, plain)
	}
}

// TestWhatIsNotPlainIsLeftToTheDecoder: each of these has to be looked at by one
// who knows all of JSON, or is refused by it.
func TestWhatIsNotPlainIsLeftToTheDecoder(t *testing.T) {
	t.Parallel()
	const one = `{"key":"k","by":1,"sizes":[]}`
	for _, body := range []string{
		``, `{`, `{}`, `[]`, `{"decrements":null}`, `{"decrements":[null]}`, `{"decrements":[` + one + `]}x`, `{"decrements":[` + one + `,]}`,
		`{"decrements":[{"key":"k\u0041","by":1}]}`, `{"decrements":[{"key":"k"}]}`, `{"decrements":[{"by":1}]}`, `{"decrements":[{"key":"é","by":1}]}`,
		`{"decrements":[{"key":"k","by":1.0}]}`, `{"decrements":[{"key":"k","by":1e1}]}`, `{"decrements":[{"key":"k","by":01}]}`,
		`{"decrements":[{"key":"k","by":"1"}]}`, `{"decrements":[{"key":"k","by":99999999999999999999}]}`, `{"decrements":[{"key":"k","by":1,"by":2}]}`,
		`{"decrements":[{"key":"k","by":1,"x":2}]}`, `{"decrements":[{"Key":"k","by":1}]}`, `{"decrements":[],"decrements":[]}`,
		`{"decrements":[{"key":"k","by":1,"sizes":null}]}`, `{"decrements":[{"key":"k","by":1,"sizes":[1]}]}`, `{"decrements":[],"node_tag":null}`,
		`{"decrements":[{"key":"k","by":-}]}`, `{"decrements":[{"key":"k","by":1 "sizes":[]}]}`, "{\"decrements\":[{\"key\":\"a\nb\",\"by\":1}]}",
	} {
		if d, plain := wire.ReadDecrementFrames([]byte(body)); plain {
			t.Errorf("%s was taken for %+v", body, d)
		}
	}
	many := `{"decrements":[` + strings.Repeat(one+",", wire.MaxDecrements) + one + `]}`
	if d, plain := wire.ReadDecrementFrames([]byte(many)); !plain || len(d.Decrements) != wire.MaxDecrements+1 {
		t.Errorf("of too many there are %d (%v): it is not the reader who refuses them", len(d.Decrements), plain)
	}
}

// FuzzReadDecrements has encoding/json agree with whatever is read.
func FuzzReadDecrements(f *testing.F) {
	batch := aBatch(2)
	f.Add(batch.AppendJSON(nil))
	for _, sizes := range []string{`["a"],["a","b"]`, `["a","b"],["a"]`, `["a","b"],["a","c"]`, `["a"],[]`, `[],["a"]`, `["a","b"],["b"]`} {
		first, second, _ := strings.Cut(sizes, "],")
		f.Add(fmt.Appendf(nil, "{ \"decrements\" : [{\"sizes\":%s],\"by\":-0,\"key\":\"\"},\n{\"key\":\"k\",\"by\":12,\"sizes\":%s}] , \"node_tag\":\"\"}", first, second))
	}
	f.Add([]byte(`{"results":[{"missing":true},{"deleted":-3,"key":"k"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, plain := wire.ReadDecrementFrames(body); plain {
			var want wire.DecrementFrames
			agrees(t, body, &got, &want)
		}
		if got, plain := wire.ReadDecrementResults(body); plain {
			var want wire.DecrementResults
			agrees(t, body, &got, &want)
		}
	})
}

func agrees[T any](t *testing.T, body []byte, got, want T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(want)
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); err != nil || a != b {
		t.Errorf("%q\nis read as %s\nand it is  %s (%v)", body, a, b, err)
	}
}

func BenchmarkDecrements(b *testing.B) {
	batch := aBatch(1000)
	body := batch.AppendJSON(nil)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			batch.AppendJSON(make([]byte, 0, len(body)))
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			wire.ReadDecrementFrames(body)
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			var d wire.DecrementFrames
			json.Unmarshal(body, &d)
		}
	})
}
