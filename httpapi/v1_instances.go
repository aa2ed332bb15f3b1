package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// v1ListInstances answers from the store alone: roles are the last known.
func (s *Server) v1ListInstances(c *gin.Context) (look, error) {
	q, err := queryOf(c)
	cluster, tag := wire.ClusterName(q.Get("cluster")), wire.NodeTag(q.Get("node_tag"))
	if err := firstError(err, checkOptional("cluster", cluster), checkOptional("node_tag", tag)); err != nil {
		return nil, err
	}
	return func(v *state.View) (any, error) {
		memory, storage := instancesIn(v, cluster), v.PersistentInstances()
		return rows(func(yield func(any) bool) {
			for _, i := range memory {
				if (tag == "" || i.NodeTag == tag) && !yield(s.resolved(i)) {
					return
				}
			}
			for _, p := range storage {
				if cluster == "" && (tag == "" || p.NodeTag == tag) && !yield(s.resolvedStorage(p)) {
					return
				}
			}
		}), nil
	}, nil
}

func instancesIn(v *state.View, cluster wire.ClusterName) []*wire.Instance {
	if cluster != "" {
		return v.InstancesOf(cluster)
	}
	return v.Instances()
}

// v1GetInstance is the routing service's question: a FrameDB ID in, its URL
// out, with the role that Sentinel gives it now.
func (s *Server) v1GetInstance() handler {
	stored := s.reads(s.lookInstance, wire.TableInstances, wire.TablePersistent, wire.TableClusters)
	return func(c *gin.Context) (reply, error) {
		rep, err := stored(c)
		if err != nil {
			return reply{}, err
		}
		res := rep.body.(wire.Resolved)
		if res.Kind == wire.KindMemory {
			res = s.asSentinelSays(c.Request.Context(), res, string(res.ID) != c.Param("framedb_id"))
		}
		return ok(res)
	}
}

func (s *Server) lookInstance(c *gin.Context) (look, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	return func(v *state.View) (any, error) {
		if p, found := v.Persistent(id); found {
			return s.resolvedStorage(p), nil
		}
		i, err := memberIn(v, id)
		if err != nil {
			return nil, err
		}
		return s.resolved(i), nil
	}, err
}

// memberIn is the member that has the ID. A cluster's name stands for its
// master, the last known.
func memberIn(v *state.View, id wire.FrameDBID) (*wire.Instance, error) {
	if i, found := v.Instance(id); found {
		return i, nil
	}
	row, found := v.Cluster(wire.ClusterName(id))
	if !found {
		return nil, wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown", id)
	}
	if i, found := v.Instance(row.Status.Master); found {
		return i, nil
	}
	for _, i := range v.InstancesOf(row.Name) {
		return i, nil
	}
	return nil, later(wire.CodeUnavailable, "no member of cluster %q was started yet", id)
}

// asSentinelSays replaces the last known role by what Sentinel says now and,
// where the master is what was asked for, the last known master by that of now.
// When no Sentinel answers within a second the last known stays, and health and
// reason say so.
func (s *Server) asSentinelSays(ctx context.Context, r wire.Resolved, master bool) wire.Resolved {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	v := s.cfg.Store.View()
	t, err := s.topology(ctx, v, r.Cluster)
	if err != nil {
		r.Health = wire.HealthUnreachable
		r.Reason = fmt.Sprintf("the role is the last known: %v", err)
		return r
	}
	if now, found := v.Instance(t.ID); master && found {
		r = s.resolved(now)
	}
	switch here := (wire.Endpoint{Host: r.Host, Port: r.Port}); {
	case t.Master == here:
		r.Role = wire.RoleMaster
	case slices.Contains(t.Replicas, here):
		r.Role = wire.RoleReplica
	case r.Role == wire.RoleMaster:
		r.Role = wire.RoleUnknown // it was, and Sentinel does not know it now
	}
	return r
}

func (s *Server) resolved(i *wire.Instance) wire.Resolved {
	r := wire.Resolved{Instance: *i}
	if i.Node != s.cfg.Node {
		r.Socket = ""
	}
	if i.Port != 0 {
		r.URL = "redis://" + net.JoinHostPort(i.Host, strconv.Itoa(i.Port)) + "/0"
	}
	return r
}

func (s *Server) resolvedStorage(p *wire.PersistentInstance) wire.Resolved {
	r := wire.Resolved{URL: p.Status.URL, Engine: p.Status.Engine, Instance: wire.Instance{
		ID: p.ID, Kind: wire.KindStorage, NodeTag: p.NodeTag, Node: p.Status.Node, Role: wire.RoleUnknown,
		Health: wire.HealthUnreachable, Reason: p.Status.Reason, ModifyIndex: p.ModifyIndex,
	}}
	if p.Status.Phase == wire.PhaseReady {
		r.Health = wire.HealthHealthy
	}
	if p.Status.Node == s.cfg.Node {
		r.Socket = p.Status.Socket
	}
	if u, err := url.Parse(p.Status.URL); err == nil {
		r.Host = u.Hostname()
		r.Port, _ = strconv.Atoi(u.Port()) // 0 when the URL has none
	}
	return r
}
