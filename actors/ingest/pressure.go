package ingest

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/framedb/framedb/client/wire"
)

// The commands of back-pressure on a source's routing channel.
const (
	bpOn        wire.RoutingCommand = "bp_on"         // bpPayload: the tag's writers are to wait
	bpOff       wire.RoutingCommand = "bp_off"        // bpPayload
	bpSourceOn  wire.RoutingCommand = "bp_source_on"  // the source's writers are to wait, on all tags
	bpSourceOff wire.RoutingCommand = "bp_source_off" // the same
)

// bpPayload names what is to wait. cluster_name, which others may send, needs
// not be looked at: a source has one cluster on a tag. Writers of the first
// system read it the wrong way round, so it is not sent either.
type bpPayload struct {
	NodeTag wire.NodeTag `json:"nodeTag,omitempty"`
	// Agent is who sends it, when that is an agent. Agents do not obey each
	// other: each sees for itself how the FrameDB is, and two that waited for
	// each other would wait for ever.
	Agent wire.NodeName `json:"agent,omitempty"`
}

const (
	routingPattern = "*__routing_updates"
	routingSuffix  = "__routing_updates"
	// repeatAfter is how often a message that still holds is sent again: pub/sub
	// keeps nothing for writers that were not there.
	repeatAfter = 30 * time.Second
	// publishFor bounds one publication.
	publishFor = time.Second
	// high is the part of a spool's bound from which on writers are asked to
	// wait, also when the destination is well.
	high = 0.5
)

// pressure tells writers to wait, and waits when others tell so.
type pressure struct {
	service *Service

	mu      sync.Mutex
	waiting map[pressed]bool   // guarded by mu: by messages that were heard
	hearing map[Messenger]bool // guarded by mu: where messages are heard

	sent map[pressed]time.Time // of run alone: what holds, and when it was sent last
}

// pressed is a source on a tag; no tag is all of them.
type pressed struct {
	source wire.SourceID
	tag    wire.NodeTag
}

func newPressure(s *Service) *pressure {
	return &pressure{service: s, waiting: map[pressed]bool{}, hearing: map[Messenger]bool{}, sent: map[pressed]time.Time{}}
}

// paused reports whether somebody asked a source's writers to wait, on a tag or
// everywhere.
func (p *pressure) paused(source wire.SourceID, tag wire.NodeTag) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) > 0 && (p.waiting[pressed{source, tag}] || p.waiting[pressed{source, ""}])
}

// run sends and hears until ctx ends.
func (p *pressure) run(ctx context.Context) {
	var ears sync.WaitGroup
	defer ears.Wait()
	ticker := time.NewTicker(tick / 4)
	defer ticker.Stop()
	for {
		for m := range p.messengers() {
			if p.listen(m) {
				ears.Go(func() { p.hear(ctx, m) })
			}
		}
		p.send(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen reports whether nobody hears m yet; then the caller is to.
func (p *pressure) listen(m Messenger) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.hearing[m]
	p.hearing[m] = true
	return first
}

// messengers are those of all lanes.
func (p *pressure) messengers() map[Messenger]bool {
	all := map[Messenger]bool{}
	for _, l := range p.service.allLanes() {
		l.mu.Lock()
		if m, ok := l.target.Destination.(Messenger); ok {
			all[m] = true
		}
		l.mu.Unlock()
	}
	return all
}

// hear obeys the messages on one FrameDB, for as long as lanes write to it.
func (p *pressure) hear(ctx context.Context, m Messenger) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hearing, m)
	}()
	for failures := 0; ctx.Err() == nil && p.messengers()[m]; failures++ {
		start := time.Now()
		err := m.Subscribe(ctx, routingPattern, p.obey)
		if time.Since(start) > time.Minute {
			failures = 0
		}
		p.service.log.Debug("back-pressure messages are not heard for a moment", "err", err)
		sleep(ctx, backoff(failures))
	}
}

// obey does what a message says.
func (p *pressure) obey(channel string, message []byte) {
	var m struct {
		Command wire.RoutingCommand `json:"command"`
		Payload json.RawMessage     `json:"payload"`
	}
	source, ours := strings.CutSuffix(channel, routingSuffix)
	if !ours || json.Unmarshal(message, &m) != nil || !strings.HasPrefix(string(m.Command), "bp_") {
		return
	}
	var payload bpPayload
	if err := json.Unmarshal(m.Payload, &payload); len(m.Payload) > 0 && err != nil || payload.Agent != "" {
		return
	}
	what := pressed{wire.SourceID(source), payload.NodeTag}
	on := false
	switch m.Command {
	case bpOn, bpOff:
		if on = m.Command == bpOn; payload.NodeTag == "" {
			return
		}
	case bpSourceOn, bpSourceOff:
		on, what.tag = m.Command == bpSourceOn, ""
	default:
		return
	}
	p.service.metrics.messages.WithLabelValues("heard").Inc()
	p.mu.Lock()
	if on {
		p.waiting[what] = true
	} else {
		delete(p.waiting, what)
	}
	p.mu.Unlock()
	for _, l := range p.service.allLanes() {
		if l.key.source == what.source {
			l.poke()
		}
	}
}

// send tells writers what has changed, and repeats what holds.
func (p *pressure) send(ctx context.Context) {
	now := map[pressed]bool{}
	for _, l := range p.service.allLanes() {
		if tag, ok := l.pressing(); ok {
			now[pressed{l.key.source, tag}] = true
		}
	}
	dead := map[Messenger]bool{} // they are not asked again in this round
	for what := range now {
		if last, ok := p.sent[what]; (!ok || time.Since(last) > repeatAfter) && p.publish(ctx, what, bpOn, dead) {
			p.sent[what] = time.Now()
		}
	}
	for _, what := range slices.Collect(maps.Keys(p.sent)) {
		if !now[what] && p.publish(ctx, what, bpOff, dead) {
			delete(p.sent, what)
		}
	}
}

// pressing reports whether writers are to wait for the lane: its destination is
// down or slow, or its spool is above the mark.
func (l *lane) pressing() (wire.NodeTag, bool) {
	_, d := l.depth()
	l.mu.Lock()
	defer l.mu.Unlock()
	used, most := l.service.quota.Used()
	above := d.Records > 0 && (float64(d.Bytes) > high*float64(l.service.cfg.SpoolBytes) || float64(used) > high*float64(most))
	slow := l.spooling && l.slow || l.trouble != nil
	return l.target.NodeTag, l.target.NodeTag != "" && (above || slow)
}

// publish sends a message on each of the source's clusters that can be reached,
// and reports whether there was one.
func (p *pressure) publish(ctx context.Context, what pressed, command wire.RoutingCommand, dead map[Messenger]bool) bool {
	route, err := p.service.cfg.Router.Route(what.source)
	if err != nil {
		return wire.CodeOf(err) == wire.CodeNotFound // nobody listens
	}
	body, err := json.Marshal(wire.RoutingMessage{Command: command, Payload: bpPayload{NodeTag: what.tag, Agent: p.service.cfg.Agent}})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	sent := false
	var there []Messenger
	for _, t := range route.Targets {
		if m, ok := t.Destination.(Messenger); ok && !dead[m] {
			there = append(there, m)
		}
	}
	for _, m := range there {
		all.Go(func() {
			err := m.Publish(ctx, wire.RoutingChannel(what.source), body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				dead[m] = true
			} else {
				sent = true
			}
		})
	}
	all.Wait()
	if sent {
		p.service.metrics.messages.WithLabelValues("sent").Inc()
	}
	return sent
}
