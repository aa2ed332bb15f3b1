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
	"strings"
	"syscall"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

// The files of a cluster, below Dir:
//
//	<cluster>/spec.json            the spec of the last Apply
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

// cluster is one cluster as its files and its processes show it.
type cluster struct {
	name    wire.ClusterName
	dir     string
	specced bool // it has a spec; else spec is zero
	spec    wire.ClusterSpec
	marked  bool      // the file "born" is there
	members []*member // by ordinal
}

// exists says that there is something of the cluster.
func (c *cluster) exists() bool { return c.specced || len(c.members) > 0 }

// born says that a Redis of it may have run. A cluster of which no member is
// left has nothing to lose, whatever the mark says.
func (c *cluster) born() bool {
	ran := func(m *member) bool { return m.file.Started || m.lost || len(m.found) > 0 }
	return len(c.members) > 0 && (c.marked || slices.ContainsFunc(c.members, ran))
}

// complete says that all files are there by which the next driver finds what
// runs, and starts what does not.
func (c *cluster) complete() bool {
	whole := func(ordinal int) bool { m := c.member(ordinal); return m != nil && m.whole() }
	for ordinal := range c.spec.Replicas {
		if !whole(ordinal) {
			return false
		}
	}
	return c.specced && c.marked && !slices.ContainsFunc(c.members, func(m *member) bool { return !m.whole() })
}

type member struct {
	id      wire.FrameDBID
	ordinal int
	dir     string
	file    memberFile
	lost    bool            // its file was gone, and was put together anew
	found   map[kind][]proc // what runs from its directory, if that was looked for
}

// whole says that its ports, its processes and what its Sentinel knows are
// noted.
func (m *member) whole() bool {
	_, knows, err := readKnowledge(m.sentinel().conf())
	return !m.lost && err == nil && knows && m.sentinel().noted() && m.server(redisServer).noted()
}

func (m *member) redis(d *Driver) server {
	s := m.server(redisServer)
	s.socket = d.socketPath(m.id)
	return s
}

func (m *member) sentinel() server { return m.server(sentinelServer) }

func (m *member) server(kind kind) server {
	port := m.file.RedisPort
	if kind == sentinelServer {
		port = m.file.SentinelPort
	}
	return server{kind: kind, dir: m.dir, Endpoint: wire.Endpoint{Host: m.file.Host, Port: port}, found: m.found[kind]}
}

func (d *Driver) clusterDir(name wire.ClusterName) string {
	return filepath.Join(d.cfg.Dir, string(name))
}

func (d *Driver) socketPath(id wire.FrameDBID) string {
	return sockets.Path(d.cfg.SocketDir, id)
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

// load reads what there is of a cluster; nothing is no error. With the process
// table it also finds members that have lost their files and run.
func (d *Driver) load(name wire.ClusterName, procs table) (*cluster, error) {
	c := &cluster{name: name, dir: d.clusterDir(name)}
	if err := c.readSpec(); err != nil {
		return nil, err
	}
	ordinals, err := c.ordinals(procs)
	if err != nil {
		return nil, err
	}
	for _, ordinal := range ordinals {
		m := &member{id: name.Member(ordinal), ordinal: ordinal, dir: c.memberDir(ordinal)}
		known, err := m.read(procs)
		if err != nil {
			return nil, err
		}
		if known {
			c.insert(m)
		}
	}
	return c, nil
}

// readSpec reads the spec and the mark. A damaged spec counts as none: the next
// Apply brings another.
func (c *cluster) readSpec() error {
	switch err := readJSON(filepath.Join(c.dir, specName), &c.spec); {
	case err == nil:
		c.specced = true
	case isLost(err):
		c.spec = wire.ClusterSpec{}
	default:
		return err
	}
	_, err := os.Stat(filepath.Join(c.dir, bornName))
	c.marked = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at cluster %s: %w", c.name, err)
	}
	return nil
}

// ordinals are those that have a directory or a process.
func (c *cluster) ordinals(procs table) ([]int, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at cluster %s: %w", c.name, err)
	}
	var all []int
	for _, e := range entries {
		if ordinal, ok := parseOrdinal(e.Name()); ok {
			all = append(all, ordinal)
		}
	}
	for conf := range procs {
		dir := filepath.Dir(conf)
		if ordinal, ok := parseOrdinal(filepath.Base(dir)); ok && dir == c.memberDir(ordinal) {
			all = append(all, ordinal)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func parseOrdinal(name string) (ordinal int, ok bool) {
	ordinal, err := strconv.Atoi(name)
	return ordinal, err == nil && ordinal >= 0 && strconv.Itoa(ordinal) == name
}

// read reads the member's ports. Where their file is lost they are learnt from
// what runs, or else from what it was last started with. A directory without
// any of that never ran anything: known is false.
func (m *member) read(procs table) (known bool, err error) {
	m.found = map[kind][]proc{}
	for _, k := range []kind{redisServer, sentinelServer} {
		if found := procs[m.server(k).conf()]; len(found) > 0 {
			m.found[k] = found
		}
	}
	err = readJSON(filepath.Join(m.dir, memberName), &m.file)
	if err == nil {
		return true, nil
	}
	if !isLost(err) {
		return false, err
	}
	m.lost = true
	redis, sentinel := m.server(redisServer).lastAddress(), m.sentinel().lastAddress()
	m.file = memberFile{
		Host: orElse(redis.Host, sentinel.Host), RedisPort: redis.Port, SentinelPort: sentinel.Port,
		Started: redis.Port != 0 && sentinel.Port != 0,
	}
	return m.file.Host != "", nil
}

// lastAddress is where the server listens, or did when it last ran; zero when
// nothing tells.
func (s server) lastAddress() wire.Endpoint {
	if len(s.found) > 0 {
		return s.found[0].Endpoint
	}
	var e wire.Endpoint
	conf, _ := os.ReadFile(s.conf()) // if it cannot be read it tells nothing
	for line := range strings.Lines(string(conf)) {
		switch words := strings.Fields(line); {
		case len(words) != 2:
		case words[0] == "bind":
			e.Host = strings.Trim(words[1], `"`)
		case words[0] == "port":
			e.Port, _ = strconv.Atoi(words[1])
		}
	}
	if e.Host == "" || e.Port == 0 {
		return wire.Endpoint{}
	}
	return e
}

var errDamaged = errors.New("is damaged")

// isLost tells of a file that is not there, or whose content is none.
func isLost(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) }

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s %w: %w", path, errDamaged, err)
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
