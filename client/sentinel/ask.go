package sentinel

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/framedb/framedb/client/internal/resp"
	"github.com/framedb/framedb/client/wire"
)

// maxText bounds one string in a Sentinel's answer, in bytes.
const maxText = 64 << 10

// Report is what one Sentinel says; Err says that it could not be asked.
type Report struct {
	Sentinel wire.Endpoint
	Err      error
	Master   wire.Endpoint
	Epoch    uint64 // config-epoch of the master
	Quorum   int
	Flags    string // of the master: "master", "master,s_down,o_down", …
	Others   int    // other Sentinels it knows
	Replicas []Replica
	// The Sentinel's settings for the master, the first two in milliseconds.
	DownAfter       int64
	FailoverTimeout int64
	ParallelSyncs   int
	// InfoPeriod is how often it reads INFO of master and replicas, in
	// milliseconds; 0 when it is too old to say. Only Ask asks for it.
	InfoPeriod int64
}

// Replica is a replica as a Sentinel knows it.
type Replica struct {
	wire.Endpoint
	Down  bool // s_down, o_down or disconnected
	Flags string
	// Priority and Offset are the replica's replica-priority and replication
	// offset as the Sentinel last read them, up to InfoPeriod ago. By them it
	// chooses the next master: lowest priority first, but 0 never, then highest
	// offset.
	Priority int
	Offset   int64
}

// Ask asks every Sentinel at once for all that it knows; the reports are in
// the order of the endpoints. It returns when all answered or failed, after a
// second at most. A Sentinel that does not know the master has Err
// ErrNotFound, one that does not answer ErrUnavailable.
func (c *Client) Ask(ctx context.Context, sentinels []wire.Endpoint) []Report {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	byServer := map[wire.Endpoint]Report{}
	for _, r := range c.poll(ctx, sentinels, true).rest() {
		byServer[r.Sentinel] = r
	}
	reports := make([]Report, len(sentinels))
	for i, s := range sentinels {
		r, answered := byServer[s]
		if !answered {
			r = Report{Sentinel: s, Err: unavailable("ask the Sentinel at "+addr(s), ctx.Err())}
		}
		reports[i] = r
	}
	return reports
}

// poll is one question to several Sentinels.
type poll struct {
	ctx     context.Context
	total   int
	left    int // not heard of yet
	answers chan Report
}

// poll asks all Sentinels. A question ends with ctx or after stepTimeout twice
// (dial, answer), whoever still waits for it; Close waits for its goroutine.
func (c *Client) poll(ctx context.Context, sentinels []wire.Endpoint, replicas bool) *poll {
	p := &poll{ctx: ctx, total: len(sentinels), left: len(sentinels), answers: make(chan Report, len(sentinels))}
	for _, s := range sentinels {
		cn, done, err := c.conns.hold(s)
		if err != nil {
			p.answers <- Report{Sentinel: s, Err: err}
			continue
		}
		go func() {
			defer done()
			p.answers <- askOne(ctx, cn, replicas)
		}()
	}
	return p
}

func (p *poll) outstanding() bool { return p.left > 0 && p.ctx.Err() == nil }

// majority waits until more than half of the Sentinels answered or nobody is
// left; with too many silent, until a moment after the first answer.
func (p *poll) majority() []Report {
	var reports []Report
	var late <-chan time.Time
	for good := 0; p.left > 0 && good <= p.total/2; {
		select {
		case r := <-p.answers:
			p.left--
			reports = append(reports, r)
			if r.Err == nil {
				good++
				if late == nil {
					late = time.After(grace)
				}
			}
		case <-late:
			return reports
		case <-p.ctx.Done():
			return append(reports, Report{Err: unavailable("ask the Sentinels", p.ctx.Err())})
		}
	}
	return reports
}

// rest waits for everyone, as long as ctx allows.
func (p *poll) rest() []Report {
	var reports []Report
	for p.left > 0 {
		select {
		case r := <-p.answers:
			p.left--
			reports = append(reports, r)
		case <-p.ctx.Done():
			return reports
		}
	}
	return reports
}

func askOne(ctx context.Context, cn *conn, replicas bool) Report {
	r := Report{Sentinel: cn.server}
	var address, master, list, timers any
	err := cn.use(ctx, func(c *resp.Conn) error {
		// The address is asked for by itself: in the middle of a failover
		// SENTINEL MASTER shows the old one with the new epoch.
		c.Command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", wire.MasterName)
		c.Command("SENTINEL", "MASTER", wire.MasterName)
		questions := []*any{&address, &master}
		if replicas {
			c.Command("SENTINEL", "REPLICAS", wire.MasterName)
			c.Command("SENTINEL", "DEBUG")
			questions = append(questions, &list, &timers)
		}
		if err := c.Flush(); err != nil {
			return err
		}
		var refused error
		for _, q := range questions {
			var err error
			if *q, err = c.Reply(maxText); broken(err) {
				return err
			} else if err != nil && q != &timers { // since Redis 7.0
				refused = err
			}
		}
		return refused
	})
	switch {
	case address == nil && resp.CodeOf(err) == "ERR":
		r.Err = wire.Errorf(wire.CodeNotFound, "the Sentinel at %s knows no %s", addr(r.Sentinel), wire.MasterName)
	case err != nil:
		r.Err = unavailable("ask the Sentinel at "+addr(r.Sentinel), err)
	default:
		r.fill(address, resp.Map(master), list)
		r.InfoPeriod, _ = strconv.ParseInt(resp.Map(timers)["INFO-PERIOD"], 10, 64)
	}
	return r
}

func (r *Report) fill(address any, master map[string]string, replicas any) {
	at, _ := address.([]any)
	if len(at) != 2 {
		r.Err = wire.Errorf(wire.CodeUnavailable, "the Sentinel at %s gives an address of %d parts", addr(r.Sentinel), len(at))
		return
	}
	r.Master = endpoint(at[0], at[1])
	r.Epoch, _ = strconv.ParseUint(master["config-epoch"], 10, 64)
	r.Quorum, _ = strconv.Atoi(master["quorum"])
	r.Others, _ = strconv.Atoi(master["num-other-sentinels"])
	r.Flags = master["flags"]
	r.DownAfter, _ = strconv.ParseInt(master["down-after-milliseconds"], 10, 64)
	r.FailoverTimeout, _ = strconv.ParseInt(master["failover-timeout"], 10, 64)
	r.ParallelSyncs, _ = strconv.Atoi(master["parallel-syncs"])
	list, _ := replicas.([]any)
	for _, item := range list {
		m := resp.Map(item)
		priority, _ := strconv.Atoi(m["slave-priority"])
		offset, _ := strconv.ParseInt(m["slave-repl-offset"], 10, 64)
		r.Replicas = append(r.Replicas, Replica{
			Endpoint: endpoint(m["ip"], m["port"]),
			Down:     isDown(m["flags"]),
			Flags:    m["flags"],
			Priority: priority,
			Offset:   offset,
		})
	}
}

func endpoint(host, port any) wire.Endpoint {
	h, _ := host.(string)
	digits, _ := port.(string)
	p, _ := strconv.Atoi(digits)
	return wire.Endpoint{Host: h, Port: p}
}

func isDown(flags string) bool {
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "s_down", "o_down", "disconnected":
			return true
		}
	}
	return false
}
