package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/framedb/framedb/client/wire"
)

// The files of a cluster, below Dir:
//
//	<cluster>/spec.json            the spec of the last Apply; its presence makes the cluster exist
//	<cluster>/born                 present once a Redis of it may have been started
//	<cluster>/<ordinal>/ports.json memberFile
//	<cluster>/<ordinal>/redis.conf, redis.log, redis.pid, appendonlydir/
//	<cluster>/<ordinal>/sentinel.conf, sentinel.log, sentinel.pid
//	.removed-*                     what a Remove is deleting
const (
	specName      = "spec.json"
	bornName      = "born"
	memberName    = "ports.json"
	removedPrefix = ".removed-"
)

// memberFile is what a member keeps for life.
type memberFile struct {
	Host         string `json:"host"`
	RedisPort    int    `json:"redis_port"`
	SentinelPort int    `json:"sentinel_port"`
	// Started says that the member ran once, so others know its address.
	Started bool `json:"started"`
}

// cluster is one cluster as its files show it.
type cluster struct {
	name    wire.ClusterName
	dir     string
	exists  bool // it has a spec
	spec    wire.ClusterSpec
	born    bool
	members []*member // by ordinal
}

type member struct {
	id      wire.FrameDBID
	ordinal int
	dir     string
	file    memberFile
}

func (m *member) redis(d *Driver) server {
	return server{kind: redisServer, dir: m.dir, Endpoint: wire.Endpoint{Host: m.file.Host, Port: m.file.RedisPort}, socket: d.socketPath(m.id)}
}

func (m *member) sentinel() server {
	return server{kind: sentinelServer, dir: m.dir, Endpoint: wire.Endpoint{Host: m.file.Host, Port: m.file.SentinelPort}}
}

func (d *Driver) clusterDir(name wire.ClusterName) string {
	return filepath.Join(d.cfg.Dir, string(name))
}

func (d *Driver) socketPath(id wire.FrameDBID) string {
	return filepath.Join(d.cfg.SocketDir, string(id)+".sock")
}

func (c *cluster) memberDir(ordinal int) string { return filepath.Join(c.dir, strconv.Itoa(ordinal)) }

func (c *cluster) member(ordinal int) *member {
	for _, m := range c.members {
		if m.ordinal == ordinal {
			return m
		}
	}
	return nil
}

func (c *cluster) insert(m *member) {
	c.members = append(c.members, m)
	slices.SortFunc(c.members, func(a, b *member) int { return a.ordinal - b.ordinal })
}

// memberOf is the member that a server belongs to.
func (c *cluster) memberOf(s server) *member {
	for _, m := range c.members {
		if m.dir == s.dir {
			return m
		}
	}
	return nil
}

// load reads what there is of a cluster; nothing is no error.
func (d *Driver) load(name wire.ClusterName) (*cluster, error) {
	c := &cluster{name: name, dir: d.clusterDir(name)}
	err := readJSON(filepath.Join(c.dir, specName), &c.spec)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	c.exists = true
	if _, err := os.Stat(filepath.Join(c.dir, bornName)); err == nil {
		c.born = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	for _, e := range entries {
		ordinal, err := strconv.Atoi(e.Name())
		if err != nil || ordinal < 0 || strconv.Itoa(ordinal) != e.Name() {
			continue
		}
		m := &member{id: name.Member(ordinal), ordinal: ordinal, dir: c.memberDir(ordinal)}
		err = readJSON(filepath.Join(m.dir, memberName), &m.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a directory without ports never ran anything
		}
		if err != nil {
			return nil, err
		}
		c.insert(m)
	}
	return c, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces a file in one step, on disk before it returns. Mode 0600:
// the files hold the password or are nobody else's business. Callers hold the
// cluster, so that the name of the new file is theirs.
func writeFile(path string, content []byte) error {
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError(path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		os.Remove(fresh)
		return fileError(path, err)
	}
	return nil
}

func makeDir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return fileError(path, err)
	}
	return nil
}

// fileError gives a failed write its meaning for people.
func fileError(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", wire.Errorf(wire.CodeDiskFull,
			"no space is left at %s: free some there or choose another data directory", filepath.Dir(path)), err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}
