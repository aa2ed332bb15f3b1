package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// etcd is a cluster of etcd members of our own, fsync on, as etcd ships.
type etcd struct {
	dir     string
	members []*exec.Cmd
	clients []string // host:port of each member
}

// Ports of member i, on 127.0.0.i.
const (
	etcdClientPort = 15379
	etcdPeerPort   = 15380
)

// errNoEtcd says that there is nothing to compare with.
var errNoEtcd = errors.New("etcd is not in PATH and not in bin: deploy/dev/setup-bench.sh installs it")

func etcdBinary() (string, error) {
	for _, name := range []string{"etcd", "bin/etcd"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errNoEtcd
}

func startEtcd(ctx context.Context, n int) (*etcd, error) {
	binary, err := etcdBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "etcdb")
	if err != nil {
		return nil, err
	}
	e := &etcd{dir: dir}
	var all []string
	for i := 1; i <= n; i++ {
		all = append(all, fmt.Sprintf("m%d=http://127.0.0.%d:%d", i, i, etcdPeerPort))
		e.clients = append(e.clients, fmt.Sprintf("127.0.0.%d:%d", i, etcdClientPort))
	}
	for i := 1; i <= n; i++ {
		client, peer := "http://"+e.clients[i-1], fmt.Sprintf("http://127.0.0.%d:%d", i, etcdPeerPort)
		cmd := exec.Command(binary, "--name", fmt.Sprint("m", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)), "--log-level", "error",
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--initial-cluster", strings.Join(all, ","), "--initial-cluster-token", filepath.Base(dir))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, e.remove())
		}
		e.members = append(e.members, cmd)
	}
	return e, e.waitReady(ctx)
}

func (e *etcd) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, addr := range e.clients {
		for {
			c, err := dialEtcd(ctx, addr)
			if err == nil {
				err = c.put([]byte("ready"), nil)
				c.conn.Close()
			}
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("etcd at %s: %w", addr, err), e.remove())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

func (e *etcd) pids() (all []int) {
	for _, cmd := range e.members {
		all = append(all, cmd.Process.Pid)
	}
	return all
}

func (e *etcd) remove() error {
	for _, cmd := range e.members {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return os.RemoveAll(e.dir)
}

// etcdConn puts keys by etcd's gRPC API over one HTTP/2 connection, one call at
// a time. It does no more than it must, like rawHTTP: a gRPC library in the
// generator would take from etcd what the two cores have.
type etcdConn struct {
	conn   net.Conn
	framer *http2.Framer
	header []byte // of every call, the same: nothing of it is indexed
	stream uint32
}

func dialEtcd(ctx context.Context, addr string) (*etcdConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &etcdConn{conn: conn, framer: http2.NewFramer(conn, conn), stream: 1, header: etcdHeader(addr)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	err = errors.Join(c.framer.WriteSettings(), c.framer.WriteWindowUpdate(0, 1<<30))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func etcdHeader(addr string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/etcdserverpb.KV/Put"}, {":authority", addr},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // to memory
	}
	return b.Bytes()
}

// put is one acknowledged write.
func (c *etcdConn) put(key, value []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	id := c.stream
	c.stream += 2
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.header, EndHeaders: true})
	if err == nil {
		err = c.framer.WriteData(id, true, putRequest(key, value))
	}
	for err == nil {
		var done bool
		if done, err = c.read(id); done {
			return err
		}
	}
	return err
}

// read handles one frame and reports whether the call has ended.
func (c *etcdConn) read(id uint32) (done bool, err error) {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return true, err
	}
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return false, c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return true, fmt.Errorf("etcd goes away: %v", f.ErrCode)
	case *http2.RSTStreamFrame:
		return true, fmt.Errorf("etcd resets the call: %v", f.ErrCode)
	case *http2.MetaHeadersFrame:
		if f.StreamID != id || !f.StreamEnded() {
			return false, nil
		}
		for _, h := range f.Fields {
			if h.Name == "grpc-status" && h.Value != "0" {
				return true, fmt.Errorf("etcd says %s", h.Value)
			}
		}
		return true, nil
	}
	return false, nil
}

// putRequest is a gRPC message of etcdserverpb.PutRequest: key is field 1,
// value field 2.
func putRequest(key, value []byte) []byte {
	body := make([]byte, 5, len(key)+len(value)+16)
	for i, field := range [][]byte{key, value} {
		body = append(body, byte(i+1)<<3|2)
		body = append(binary.AppendUvarint(body, uint64(len(field))), field...)
	}
	binary.BigEndian.PutUint32(body[1:], uint32(len(body)-5))
	return body
}
