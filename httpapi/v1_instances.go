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
	stored := s.reads(s.lookInstance, wire.TableInstances, wire.TablePersistent)
	return func(c *gin.Context) (reply, error) {
		rep, err := stored(c)
		if err != nil {
			return reply{}, err
		}
		res := rep.body.(wire.Resolved)
		if res.Kind == wire.KindMemory {
			s.askRole(c.Request.Context(), &res.Instance)
		}
		return ok(res)
	}
}

func (s *Server) lookInstance(c *gin.Context) (look, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	return func(v *state.View) (any, error) {
		if i, found := v.Instance(id); found {
			return s.resolved(i), nil
		}
		if p, found := v.Persistent(id); found {
			return s.resolvedStorage(p), nil
		}
		return nil, wire.Errorf(wire.CodeNotFound, "FrameDB %q is unknown", id)
	}, err
}

// askRole replaces the last known role by what Sentinel says now. When none
// answers within a second the last known stays, and health and reason say so.
func (s *Server) askRole(ctx context.Context, i *wire.Instance) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	t, err := s.topology(ctx, s.cfg.Store.View(), i.Cluster)
	here := wire.Endpoint{Host: i.Host, Port: i.Port}
	switch {
	case err != nil:
		i.Health = wire.HealthUnreachable
		i.Reason = fmt.Sprintf("the role is the last known: %v", err)
	case t.Master == here:
		i.Role = wire.RoleMaster
	case slices.Contains(t.Replicas, here):
		i.Role = wire.RoleReplica
	case i.Role == wire.RoleMaster:
		i.Role = wire.RoleUnknown // it was, and Sentinel does not know it now
	}
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
	r := wire.Resolved{URL: p.Status.URL, Instance: wire.Instance{
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
