package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/framedb/framedb/client/wire"
)

const (
	// rejoinPause is how long to wait between asking to be taken up.
	rejoinPause = 500 * time.Millisecond
	// rejoinQuick is how many times that is done at rejoinPause: in the largest
	// cluster an agent is declared dead within about two minutes. After that
	// somebody else who lives has this name, and every rejoinSlow will do.
	rejoinQuick = 300
	rejoinSlow  = 30 * time.Second
	// rejoinAsked is how many are asked each time; they tell the others.
	rejoinAsked = 3
)

// takeUp hears whether those whom we join know this agent at its address. After
// a crash and a start at another address they hold the old one for its name
// until they have declared that one dead, and by themselves would not be told
// of the new one again for half a minute or more.
type takeUp struct {
	self    wire.NodeName
	members *members
	missed  chan struct{} // holds one: somebody has another address for us
}

var _ memberlist.MergeDelegate = (*takeUp)(nil)

// NotifyMerge gets what another agent knew just before it hears of us. It is
// called concurrently, never blocks, and agrees to every merge.
func (t *takeUp) NotifyMerge(peers []*memberlist.Node) error {
	own, ok := t.members.get(t.self)
	if !ok {
		return nil // this agent itself is only starting
	}
	for _, p := range peers {
		if p.Name == string(t.self) && addrOf(p) != own.Addr {
			select {
			case t.missed <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// rejoin tells some of those who are alive of us, again and again while somebody
// has another address for us. It runs until ctx ends.
func (c *Cluster) rejoin(ctx context.Context) {
	tries, last := 0, time.Time{}
	for {
		select {
		case <-c.takeUp.missed:
		case <-ctx.Done():
			return
		}
		if time.Since(last) > 2*rejoinSlow {
			tries = 0
		}
		pause := rejoinPause
		if tries++; tries > rejoinQuick {
			pause = rejoinSlow
			c.log.Warn("another live agent has this node's name: give each agent a name of its own", "node", c.takeUp.self)
		}
		if !sleep(ctx, pause) {
			return
		}
		last = time.Now()
		var asks sync.WaitGroup
		for _, addr := range c.members.some(rejoinAsked, c.takeUp.self, true) {
			asks.Go(func() {
				if err := c.exchange(addr); err != nil {
					c.log.Debug("cannot ask to be taken up", "error", err)
				}
			})
		}
		asks.Wait()
	}
}
