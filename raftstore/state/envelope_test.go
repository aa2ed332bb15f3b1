package state

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// TestTheEnvelopeFormatStays has the bytes of version 1, which later versions of
// this program must read.
func TestTheEnvelopeFormatStays(t *testing.T) {
	b, err := Encode(RemoveCluster{Name: "a"}, "req", time.Unix(1, 5))
	if err != nil {
		t.Fatal(err)
	}
	want := "01" + "0e" + hex.EncodeToString([]byte("cluster.remove")) + "03" + hex.EncodeToString([]byte("req")) +
		"000000003b9aca05" + hex.EncodeToString([]byte(`{"name":"a"}`))
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	env, err := Decode(b)
	if err != nil || env.Type != "cluster.remove" || env.RequestID != "req" || !env.At.Equal(time.Unix(1, 5)) || string(env.Body) != `{"name":"a"}` {
		t.Errorf("it is read as %+v, %v", env, err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Encode(RemoveCluster{Name: "a"}, "req", time.Unix(1, 5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for i := range good {
		f.Add(good[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := Decode(b)
		if err != nil {
			if c := wire.CodeOf(err); c != wire.CodeMalformed && c != wire.CodeInvalidArgument {
				t.Errorf("got %v", err)
			}
			return
		}
		if !bytes.HasSuffix(b, env.Body) || len(b) != 3+len(env.Type)+len(env.RequestID)+8+len(env.Body) {
			t.Errorf("%x is read as %+v", b, env)
		}
	})
}
