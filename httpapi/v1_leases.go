package httpapi

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/frames"
	"github.com/framedb/framedb/client/wire"
)

// leaseList is how many leases are listed when ?limit= does not say.
const leaseList = 100

// leaseOf is the lease in the path and the data path to its cluster.
func (s *Server) leaseOf(c *gin.Context, at wire.LeasePlace) (frames.LeaseID, *frames.Cluster, error) {
	id := frames.LeaseID(c.Param("lease"))
	if err := check("lease", id); err != nil {
		return "", nil, err
	}
	name, err := s.clusterAt(at)
	if err != nil {
		return "", nil, err
	}
	to, err := s.paths.to(s.cfg.Store.View(), name)
	return id, to, err
}

func (s *Server) clusterAt(at wire.LeasePlace) (wire.ClusterName, error) {
	switch {
	case (at.Cluster == "") == (at.Source == ""):
		return "", wire.InField("source", wire.Errorf(wire.CodeInvalidArgument, "give either cluster or source, where the lease is"))
	case at.Cluster != "" && at.NodeTag != "":
		return "", wire.InField("node_tag", wire.Errorf(wire.CodeInvalidArgument, "it goes with source, not with cluster"))
	case at.Cluster != "":
		_, err := s.runningCluster("cluster", at.Cluster)
		return at.Cluster, err
	}
	if err := firstError(check("source", at.Source), checkOptional("node_tag", at.NodeTag)); err != nil {
		return "", err
	}
	m, err := s.nearest(s.cfg.Store.View(), at.Source, at.NodeTag)
	if err != nil {
		return "", err
	}
	return m.Cluster, nil
}

// runningCluster is the data path to a cluster that the caller names in field.
func (s *Server) runningCluster(field string, name wire.ClusterName) (*frames.Cluster, error) {
	if err := check(field, name); err != nil {
		return nil, err
	}
	v := s.cfg.Store.View()
	row, found := v.Cluster(name)
	switch {
	case !found:
		return nil, wire.InField(field, wire.Errorf(wire.CodeNotFound, "cluster %q is unknown", name))
	case row.Status.Phase == wire.PhaseRemoving:
		return nil, wire.InField(field, wire.Errorf(wire.CodeConflict, "cluster %q is being removed", name))
	}
	return s.paths.to(v, name)
}

// leaseTTL reads a lease's time.
func leaseTTL(ms int64) (time.Duration, error) {
	if ms < frames.MinLease.Milliseconds() || ms > frames.MaxLease.Milliseconds() {
		return 0, wire.InField("ttl_ms", wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give %d to %d",
			ms, frames.MinLease.Milliseconds(), frames.MaxLease.Milliseconds()))
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func (s *Server) v1TakeLease(c *gin.Context, in *wire.TakeLease) (reply, error) {
	ttl, err := leaseTTL(in.TTL)
	if err != nil {
		return reply{}, err
	}
	if len(in.Uses) == 0 {
		return reply{}, nothing("uses")
	}
	if in.Source != "" {
		if err := frames.CheckUses(in.Source, in.Uses); err != nil {
			return reply{}, err
		}
	}
	id, to, err := s.leaseOf(c, in.LeasePlace)
	if err != nil {
		return reply{}, err
	}
	token, err := leaseToken(c, "take", in.LeasePlace)
	if err != nil {
		return reply{}, err
	}
	used, err := to.TakeLease(c.Request.Context(), token, frames.Take{Lease: id, For: ttl, Uses: in.Uses, Add: in.Add})
	c.Set(changed, err == nil)
	return reply{body: wire.UseResults{Results: used}}, err
}

func leaseToken(c *gin.Context, what string, at wire.LeasePlace) (wire.RequestID, error) {
	key, err := requestID(c)
	if err != nil {
		return "", err
	}
	return batchToken(key, "lease/"+what, at)
}

func (s *Server) v1RenewLease(c *gin.Context, in *wire.RenewLease) (reply, error) {
	ttl, err := leaseTTL(in.TTL)
	if err != nil {
		return reply{}, err
	}
	id, to, err := s.leaseOf(c, in.LeasePlace)
	if err != nil {
		return reply{}, err
	}
	return reply{body: struct{}{}}, to.RenewLease(c.Request.Context(), id, ttl)
}

func (s *Server) v1PutBack(c *gin.Context, in *wire.PutBack) (reply, error) {
	if len(in.Decrements) == 0 {
		return reply{}, nothing("decrements")
	}
	if in.Source != "" {
		if err := frames.CheckDecrements(in.Source, in.Decrements); err != nil {
			return reply{}, err
		}
	}
	id, to, err := s.leaseOf(c, in.LeasePlace)
	if err != nil {
		return reply{}, err
	}
	token, err := leaseToken(c, "put-back", in.LeasePlace)
	if err != nil {
		return reply{}, err
	}
	results, err := to.PutBack(c.Request.Context(), token, id, in.Decrements)
	c.Set(changed, err == nil)
	return reply{body: &wire.DecrementResults{Results: results}}, err
}

func (s *Server) v1ReleaseLease(c *gin.Context, in *wire.LeasePlace) (reply, error) {
	id, to, err := s.leaseOf(c, *in)
	if err != nil {
		return reply{}, err
	}
	back, err := to.ReleaseLease(c.Request.Context(), id)
	return reply{body: wire.LeaseReleased{Frames: back.Frames, Deleted: back.Deleted}}, err
}

func (s *Server) v1ListLeases(c *gin.Context) (reply, error) {
	q, err := queryOf(c)
	if err != nil {
		return reply{}, err
	}
	limit, err := parseUint(q, "limit", leaseList, 1, wire.MaxPage)
	if err != nil {
		return reply{}, err
	}
	to, err := s.runningCluster("cluster", wire.ClusterName(q.Get("cluster")))
	if err != nil {
		return reply{}, err
	}
	list, err := to.Leases(c.Request.Context(), int(limit))
	leases := make([]wire.Lease, len(list))
	for i, l := range list {
		leases[i] = wire.Lease{ID: string(l.ID), Left: l.Left.Milliseconds(), Frames: l.Frames}
	}
	return reply{body: wire.Leases{Leases: leases}}, err
}

// v1SweepCluster looks once, or sweeps: that takes the grace time. The owner
// does it all the time; this is for who wants to see it.
func (s *Server) v1SweepCluster(c *gin.Context, in *wire.SweepCluster) (reply, error) {
	to, err := s.runningCluster("name", wire.ClusterName(c.Param("name")))
	if err != nil {
		return reply{}, err
	}
	hold, err := s.sweeps.take(1)
	if err != nil {
		return reply{}, err
	}
	defer hold.release()
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	sweeper := frames.NewSweeper(to, frames.SweepConfig{DryRun: in.DryRun})
	swept, err := sweeper.Round(ctx, nil)
	if err == nil && !in.DryRun && len(swept.Suspects) > 0 {
		if err = waitFor(ctx, frames.DefaultGrace+time.Millisecond); err == nil {
			swept, err = sweeper.Round(ctx, nil)
		}
	}
	return reply{body: wire.Swept{
		Keys: swept.Keys, Suspects: byKind(swept.Suspects), Found: byKind(swept.Found), Unlinked: swept.Unlinked, More: swept.More,
	}}, err
}

func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func byKind(found map[frames.Leftover]int64) map[string]int64 {
	all := make(map[string]int64, len(found))
	for kind, n := range found {
		all[string(kind)] = n
	}
	return all
}
