package httpapi

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// catchUpTimeout bounds waiting for the leader's word, and for what it says.
const catchUpTimeout = 5 * time.Second

// look answers a question from one view of the store. An error is an answer
// too: a question about what does not exist waits until it does.
type look func(*state.View) (any, error)

// reads makes a handler of a question to the store. prepare checks the
// parameters. With ?index=N the answer waits until one of the tables changed
// after N, or until ?wait= has passed; HeaderIndex tells what to ask with next.
func (s *Server) reads(prepare func(*gin.Context) (look, error), tables ...wire.Table) handler {
	return func(c *gin.Context) (reply, error) {
		ask, err := prepare(c)
		if err != nil {
			return reply{}, err
		}
		after, wait, err := blockOf(c)
		if err != nil {
			return reply{}, err
		}
		if after > 0 {
			if err := s.follow(c.Request.Context(), after); err != nil {
				return reply{}, err
			}
			if err := s.awaitChange(c.Request.Context(), ask, after, wait, tables); err != nil {
				return reply{}, err
			}
		}
		v := s.cfg.Store.View()
		body, err := ask(v)
		setIndex(c, v.Index())
		return reply{body: body}, err
	}
}

// freshen says how old an answer of this agent may be, and catches up first
// where the caller asks for that: with ?consistent for a linearizable answer,
// with HeaderMinIndex for one that is not older than an index.
func (s *Server) freshen(c *gin.Context, r route) error {
	header := c.Writer.Header()
	if err := s.catchUpAsAsked(c, r); err != nil {
		return err
	}
	header[wire.HeaderStaleness] = []string{strconv.FormatInt(s.cfg.Store.Staleness().Milliseconds(), 10)}
	return nil
}

func (s *Server) catchUpAsAsked(c *gin.Context, r route) error {
	ask, err := asksConsistent(c, r)
	if err != nil {
		return err
	}
	if at := c.Request.Header[wire.HeaderMinIndex]; len(at) > 0 && (r.seed || r.method == http.MethodGet) {
		index, err := parseUint(url.Values{wire.HeaderMinIndex: at}, wire.HeaderMinIndex, 0, 0, math.MaxUint64)
		if err != nil {
			return err
		}
		ask = ask || index > s.cfg.Store.View().Index()
	}
	if !ask {
		return nil
	}
	return s.catchUpWithLeader(c.Request.Context())
}

// asksConsistent reads ?consistent, with or without a value, of a v1 read.
func asksConsistent(c *gin.Context, r route) (bool, error) {
	if r.seed || r.method != http.MethodGet || !strings.Contains(c.Request.URL.RawQuery, "consistent") {
		return false, nil
	}
	q, err := queryOf(c)
	if err != nil {
		return false, err
	}
	return parseFlag(q, "consistent")
}

// follow catches up with the leader when an index is ahead of this agent: it
// came from one that is quicker. One that still is ahead comes from another
// life of the store.
func (s *Server) follow(ctx context.Context, index uint64) error {
	if index <= s.cfg.Store.View().Index() {
		return nil
	}
	return s.catchUpWithLeader(ctx)
}

// catchUpWithLeader has the store contain all that was acknowledged before.
//
// Errors: ErrNoLeader with a time to try again, here or at another agent; the
// caller's.
func (s *Server) catchUpWithLeader(caller context.Context) error {
	ctx, cancel := context.WithTimeout(caller, catchUpTimeout)
	defer cancel()
	err := s.cfg.Store.CatchUp(ctx)
	if err == nil || caller.Err() != nil {
		return err
	}
	return later(wire.CodeNoLeader, "the agent cannot catch up with the leader: %v", err)
}

func setIndex(c *gin.Context, index uint64) {
	c.Writer.Header()[wire.HeaderIndex] = []string{strconv.FormatUint(index, 10)}
}

// blockOf reads ?index= and ?wait=.
func blockOf(c *gin.Context) (after uint64, wait time.Duration, err error) {
	q, err := queryOf(c)
	if q == nil || err != nil {
		return 0, 0, err
	}
	if after, err = parseUint(q, "index", 0, 0, math.MaxUint64); err != nil {
		return 0, 0, err
	}
	wait, err = parseWait(q, defaultBlock)
	return after, wait, err
}

// awaitChange returns when a table changed after the index, or what ask looks
// at may have, or wait has passed, or the server stops; or with ctx's error.
//
// It waits on exactly what ask looked at, so that a change of one source does
// not wake everybody who waits on another. The tables' indexes come from a
// second view, or the first would watch the whole tables; being taken later it
// misses nothing. An index from another life of the store does not wait.
func (s *Server) awaitChange(caller context.Context, ask look, after uint64, wait time.Duration, tables []wire.Table) error {
	p, cancel := s.pause(caller, wait)
	defer cancel()
	for {
		v := s.cfg.Store.View()
		ask(v)
		now := s.cfg.Store.View()
		if after > now.Index() || newest(now, tables) > after {
			return nil
		}
		if v.Changed(p) != nil {
			return p.over()
		}
	}
}

func newest(v *state.View, tables []wire.Table) uint64 {
	var index uint64
	for _, t := range tables {
		index = max(index, v.TableIndex(t))
	}
	return index
}

// pause is a wait on purpose. It ends when its time has passed, the server
// stops or the caller has gone.
type pause struct {
	context.Context
	caller context.Context
}

func (s *Server) pause(caller context.Context, wait time.Duration) (pause, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(caller, wait)
	stop := context.AfterFunc(s.stopping, cancel)
	return pause{ctx, caller}, func() { stop(); cancel() }
}

// over is what the end of the pause means: nothing, unless the caller has gone.
func (p pause) over() error { return p.caller.Err() }
