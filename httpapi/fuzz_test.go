package httpapi

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// both decodes a body in both dialects and checks what must hold of any body:
// no panic, a code that fits, and what strict takes lenient takes alike.
func both[In any](t *testing.T, body []byte, need ...string) {
	strict, lenient := newDecoder[In](true, need), newDecoder[In](false, need)
	var s, l In
	strictErr, lenientErr := strict.decode(body, &s), lenient.decode(body, &l)
	for _, err := range []error{strictErr, lenientErr} {
		var e *wire.Error
		if err != nil && (!errors.As(err, &e) || e.Code.HTTPStatus() != 400 || len(e.Message) > 4096) {
			t.Errorf("%q: error %T %v", body, err, err)
		}
	}
	if strictErr == nil && (lenientErr != nil || !reflect.DeepEqual(s, l)) {
		t.Errorf("%q: strict %+v, lenient %+v %v", body, s, l, lenientErr)
	}
	var std map[string]json.RawMessage
	stdErr := json.Unmarshal(body, &std)
	if lenientErr != nil {
		if stdErr != nil && wire.CodeOf(lenientErr) != wire.CodeMalformed {
			t.Errorf("%q is no object, but the error is %v", body, lenientErr)
		}
		return
	}
	if stdErr != nil {
		t.Errorf("%q was taken: encoding/json says %v", body, stdErr)
	}
	for _, name := range need {
		if raw, found := std[name]; !found || string(raw) == "null" {
			t.Errorf("%q was taken without %q", body, name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"a","node_tag":"n","replicas":3,"quorum":2}`, `{"name":null}`, `{"a":1,"a":2}`, ` {"x":[{"y":"\u00e9\"\\"}]} `,
		`{"decrements":[{"key":"k","by":1,"sizes":["8x8"]},null]}`, `{"metadata":{"a":[1,2,{"b":"}"}]}}`, "", "[", `{"a":1e400}`, `{"by":-0}`,
		`{"\u0073ourceId":"x"}`, `{"clusterList":["a",1]}`, `{"decrements":[[[[]]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		both[wire.CreateCluster](t, body, "name", "node_tag", "replicas", "quorum")
		both[wire.UpdateCluster](t, body)
		both[wire.DecrementFrames](t, body, "decrements")
		both[wire.CreateMapping](t, body, "node_tag")
		both[seedMapping](t, body, "sourceId", "nodeTag")
		both[seedClusterList](t, body, "clusterList")
		both[seedCreateClusters](t, body, "clusterPrefix")
	})
}

// FuzzFramePath: what is taken for a frame of a source is one, and comes back
// from its keys.
func FuzzFramePath(f *testing.F) {
	f.Add("cam", "cam?0?0__7", "8x8")
	f.Add("cam", "cam?0?0__07", "8__8")
	f.Add("a:b@c", "a:b@c?1?2__18446744073709551615", "608x608")
	f.Fuzz(func(t *testing.T, source, frame, size string) {
		key, size, err := parseFrame(wire.SourceID(source), frame, size)
		if err != nil {
			if wire.CodeOf(err) != wire.CodeInvalidArgument {
				t.Errorf("%v", err)
			}
			return
		}
		data := key.Data(size)
		if err := checkKey(wire.SourceID(source), data); err != nil {
			t.Errorf("%q: %v", data, err)
		}
		if err := checkKey(wire.SourceID(source), key.Count()); err != nil {
			t.Errorf("%q: %v", key.Count(), err)
		}
		if back, s, ok := wire.ParseDataKey(data); !ok || back != key || s != size || key.String() != frame {
			t.Errorf("%q came back as %v %q", data, back, s)
		}
	})
}

// FuzzQuery: numbers and waits stay in their bounds.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"wait=5m", "wait=90", "wait=-1s", "limit=10&index=7", "wait=9999999h", "index=18446744073709551615", "%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if d, err := parseWait(q, defaultBlock); err == nil && (d < 0 || d > maxWait) {
			t.Errorf("%q: wait %v", raw, d)
		}
		if n, err := parseUint(q, "limit", defaultPage, 1, wire.MaxPage); err == nil && (n < 1 || n > wire.MaxPage) {
			t.Errorf("%q: limit %d", raw, n)
		}
		if tables, err := tablesOf(q); err == nil && strings.Contains(raw, "table=") && len(tables) == 0 && q.Has("table") {
			t.Errorf("%q: no table", raw)
		}
	})
}
