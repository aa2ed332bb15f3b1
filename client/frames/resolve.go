package frames

import (
	"context"
	"os"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// resolveTimeout bounds one search for the master: the Sentinels may take two
// seconds when they disagree, then come two dials.
const resolveTimeout = 4 * time.Second

// lastWords is the time that a former master has to answer what it was asked: a
// refusal is worth more than not to know. One that hangs holds up its callers
// for that long.
const lastWords = 500 * time.Millisecond

// master returns the link to the master, looking for it when it is not known.
// One caller looks, the others wait for what it finds.
func (c *Cluster) master(ctx context.Context) (*link, error) {
	if l, err := c.known(); l != nil || err != nil {
		return l, err
	}
	select {
	case <-c.resolving:
		defer func() { c.resolving <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l, err := c.known(); l != nil || err != nil {
		return l, err
	}
	l, err := c.find(ctx)
	if err != nil {
		return nil, err
	}
	c.log.Debug("found the master", "master", l.master, "socket", l.socket)
	return l, c.adopt(l)
}

// known returns the link there is, or nil.
func (c *Cluster) known() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, wire.Errorf(wire.CodeUnavailable, "the connection to cluster %q is closed", c.name)
	}
	return c.link, nil
}

func (c *Cluster) adopt(l *link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		l.close(true)
		return errClosed
	}
	c.link = l
	c.startWatchLocked()
	return nil
}

// drop gives a link up, if it is still the one in use. Calls that use it go on.
func (c *Cluster) drop(l *link) {
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()
	l.close(false)
}

// find asks the Sentinels, connects over TCP to learn which process the master
// is, and changes to the unix socket when that leads to the same one.
func (c *Cluster) find(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	c.mu.Lock()
	members := c.members
	c.mu.Unlock()
	master, err := c.cfg.Sentinels.Master(ctx, sentinelsOf(members))
	if err != nil {
		return nil, err
	}
	l := newLink(master, "", c.cfg.Password, c.cfg.PoolSize)
	first, runID, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	if local := c.local(ctx, master, runID, members); local != nil {
		first.Close()
		return local, nil
	}
	l.runID = runID
	l.idle = append(l.idle, first)
	return l, nil
}

// local returns the link through the master's unix socket, or nil.
func (c *Cluster) local(ctx context.Context, master wire.Endpoint, runID string, members []wire.Instance) *link {
	for _, m := range members {
		if m.Host != master.Host || m.Port != master.Port || m.Socket == "" {
			continue
		}
		if _, err := os.Stat(m.Socket); err != nil {
			return nil // another machine
		}
		l := newLink(master, m.Socket, c.cfg.Password, c.cfg.PoolSize)
		cn, there, err := l.dial(ctx)
		if err == nil && there != runID {
			cn.Close()
			err = errNotMaster
		}
		if err != nil {
			c.log.Info("the unix socket is not used", "socket", m.Socket, "err", err)
			return nil
		}
		l.runID = runID
		l.idle = append(l.idle, cn)
		return l
	}
	return nil
}

// watch follows the Sentinels, so that calls move to a new master before the
// old one fails them.
type watch struct {
	sentinels []wire.Endpoint
	stop      context.CancelFunc
}

func (c *Cluster) startWatchLocked() {
	if c.watch != nil || c.closed {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	sentinels := sentinelsOf(c.members)
	c.watch = &watch{sentinels: sentinels, stop: stop}
	changed := make(chan struct{}, 1)
	c.watchers.Go(func() {
		c.cfg.Sentinels.Watch(ctx, sentinels, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	})
	c.watchers.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				c.verify(ctx, sentinels)
			}
		}
	})
}

// verify gives the link up when the Sentinels name another master. When they
// cannot be asked, nothing is known to be wrong.
func (c *Cluster) verify(ctx context.Context, sentinels []wire.Endpoint) {
	pause := newPause()
	for deadline := time.Now().Add(c.cfg.RetryFor); ; {
		master, err := c.cfg.Sentinels.Master(ctx, sentinels)
		if l, _ := c.known(); err == nil && l != nil && l.master != master {
			c.log.Info("the master has changed", "from", l.master, "to", master)
			c.drop(l)
			sleep(ctx, lastWords)
			l.close(true)
		}
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return
		}
		if sleep(ctx, pause.NextBackOff()) != nil {
			return
		}
	}
}
