package resp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

func TestReplies(t *testing.T) {
	for text, want := range map[string]any{
		"+OK\r\n":         "OK",
		":-12\r\n":        int64(-12),
		"$3\r\na\r\n\r\n": "a\r\n",
		"$0\r\n\r\n":      "",
		"$-1\r\n":         nil,
		"*-1\r\n":         nil,
		"*0\r\n":          []any{},
		"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n-ERR no\r\n": []any{int64(1), []any{"x"}, resp.Error("ERR no")},
		"-READONLY You can't\r\n":                  resp.Error("READONLY You can't"),
	} {
		for how, src := range map[string]io.Reader{
			"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		} {
			got, err := resp.NewReader(src).Reply(100)
			if e, refused := want.(resp.Error); refused {
				if !errors.Is(err, e) || resp.CodeOf(fmt.Errorf("wrapped: %w", err)) != "READONLY" {
					t.Errorf("%q %s: got %v", text, how, err)
				}
				continue
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%q %s: got %#v, %v", text, how, got, err)
			}
		}
	}
}

func TestBrokenRepliesAreRefused(t *testing.T) {
	for _, text := range []string{
		"hello\r\n", "\r\n", "+OK\n", "$x\r\n", "$\r\n", "$-2\r\n", "$1\r\nab\r\n", ":1.5\r\n", "$101\r\n", "*9999999999\r\n",
		strings.Repeat("*1\r\n", 20), "+" + strings.Repeat("x", 100_000) + "\r\n", "$99999999999999999999\r\n",
	} {
		if v, err := resp.NewReader(strings.NewReader(text)).Reply(100); !errors.Is(err, resp.ErrProtocol) {
			t.Errorf("%.30q: got %v, %v", text, v, err)
		}
	}
	for _, text := range []string{"+OK", "$3\r\nab", "*2\r\n:1\r\n"} {
		_, err := resp.NewReader(strings.NewReader(text)).Reply(100)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q cut off: got %v", text, err)
		}
	}
}

func TestValuesAreReadIntoTheirPlace(t *testing.T) {
	var stream bytes.Buffer
	sizes := []int{0, 1, 100, 16 << 10, 16<<10 - 1, 70_000, 5, 1 << 20, 3, 64 << 10}
	for i, n := range sizes {
		fmt.Fprintf(&stream, "$%d\r\n%s\r\n", n, bytes.Repeat([]byte{byte('a' + i)}, n))
	}
	for how, src := range map[string]io.Reader{
		"at once": bytes.NewReader(stream.Bytes()), "in halves": iotest.HalfReader(bytes.NewReader(stream.Bytes())),
	} {
		r := resp.NewReader(src)
		for i, want := range sizes {
			n, err := r.Bulk()
			if err != nil || n != want {
				t.Fatalf("%s: header %d is %d, %v", how, i, n, err)
			}
			// Exactly as long, or with room for the line end.
			dst := make([]byte, n+2*(i%2)+3)[:n]
			if i%3 == 0 {
				dst = make([]byte, n)
			}
			if err := r.Read(dst); err != nil {
				t.Fatalf("%s: value %d: %v", how, i, err)
			}
			if !bytes.Equal(dst, bytes.Repeat([]byte{byte('a' + i)}, n)) {
				t.Errorf("%s: value %d is not what was sent", how, i)
			}
		}
	}
}

func TestCommandsAreWhatTheReaderReads(t *testing.T) {
	client, server := pair(t)
	values := [][]byte{[]byte("small"), bytes.Repeat([]byte("x"), 100_000), {}, bytes.Repeat([]byte("y"), 8<<10)}
	got := make(chan any, 1)
	go func() {
		var all []any
		reader := resp.NewReader(server)
		for range 2 {
			v, err := reader.Reply(1 << 20)
			if err != nil {
				v = err
			}
			all = append(all, v)
		}
		got <- all
	}()
	want := []any{}
	for range 2 {
		client.Within(t.Context(), 5*time.Second)
		client.Begin(1 + len(values))
		client.Arg("MSET")
		command := []any{"MSET"}
		for _, v := range values {
			client.Value(v)
			command = append(command, string(v))
		}
		if client.Sent() {
			t.Error("it is sent before Flush")
		}
		if err := client.Flush(); err != nil || !client.Sent() {
			t.Fatalf("Flush: %v, sent %v", err, client.Sent())
		}
		want = append(want, command)
	}
	if all := <-got; !reflect.DeepEqual(all, want) {
		t.Errorf("the server read %.300v", all)
	}
}

func TestAPartOfACommandIsNotSent(t *testing.T) {
	client, server := pair(t)
	go func() {
		io.ReadFull(server, make([]byte, 1000))
		server.Close()
	}()
	end := client.Within(t.Context(), 5*time.Second)
	client.Begin(2)
	client.Arg("SET")
	client.Value(make([]byte, 64<<20))
	if err := client.Flush(); err == nil || client.Sent() {
		t.Errorf("Flush: %v, sent %v", err, client.Sent())
	}
	if !end() {
		t.Error("ctx has not ended")
	}
}

func TestWithinEndsWithItsContext(t *testing.T) {
	client, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	end := client.Within(ctx, time.Minute)
	time.AfterFunc(20*time.Millisecond, cancel)
	var timeout net.Error
	if _, err := client.Do("PING"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
	if end() {
		t.Error("end does not tell that ctx has ended")
	}
}

func TestAliveSeesTheOtherSideClose(t *testing.T) {
	client, server := pair(t)
	if !client.Alive() {
		t.Error("an open connection is not alive")
	}
	client.Deadline(time.Unix(1, 0)) // a deadline of the past does not matter
	if !client.Alive() {
		t.Error("an open connection is not alive after its deadline")
	}
	server.Write([]byte("+surprise\r\n"))
	server.Close()
	if client.Alive() {
		t.Error("a closed connection is alive")
	}
}

func TestRoles(t *testing.T) {
	for want, reply := range map[wire.Role]any{
		wire.RoleMaster: []any{"master", int64(1), []any{}}, wire.RoleReplica: []any{"slave", "h"},
		wire.RoleUnknown: []any{},
	} {
		if got := resp.Role(reply); got != want {
			t.Errorf("%v is %q", reply, got)
		}
	}
}

// pair is a connection over TCP: writev and peeking need a real socket.
func pair(t *testing.T) (*resp.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := resp.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "*2\r\n$1\r\nx\r\n:5\r\n", "$-1\r\n", "-ERR x\r\n", "*1000000\r\n", "$1000\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := resp.NewReader(bytes.NewReader(b)).Reply(1 << 10)
		slow, err2 := resp.NewReader(iotest.OneByteReader(bytes.NewReader(b))).Reply(1 << 10)
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(whole, slow) {
			t.Errorf("at once %v, %v; byte by byte %v, %v", whole, err, slow, err2)
		}
	})
}
