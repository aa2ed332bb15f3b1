package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// contactTimeout bounds finding out that an agent is not there, be it that
	// its packets vanish or that it is frozen.
	contactTimeout = time.Second
	// stagger is how long the agents asked so far may keep the next ones from
	// being asked: far longer than an answer takes in one data centre.
	stagger = 150 * time.Millisecond
	// patience is how long a call waits before its agent is asked for a sign of
	// life. With stagger it bounds what an agent that freezes costs a call.
	patience = 400 * time.Millisecond
	// watchPatience is the same for a watch, which is silent most of the time.
	watchPatience = 5 * time.Second
)

// errSilent ends a request to an agent that gives no sign of life.
var errSilent = errors.New("the agent is silent, another one answers")

// contact is one search for an agent that is ready. The first way is asked at
// once, the next when one has failed, and as many as before again whenever none
// has answered for a stagger: 60 dead ones in front of a good one cost less than a second.
type contact struct {
	ways    []*agent // not asked yet
	pending map[*agent]time.Time
	results chan answer
	work    sync.WaitGroup

	ready *agent   // the first that was ready
	alive []*agent // those that answered
	dead  []*agent // those that did not, though they had the time
	err   error    // of the first that was not ready
}

type answer struct {
	from *agent
	err  error
}

// search returns when a way is ready, or all have answered or failed; ctx
// bounds it. The ways that were asked in vain are asked no more when it returns.
func search(ctx context.Context, ways []*agent) *contact {
	ctx, cancel := context.WithCancel(ctx)
	c := &contact{ways: ways, pending: map[*agent]time.Time{}, results: make(chan answer, len(ways))}
	defer c.work.Wait()
	defer cancel()
	next := time.NewTicker(stagger)
	defer next.Stop()
	for c.ask(ctx, 1); c.ready == nil && len(c.pending) > 0 && ctx.Err() == nil; {
		select {
		case a := <-c.results:
			if c.take(a); a.err != nil {
				c.ask(ctx, 1)
			}
		case <-next.C:
			c.ask(ctx, len(ways)-len(c.ways))
		case <-ctx.Done():
		}
	}
	if c.ready == nil && c.err == nil {
		c.err = &transportError{addr: ways[0].addr, err: ctx.Err()}
	}
	for w, since := range c.pending {
		if time.Since(since) >= stagger {
			c.dead = append(c.dead, w)
		}
	}
	return c
}

func (c *contact) ask(ctx context.Context, n int) {
	for range min(n, len(c.ways)) {
		w := c.ways[0]
		c.ways = c.ways[1:]
		c.pending[w] = time.Now()
		c.work.Go(func() { c.results <- answer{w, w.ready(ctx)} })
	}
}

func (c *contact) take(a answer) {
	delete(c.pending, a.from)
	if a.err == nil {
		c.ready = a.from
	} else if c.err == nil {
		c.err = a.err
	}
	if isTransport(a.err) {
		c.dead = append(c.dead, a.from)
	} else {
		c.alive = append(c.alive, a.from)
	}
}

// guard returns a context that ends, with errSilent, once the agent gives no
// sign of life while another one does; it looks each period. A wait on purpose
// goes on as long as the agent is there. release ends the guard.
func (a *agents) guard(ctx context.Context, w *agent, period time.Duration) (guarded context.Context, release func()) {
	guarded, cancel := context.WithCancelCause(ctx)
	var look sync.WaitGroup
	look.Go(func() {
		for sleep(guarded, period) {
			if !a.lives(guarded, w) {
				cancel(errSilent)
			}
		}
	})
	return guarded, func() {
		cancel(nil)
		look.Wait()
	}
}

// lives asks the agent for a sign of life and, after a stagger, the others. It
// is false only when one of them is ready before the agent has answered
// anything: where nobody else is, there is no use in leaving.
// Calls that wait at the same time share what one of them finds.
func (a *agents) lives(ctx context.Context, w *agent) bool {
	if a.take(ctx) != nil {
		return true
	}
	defer a.unlock()
	begin := time.Now()
	switch {
	case begin.Sub(w.silent) < patience:
		return false
	case begin.Sub(w.heard) < patience/2:
		return true
	}
	others := slices.DeleteFunc(a.ways(), func(o *agent) bool { return o == w || o.node != "" && o.node == w.node })
	if len(others) == 0 {
		return true
	}
	found := a.contact(ctx, append([]*agent{w}, others...))
	if found.ready == nil || !w.heard.Before(begin) {
		return true
	}
	w.silent = time.Now()
	a.markNode(w)
	if a.use == w {
		a.use, a.due = found.ready, time.Time{}
	}
	return false
}
