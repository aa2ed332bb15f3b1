package routing

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
)

// Pauses between attempts to send.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
	// reconnectAfter is when the present entries are sent a second time after a
	// failover: Sentinel has the new master end its subscriptions, and writers
	// need a moment to come back.
	reconnectAfter = 5 * time.Second
)

// Config says for which cluster a publisher works.
type Config struct {
	// Context ends all sending; Jobs counts the sending that is under way.
	Context context.Context
	Jobs    *sync.WaitGroup

	Cluster   wire.ClusterName
	Namespace string
	Store     Store
	Outbox    *Outbox
	// Redis gives the client of one member.
	Redis  func(wire.Endpoint) *redis.Client
	Logger *slog.Logger
	// Sent is called with the number of messages that were sent.
	Sent func(n int)
}

// Master tells a publisher where the cluster's master is now.
type Master struct{ wire.Endpoint }

type (
	work  struct{} // the outbox has something
	retry struct{} // the pause is over
	done  struct { // one run of the sender ended
		by  *Publisher
		err error
		// crash is what it panicked with, if it did.
		crash any
	}
)

// Messages to an actor that has ended are no news.
func (work) IgnoreDeadLetterLogging()   {}
func (retry) IgnoreDeadLetterLogging()  {}
func (done) IgnoreDeadLetterLogging()   {}
func (Master) IgnoreDeadLetterLogging() {}

// Publisher is the actor that sends what is in the outbox to the master. It
// keeps nothing that matters: the outbox outlives it.
type Publisher struct {
	cfg    Config
	sender sender

	ctx     context.Context
	cancel  context.CancelFunc
	master  wire.Endpoint // zero until it is known
	running bool
	again   bool
	timer   *time.Timer // of the pause after a failure
	repeat  *time.Timer // of the second refresh after a failover
	pause   *backoff.ExponentialBackOff
}

// NewPublisher makes the actor; Started starts it.
func NewPublisher(cfg Config) *Publisher {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, maxPause
	return &Publisher{
		cfg: cfg, pause: pause,
		sender: sender{cluster: cfg.Cluster, namespace: cfg.Namespace, store: cfg.Store, box: cfg.Outbox},
	}
}

// Receive never blocks: sending happens in a goroutine, one at a time.
func (p *Publisher) Receive(c actor.Context) {
	switch msg := c.Message().(type) {
	case *actor.Started:
		p.start(c)
	case *actor.Stopping, *actor.Restarting:
		p.stop()
	case Master:
		p.follow(c, msg.Endpoint)
	case work:
		p.cfg.Outbox.heard()
		p.send(c)
	case retry:
		p.send(c)
	case done:
		p.finish(c, msg)
	}
}

func (p *Publisher) start(c actor.Context) {
	p.ctx, p.cancel = context.WithCancel(p.cfg.Context)
	root, self := c.ActorSystem().Root, c.Self()
	p.cfg.Outbox.OnWork(func() { root.Send(self, work{}) })
}

func (p *Publisher) stop() {
	p.cfg.Outbox.OnWork(nil)
	p.cancel()
	stopTimer(p.timer)
	stopTimer(p.repeat)
}

// follow sends the present entries to a new master; the first one may be new
// only to us.
func (p *Publisher) follow(c actor.Context, master wire.Endpoint) {
	if p.master == master {
		return
	}
	if p.master.Port != 0 {
		stopTimer(p.repeat)
		p.repeat = time.AfterFunc(reconnectAfter, p.cfg.Outbox.Refresh)
	}
	p.master = master
	p.cfg.Outbox.Refresh()
	p.send(c)
}

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

func (p *Publisher) send(c actor.Context) {
	if p.running {
		p.again = true
		return
	}
	if p.master.Port == 0 || p.cfg.Outbox.idle() {
		return
	}
	p.running, p.again = true, false
	root, self, rdb := c.ActorSystem().Root, c.Self(), p.cfg.Redis(p.master)
	p.cfg.Jobs.Go(func() {
		end := done{by: p}
		defer func() {
			end.crash = recover()
			root.Send(self, end)
		}()
		n, err := p.sender.run(p.ctx, rdb)
		p.cfg.Sent(n)
		end.err = err
	})
}

func (p *Publisher) finish(c actor.Context, end done) {
	if end.by != p {
		return // of a former incarnation
	}
	p.running = false
	switch {
	case end.crash != nil:
		panic(end.crash)
	case end.err != nil && p.ctx.Err() == nil:
		p.cfg.Logger.Warn("routing changes could not be sent, will retry", "cluster", p.cfg.Cluster, "err", end.err)
		root, self := c.ActorSystem().Root, c.Self()
		p.timer = time.AfterFunc(p.pause.NextBackOff(), func() { root.Send(self, retry{}) })
	default:
		p.pause.Reset()
		if p.again {
			p.send(c)
		}
	}
}
