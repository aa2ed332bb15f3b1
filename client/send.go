package client

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/framedb/framedb/client/wire"
)

// Pauses between tries grow from firstPause to maxPause, each ±50 %: an agent
// that restarts is found within a second, and many clients do not come back in
// step.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
	forEver    = time.Duration(math.MaxInt64) // a limit of pauses
)

// ask sends a request and decodes the answer.
func ask[T any](ctx context.Context, c *Client, r request) (T, error) {
	var v T
	body, err := c.send(ctx, r)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, wire.Errorf(wire.CodeInternal, "cannot read the answer to %s %s: %v", r.method, r.path, err)
	}
	return v, nil
}

// send tries the request at one agent after the other until one answers, the
// answer is final, RetryFor is over or ctx ends. All tries of a mutation carry
// one request ID; one that is tried once carries none.
func (c *Client) send(ctx context.Context, r request) ([]byte, error) {
	return c.sendFor(ctx, r, c.cfg.RetryFor)
}

func (c *Client) sendFor(ctx context.Context, r request, limit time.Duration) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	var id wire.RequestID
	if r.changes() && !r.once && !r.ownIDs { // net/http repeats by itself what carries an ID
		if id = requestID(ctx); id.Validate() != nil {
			return nil, id.Validate()
		}
	}
	pauses := newPauses(limit, maxPause)
	unknown := false // a try may have been carried out
	for {
		agent, err := c.agents.current(ctx)
		if err != nil {
			if pauses.next(ctx, 1, 0) {
				continue
			}
			return nil, coded(ctx, err, unknown)
		}
		body, err := c.try(ctx, agent, r, id)
		if err == nil {
			return body, nil
		}
		again, after := retryable(err)
		if !again && ctx.Err() == nil {
			return nil, err // the agent knows what became of the request ID
		}
		unknown = unknown || r.changes() && unsure(err)
		c.log.Info("call failed", "method", r.method, "path", r.path, "agent", agent.addr, "err", err)
		tries := c.agents.leave(ctx, agent, err)
		if unknown && r.once || !pauses.next(ctx, tries, after) {
			return nil, coded(ctx, err, unknown)
		}
	}
}

// try is one attempt at one agent. It returns the whole body of a success. What
// may be tried again is given up when the agent falls silent.
func (c *Client) try(ctx context.Context, a *agent, r request, id wire.RequestID) ([]byte, error) {
	body, length := r.payload()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout+r.wait+time.Duration(length)*sendTime)
	defer cancel()
	if !r.once {
		var release func()
		ctx, release = c.agents.guard(ctx, a, patience)
		defer release()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url(a.base), body)
	if err != nil {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "%v", err)
	}
	if r.media != "" {
		req.ContentLength = length
		req.Header.Set("Content-Type", r.media)
	}
	if id != "" {
		req.Header.Set(wire.HeaderRequestID, string(id))
	}
	c.made.demand(req)
	res, err := a.http.Do(req)
	if err != nil {
		return nil, newTransportError(a.addr, cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return nil, refusal(a, res)
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, &transportError{addr: a.addr, err: cause(ctx, err), sent: true}
	}
	if r.changes() {
		c.made.note(res)
	}
	return answer, nil
}

// changes is the store's index of the newest change that this client made. Each
// read demands an answer that has it, so that a client reads what it wrote
// through every agent; an agent that hears so at a change does not wait until
// it has the change itself.
type changes struct{ index atomic.Uint64 }

func (c *changes) demand(req *http.Request) {
	if n := c.index.Load(); n > 0 || req.Method != http.MethodGet {
		req.Header.Set(wire.HeaderMinIndex, strconv.FormatUint(n, 10))
	}
}

func (c *changes) note(res *http.Response) {
	n, _ := strconv.ParseUint(res.Header.Get(wire.HeaderIndex), 10, 64) // 0: no change of the store
	for old := c.index.Load(); n > old && !c.index.CompareAndSwap(old, n); old = c.index.Load() {
	}
}

// refusal reads a failed response. A 5xx that is not an agent's comes from
// something in between, which does not know what became of the request.
func refusal(a *agent, res *http.Response) error {
	e, ours := responseError(res)
	if !ours && res.StatusCode >= http.StatusInternalServerError {
		return &transportError{addr: a.addr, err: e, sent: true}
	}
	return e
}

// pauses spaces the tries of one call out.
type pauses struct {
	grow  *backoff.ExponentialBackOff
	limit time.Duration
	until time.Time // zero before the first failure
	tries int       // since the last pause
}

func newPauses(limit, longest time.Duration) *pauses {
	grow := backoff.NewExponentialBackOff()
	grow.InitialInterval, grow.MaxInterval, grow.RandomizationFactor = firstPause, longest, 0.5
	return &pauses{grow: grow, limit: limit}
}

// next waits before the next try; false means that there is none: the limit
// would pass, or ctx ended. So many tries may follow each other without a
// pause, as each asks another agent; then it waits as long as the server asked
// for, or longer and longer where it asked for nothing.
func (p *pauses) next(ctx context.Context, tries int, after time.Duration) bool {
	if p.until.IsZero() {
		p.until = time.Now().Add(p.limit)
	}
	if p.tries++; p.tries < tries {
		return ctx.Err() == nil
	}
	p.tries = 0
	pause := after + time.Duration(rand.Int64N(int64(after/4)+1))
	if after == 0 {
		pause = p.grow.NextBackOff()
	}
	if p.limit != forEver && time.Now().Add(pause).After(p.until) {
		return false
	}
	return sleep(ctx, pause)
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
