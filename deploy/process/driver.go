// Package process runs clusters as redis-server and redis-sentinel processes,
// and persistent FrameDBs as a database server, on this machine. The processes outlive the driver: the next one on the same
// directory takes them over. DESIGN.md tells how.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/framedb/framedb/client/sentinel"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// Driver runs clusters on this machine.
type Driver struct {
	cfg       Config
	log       *slog.Logger
	boot      string // this machine's boot ID
	sentinels *sentinel.Client
	ports     ports

	tags sync.Mutex // held while a tag's link changes

	mu     sync.Mutex
	turns  map[string]*turn // by directory
	closed bool
}

var _ deploy.Driver = (*Driver)(nil)

// New checks the configuration and reads which ports are in use. It starts
// nothing; what runs from before is found by the first Observe or Apply.
//
// Errors: ErrInvalidArgument and ErrUnavailable (no Redis) with the field,
// ErrDiskFull.
func New(cfg Config) (*Driver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		cfg:       cfg,
		log:       cfg.Logger,
		boot:      boot,
		sentinels: sentinel.New(sentinel.Config{Password: cfg.Password, Logger: cfg.Logger}),
		ports:     ports{owned: map[int]bool{}},
		turns:     map[string]*turn{},
	}
	if err := d.openDirs(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Driver) openDirs() error {
	if err := makeDir(d.cfg.Dir, 0o700); err != nil {
		return wire.InField("dir", err)
	}
	if err := makeDir(d.cfg.SocketDir, 0o755); err != nil {
		return wire.InField("socket_dir", err)
	}
	if err := sweepRemoved(d.cfg.Dir); err != nil {
		return err
	}
	procs, err := d.scan()
	if err != nil {
		return err
	}
	names, err := d.names(procs)
	if err != nil {
		return err
	}
	for _, name := range names {
		c, err := d.load(name, procs)
		if err != nil {
			return err
		}
		for _, m := range c.members {
			d.ports.own(m.file.RedisPort, m.file.SentinelPort)
		}
	}
	return d.openStorage()
}

// sweepRemoved deletes what a Remove that was cut off left.
func sweepRemoved(dir string) error {
	halfRemoved, err := filepath.Glob(filepath.Join(dir, removedPrefix+"*"))
	if err != nil {
		return err
	}
	for _, left := range halfRemoved {
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	return nil
}

// Name is "process".
func (d *Driver) Name() string { return "process" }

// NodeBound is true: processes and their files are on this machine.
func (d *Driver) NodeBound() bool { return true }

// Password is Config.Password.
func (d *Driver) Password() string { return d.cfg.Password }

// SocketDir is Config.SocketDir, absolute.
func (d *Driver) SocketDir() string { return d.cfg.SocketDir }

// names are those that have a directory that may be a cluster's, or a process;
// sorted.
func (d *Driver) names(procs table) ([]wire.ClusterName, error) {
	entries, err := os.ReadDir(d.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the clusters: %w", err)
	}
	var names []wire.ClusterName
	for _, e := range entries {
		if name := wire.ClusterName(e.Name()); e.IsDir() && name.Validate() == nil {
			names = append(names, name)
		}
	}
	for conf := range procs {
		names = append(names, wire.ClusterName(filepath.Base(filepath.Dir(filepath.Dir(conf)))))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// List implements deploy.Driver.
func (d *Driver) List(context.Context) ([]deploy.Found, error) {
	names, err := d.names(nil)
	if err != nil {
		return nil, err
	}
	var found []deploy.Found
	for _, name := range names {
		c := &cluster{name: name, dir: d.clusterDir(name)}
		if err := c.readSpec(); err != nil {
			return nil, err
		}
		if c.specced {
			found = append(found, deploy.Found{Name: name, Spec: c.spec})
		}
	}
	return found, nil
}

// Observe implements deploy.Driver.
func (d *Driver) Observe(ctx context.Context, name wire.ClusterName) (deploy.Deployment, error) {
	t, err := d.take(ctx, name)
	if err != nil {
		return deploy.Deployment{}, err
	}
	defer d.give(t)
	c, err := d.see(name)
	if err != nil || !c.exists() {
		return deploy.Deployment{}, err
	}
	deployment := deploy.Deployment{Exists: true, FilesLost: !c.complete()}
	for _, m := range c.members {
		redis, err := d.observe(t, c, m.redis(d))
		if err != nil {
			return deploy.Deployment{}, err
		}
		beside, err := d.observe(t, c, m.sentinel())
		if err != nil {
			return deploy.Deployment{}, err
		}
		deployment.Members = append(deployment.Members, deploy.Member{
			ID: m.id, Ordinal: m.ordinal, Node: d.cfg.Node, Redis: redis, Sentinel: beside,
		})
	}
	return deployment, nil
}

// see loads a cluster, with the process table where its files do not tell all.
func (d *Driver) see(name wire.ClusterName) (*cluster, error) {
	c, err := d.load(name, nil)
	if err != nil || c.complete() {
		return c, err
	}
	procs, err := d.scan()
	if err != nil {
		return nil, err
	}
	return d.load(name, procs)
}

func (d *Driver) observe(t *turn, c *cluster, s server) (deploy.Process, error) {
	id, running, err := d.look(t, s)
	if err != nil {
		return deploy.Process{}, err
	}
	p := deploy.Process{Running: running, Host: s.Host, Port: s.Port, Socket: s.socket, Reason: t.reasons[s.conf()]}
	if !running && p.Reason == "" {
		p.Reason = "does not run, see " + s.log()
	}
	if running && s.kind == redisServer {
		miss(&p, s, id, c.spec.Backup)
	}
	return p, nil
}

// look is find, and remembers how a server ended.
func (d *Driver) look(t *turn, s server) (id identity, running bool, err error) {
	id, running, why, err := d.find(s)
	if why != "" {
		d.log.Warn("a server ended", "kind", s.kind, "address", address(s.Endpoint), "why", why, "log", s.log())
		t.reasons[s.conf()] = why
	}
	return id, running, err
}
