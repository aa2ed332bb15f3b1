package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client/objects"
	"github.com/framedb/framedb/client/wire"
)

// zeros is a database of objects that are all zeros: nothing of it is kept.
type zeros struct {
	objects.Backend
	stored chan int64
}

func (z zeros) Put(_ context.Context, key objects.Key, src *objects.Source, _ objects.PutOptions) (objects.Info, error) {
	n, err := io.Copy(io.Discard, src)
	if err != nil {
		return objects.Info{}, err
	}
	z.stored <- n
	return objects.Info{Key: key, Size: n, Sum: src.Sum()}, nil
}

func (z zeros) Open(context.Context, objects.Key) (objects.Object, error) {
	return &zeroObject{left: zeroSize}, nil
}

const zeroSize = 1 << 30

type zeroObject struct {
	objects.Object
	left int64
}

func (o *zeroObject) Info() objects.Info { return objects.Info{Key: "zeros", Size: zeroSize} }
func (o *zeroObject) Checked() bool      { return true }
func (o *zeroObject) Section(_, n int64) { o.left = n }
func (o *zeroObject) Close() error       { return nil }
func (o *zeroObject) Next(context.Context) ([]byte, error) {
	if o.left == 0 {
		return nil, io.EOF
	}
	n := min(o.left, 1<<20)
	o.left -= n
	return make([]byte, n), nil
}

func withZeros(t *testing.T, f func(t *testing.T, a *api, dial func() net.Conn, z zeros)) {
	synctest.Test(t, func(t *testing.T) {
		z := zeros{stored: make(chan int64, 1)}
		opened := &stores{by: map[wire.FrameDBID]*objects.Store{"zeros": objects.New(z)}}
		a := newAPI(t, func(cfg *httpapiConfig) { cfg.Objects = opened })
		l := newPipes()
		a.serve(l)
		f(t, a, l.dial, z)
	})
}

const zerosPath = "/v1/framedbs/zeros/objects/zeros HTTP/1.1\r\nHost: a\r\n"

// A sender who stands still is cut off after a minute and holds nothing any
// more, whatever it sent before. One who sends 64 KiB a second may go on for
// hours.
func TestUploadsHaveToMove(t *testing.T) {
	for _, q := range []struct {
		name  string
		fast  int64 // bytes at once
		every time.Duration
		piece int
		ends  time.Duration // 0: never
	}{
		{"stands still", 1, 0, 0, 60 * time.Second},
		{"stands still after much", 100 << 20, 0, 0, 60 * time.Second},
		{"a byte every ten seconds", 0, 10 * time.Second, 1, 60 * time.Second},
		{"half as fast as it should", 0, time.Second, 32 << 10, 2 * time.Minute},
		{"as fast as it should", 0, time.Second, 64 << 10, 0},
		{"in bursts", 0, 50 * time.Second, 4 << 20, 0},
	} {
		t.Run(q.name, func(t *testing.T) {
			withZeros(t, func(t *testing.T, a *api, dial func() net.Conn, z zeros) {
				c := dial()
				defer c.Close()
				answer := make(chan string, 1)
				go func() {
					b, _ := io.ReadAll(c)
					answer <- string(b)
				}()
				const whole = 128 << 20
				send(t, c, fmt.Sprintf("PUT %sContent-Length: %d\r\nConnection: close\r\n\r\n", zerosPath, int64(whole)))
				start := time.Now()
				sent, _ := c.Write(make([]byte, q.fast))
				for q.piece > 0 && sent < whole {
					time.Sleep(q.every) // of the bubble's clock
					n, err := c.Write(make([]byte, min(q.piece, whole-sent)))
					if sent += n; err != nil {
						break
					}
				}
				text := <-answer
				took := time.Since(start)
				if q.ends == 0 {
					if n := <-z.stored; n != whole || !strings.HasPrefix(text, "HTTP/1.1 20") || took < 20*time.Minute {
						t.Errorf("%d bytes stored after %v: %.80q", n, took, text)
					}
				} else if took < q.ends-11*time.Second || took > q.ends+11*time.Second || !strings.Contains(text, "stood still") {
					t.Errorf("cut off after %v, want %v: %.80q", took, q.ends, text)
				}
				synctest.Wait()
				if n := a.server.TransferMemory(); n != 0 {
					t.Errorf("%d bytes are held", n)
				}
			})
		})
	}
}

// The same for readers.
func TestDownloadsHaveToMove(t *testing.T) {
	for _, q := range []struct {
		name  string
		fast  int64
		every time.Duration
		piece int64
		ends  time.Duration
	}{
		{"stands still", 1, 0, 0, 61 * time.Second},
		{"stands still after much", 100 << 20, 0, 0, 61 * time.Second},
		{"as fast as it should", 0, 16 * time.Second, 1 << 20, 0},
	} {
		t.Run(q.name, func(t *testing.T) {
			withZeros(t, func(t *testing.T, a *api, dial func() net.Conn, _ zeros) {
				c := dial()
				defer c.Close()
				send(t, c, "GET "+zerosPath+"Connection: close\r\n\r\n")
				r := bufio.NewReader(c)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				taken, _ := io.CopyN(io.Discard, res.Body, q.fast)
				if q.piece == 0 {
					time.Sleep(q.ends) // of the bubble's clock
				}
				for q.piece > 0 && taken < zeroSize {
					time.Sleep(q.every)
					n, err := io.CopyN(io.Discard, res.Body, q.piece)
					if taken += n; err != nil {
						break
					}
				}
				synctest.Wait()
				if n := a.server.TransferMemory(); n != 0 {
					t.Errorf("%d bytes are held after %v", n, time.Since(start))
				}
				rest, err := io.Copy(io.Discard, res.Body)
				if whole := taken+rest == zeroSize && err == nil; whole != (q.ends == 0) {
					t.Errorf("%d bytes after %v, %v", taken+rest, time.Since(start), err)
				}
			})
		})
	}
}

// As many transfers pass at once as there is memory for; the next one is asked
// to come again.
func TestTransfersAreBounded(t *testing.T) {
	withZeros(t, func(t *testing.T, a *api, dial func() net.Conn, _ zeros) {
		var conns []net.Conn
		for range 16 {
			c := dial()
			conns = append(conns, c)
			send(t, c, "PUT "+zerosPath+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
		}
		synctest.Wait()
		for _, method := range []string{"PUT", "GET"} {
			r := a.do(method, "/v1/framedbs/zeros/objects/zeros", "")
			r.want(t, 429).refused(t, wire.CodeOverloaded, "")
			if r.header.Get("Retry-After") == "" {
				t.Errorf("%s: header %v", method, r.header)
			}
		}
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		if n := a.server.TransferMemory(); n != 0 {
			t.Errorf("%d bytes are held for those who have gone", n)
		}
		a.do("PUT", "/v1/framedbs/zeros/objects/zeros", "x").want(t, 201)
	})
}
