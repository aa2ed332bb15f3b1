package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

func TestWritesGoOutInOrderAndTogether(t *testing.T) {
	near, far := net.Pipe() // a write waits for its reader
	c := coalesce(near)
	var want []byte
	for i := range 1000 {
		b := bytes.Repeat([]byte{byte(i)}, i%7+1)
		want = append(want, b...)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	reads, got, buf := 0, []byte(nil), make([]byte, 1<<16)
	for {
		n, err := far.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
		reads++
	}
	if err := <-closed; err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(want), err)
	}
	if reads > 10 {
		t.Errorf("they came in %d pieces", reads)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write behind the end: %v", err)
	}
}

func TestAWriteThatFailsIsSaidByTheNext(t *testing.T) {
	near, far := net.Pipe()
	c := coalesce(near)
	defer c.Close()
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = c.Write(make([]byte, maxWaiting/2)) // waits when there is too much
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
