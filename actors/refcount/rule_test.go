package refcount_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/framedb/framedb/actors/refcount"
)

func TestSizesAreThoseOfUse(t *testing.T) {
	t.Parallel()
	for metadata, want := range map[string]string{
		``:                "[]",
		`7`:               "[]",
		`{}`:              "[]",
		`{"sizes":"8x8"}`: "[]",
		`{"sizes":null}`:  "[]",
		`{"sizes":["8x8",7,"../x","4x4",""],"ref_count":2}`: "[8x8 4x4]",
	} {
		if got := fmt.Sprint(refcount.Sizes(json.RawMessage(metadata))); got != want {
			t.Errorf("%s: got %s, want %s", metadata, got, want)
		}
	}
}
