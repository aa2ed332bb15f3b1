package frames

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

func TestCountsOfEveryWidthAreRead(t *testing.T) {
	// As cmsgpack packs them.
	b := []byte{0x9c, 0x00, 0x7f, 0xff, 0xe0, 0xcc, 0x80, 0xcd, 0x01, 0x00, 0xce, 0x00, 0x01, 0x00, 0x00,
		0xcf, 0, 0, 0, 1, 0, 0, 0, 0, 0xd0, 0xdf, 0xd1, 0xff, 0x7f, 0xd2, 0xff, 0xff, 0x7f, 0xff,
		0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}
	b[0] = 0x9e
	b = append(b, "\xb3"+"9223372036854775806"+"\xa1"+"7"...)
	want := []int64{0, 127, -1, -32, 128, 256, 65536, 1 << 32, -33, -129, -32769, -2147483649, 9223372036854775806, 7}
	got, err := decodeCounts(b, len(want))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("count %d is %d, want %d", i, got[i], want[i])
		}
	}
}

func FuzzDecodeCounts(f *testing.F) {
	f.Add([]byte{0x92, 0x01, 0xcd, 0x01, 0x00}, 2)
	f.Add([]byte{0xdc, 0x00, 0x01, 0xff}, 1)
	f.Add([]byte("\x92\xb39223372036854775806\xa1x"), 2)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, -1)
	f.Fuzz(func(t *testing.T, b []byte, want int) {
		counts, err := decodeCounts(b, want)
		if err == nil && len(counts) != want {
			t.Errorf("%d counts, want %d", len(counts), want)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(wire.NewFrameKey("cam-1", 1, 2, 3)))
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := decodeCursor(s)
		if err != nil {
			return
		}
		if back, err := decodeCursor(encodeCursor(*k)); err != nil || *back != *k {
			t.Errorf("%q is %v and comes back as %v, %v", s, k, back, err)
		}
	})
}

// FuzzMGETReply feeds any bytes as the answer to a Get.
func FuzzMGETReply(f *testing.F) {
	f.Add("*2\r\n$3\r\nabc\r\n$-1\r\n")
	f.Add("-OOM command not allowed\r\n")
	f.Add("*2\r\n$99999999999\r\n")
	f.Add("*2\r\n$5\r\nabc")
	f.Fuzz(func(t *testing.T, reply string) {
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			defer server.Close()
			buf := make([]byte, 1<<10)
			if _, err := server.Read(buf); err == nil {
				server.Write([]byte(reply))
			}
		}()
		b := &Batch{Frames: make([]Frame, 2), held: make([]*buffer, 2), pool: &buffers{}}
		n, err := b.fill(context.Background(), &conn{Conn: resp.NewConn(client)}, []string{"a", "b"}, 0)
		if err == nil && n != 2 || n > 2 {
			t.Errorf("read %d, %v", n, err)
		}
		for _, f := range b.Frames[:n] {
			if f.Missing != (f.Data == nil) || len(f.Data) > len(reply) {
				t.Errorf("frame %+v of %q", f, reply)
			}
		}
		b.Release()
	})
}

func TestGlobCharactersAreEscaped(t *testing.T) {
	if got := escapeGlob(`a*b?c[d]e\f-g^h.i:j@k`); got != `a\*b\?c\[d\]e\\f\-g\^h.i:j@k` {
		t.Errorf("got %s", got)
	}
}

func TestBuffersAreOfTheRightSize(t *testing.T) {
	var p buffers
	for _, n := range []int{0, 1, 512, 513, 1 << 20, 1<<20 + 1, wire.MaxFrame} {
		b := p.get(n)
		if len(b.bytes) < n+spare || n > 512 && len(b.bytes) > 2*n+spare {
			t.Errorf("%d bytes for %d", len(b.bytes), n)
		}
		p.put(b)
	}
}

func TestTheScriptIsWhatItsVersionSays(t *testing.T) {
	// Clients of two versions share a server: a change needs a new version.
	if !strings.Contains(libraryCode(), "name=framedb_4\n") || !strings.Contains(libraryCode(), "'framedb_decrement_4'") {
		t.Error("the names of the library and the function have no version")
	}
	if !strings.Contains(script(), fmt.Sprintf("remember_ms = %d\n", TokenLife.Milliseconds())) {
		t.Error("the script remembers tokens for another time than is told")
	}
}
