package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// proposeTimeout bounds one command, forwarding and retries within the store
// included.
const proposeTimeout = 30 * time.Second

// propose is change, and this agent's view has the change when it returns.
func propose[R any](s *Server, c *gin.Context, cmd state.Command) (value R, index uint64, err error) {
	if value, index, err = change[R](s, c, cmd); err != nil {
		return value, 0, err
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), proposeTimeout)
	defer cancel()
	s.catchUp(ctx, index)
	return value, index, nil
}

// proposeMapping is propose, but for a caller that gives HeaderMinIndex: it
// carries the indexes of its own changes to its reads, and need not wait here
// until a follower has what the leader has.
func (s *Server) proposeMapping(c *gin.Context, cmd state.Command) (row wire.Mapping, err error) {
	if len(c.Request.Header[wire.HeaderMinIndex]) > 0 {
		row, _, err = change[wire.Mapping](s, c, cmd)
	} else {
		row, _, err = propose[wire.Mapping](s, c, cmd)
	}
	return row, err
}

// change has cmd applied and decodes its result; HeaderIndex tells the index.
//
// The command's request ID is made of the caller's Idempotency-Key and the
// command: a call that needs several commands can be repeated, and a key that
// a caller uses for two different requests by mistake does not give the second
// one the answer of the first.
func change[R any](s *Server, c *gin.Context, cmd state.Command) (value R, index uint64, err error) {
	key, err := requestID(c)
	if err != nil {
		return value, 0, err
	}
	id, err := commandID(key, cmd)
	if err != nil {
		return value, 0, err
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), proposeTimeout)
	defer cancel()
	res, err := s.cfg.Store.Propose(ctx, id, cmd)
	if err != nil {
		return value, 0, err
	}
	c.Set(changed, true)
	setIndex(c, res.Index)
	if len(res.Value) > 0 {
		err = json.Unmarshal(res.Value, &value)
	}
	return value, res.Index, err
}

// catchUp waits until this node's view contains the index, so that what the
// answer and the caller's next question read is not older than the change. When
// that takes too long the answer is old, and the change is made all the same.
func (s *Server) catchUp(ctx context.Context, index uint64) {
	for {
		v := s.cfg.Store.View()
		if v.Index() >= index {
			return
		}
		v.WatchIndex()
		if v.Changed(ctx) != nil {
			return
		}
	}
}

func commandID(key wire.RequestID, cmd state.Command) (wire.RequestID, error) {
	if key == "" {
		return "", nil
	}
	return derivedID(key, string(cmd.Type()), cmd)
}

// derivedID is the caller's key made one of what exactly was asked.
func derivedID(key wire.RequestID, what string, body any) (wire.RequestID, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(key), []byte(what), text} {
		h.Write(part)
		h.Write([]byte{0})
	}
	return wire.RequestID(hex.EncodeToString(h.Sum(nil))), nil
}

// createClusters creates clusters with one spec, all or none, and waits until
// they are ready or ?wait= has passed; the work goes on then.
func (s *Server) createClusters(c *gin.Context, names []wire.ClusterName, spec wire.ClusterSpec, metadata json.RawMessage) ([]wire.Cluster, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return nil, err
	}
	defer cancel()
	spec.ApplyDefaults()
	for _, name := range names {
		if err := check("name", name); err != nil {
			return nil, err
		}
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if v := s.cfg.Store.View(); !slices.ContainsFunc(names, func(n wire.ClusterName) bool { return taken(v, wire.FrameDBID(n)) }) {
		if err := s.checkAlive(v, spec.NodeTag); err != nil {
			return nil, err
		}
	}
	list, _, err := propose[[]wire.Cluster](s, c, state.CreateClusters{Names: names, Spec: spec, Metadata: metadata})
	if err != nil {
		return nil, err
	}
	return s.awaitReady(p, list)
}

// taken reports whether a cluster or a persistent FrameDB has the name. That is
// for the store to refuse, or to answer again when this is a retry.
func taken(v *state.View, id wire.FrameDBID) bool {
	_, memory := v.Cluster(wire.ClusterName(id))
	_, storage := v.Persistent(id)
	return memory || storage
}

// checkAlive refuses a tag that no live node carries: nobody would own what is
// created there.
func (s *Server) checkAlive(v *state.View, tag wire.NodeTag) error {
	for _, n := range v.NodesWithTag(tag) {
		if s.alive(n.Name) {
			return nil
		}
	}
	return wire.InField("node_tag", wire.Errorf(wire.CodeNoLiveNode, "no live node carries %q: label one, or start an agent with that tag", tag))
}

func (s *Server) alive(name wire.NodeName) bool {
	for _, m := range s.cfg.Members() {
		if m.Name == name {
			return m.Alive
		}
	}
	return false
}

// updateCluster changes a spec and waits until the change is brought about or
// ?wait= has passed; the work goes on then.
func (s *Server) updateCluster(c *gin.Context, cmd state.UpdateCluster) (wire.Cluster, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return wire.Cluster{}, err
	}
	defer cancel()
	row, _, err := propose[wire.Cluster](s, c, cmd)
	if err != nil {
		return wire.Cluster{}, err
	}
	err = s.awaitOne(p, &row)
	return row, err
}

// awaitReady waits until each cluster is ready in at least the generation that
// it has in list, or the pause is over, and returns the clusters as they are
// then. One that was removed meanwhile is returned as it was.
func (s *Server) awaitReady(p pause, list []wire.Cluster) ([]wire.Cluster, error) {
	for i := range list {
		if err := s.awaitOne(p, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (s *Server) awaitOne(p pause, c *wire.Cluster) error {
	generation, created := c.Generation, c.CreateIndex
	return s.await(p, func(v *state.View) bool {
		now, found := v.Cluster(c.Name)
		if !found || now.CreateIndex != created {
			return true // gone
		}
		*c = *now
		return c.Status.Phase == wire.PhaseRemoving || isReady(c, generation)
	})
}

// await waits until the store is as it should be, or the pause is over.
func (s *Server) await(p pause, done func(*state.View) bool) error {
	for {
		v := s.cfg.Store.View()
		if done(v) {
			return nil
		}
		if v.Changed(p) != nil {
			return p.over()
		}
	}
}

func isReady(c *wire.Cluster, generation uint64) bool {
	return c.Status.Phase == wire.PhaseReady && c.Status.ObservedGeneration >= generation
}

// removeCluster has a cluster removed and tells where its sources went; see
// awaitGone.
func (s *Server) removeCluster(c *gin.Context, name wire.ClusterName) (res wire.RemovedCluster, index uint64, err error) {
	if err := check("name", name); err != nil {
		return res, 0, err
	}
	return propose[wire.RemovedCluster](s, c, state.RemoveCluster{Name: name})
}

// awaitGone waits until a cluster whose removal was applied at index is gone,
// or the pause is over.
func (s *Server) awaitGone(p pause, name wire.ClusterName, index uint64) (gone bool, err error) {
	err = s.await(p, func(v *state.View) bool {
		now, found := v.Cluster(name)
		gone = !found || now.CreateIndex > index
		return gone
	})
	return gone, err
}
