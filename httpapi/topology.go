package httpapi

import (
	"context"
	"time"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// Bounds of asking Sentinel.
const (
	// sentinelTimeout is for answers that nobody else can give.
	sentinelTimeout = 5 * time.Second
	// glanceTimeout is for answers that fall back to the last known.
	glanceTimeout = time.Second
)

// topology asks the cluster's Sentinels who is master now.
//
// Errors: ErrUnavailable (none is known yet, or none gives an answer).
func (s *Server) topology(ctx context.Context, v *state.View, name wire.ClusterName) (wire.Topology, error) {
	members := v.InstancesOf(name)
	sentinels := sentinelsOf(members)
	if len(sentinels) == 0 {
		return wire.Topology{}, wire.Errorf(wire.CodeUnavailable, "no Sentinel of cluster %q runs yet", name)
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	t, err := s.cfg.Sentinels.Topology(ctx, sentinels)
	if err != nil {
		return wire.Topology{}, unavailable(err, name)
	}
	if t.ID == "" {
		t.ID = memberAt(members, t.Master)
	}
	t.Replicas = emptyNotNull(t.Replicas)
	return t, nil
}

// master asks the cluster's Sentinels for the master alone, within a second.
func (s *Server) master(ctx context.Context, members []*wire.Instance) (wire.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	return s.cfg.Sentinels.Master(ctx, sentinelsOf(members))
}

// unavailable says which cluster could not be asked; running out of time is
// the backend's failure here, not the caller's.
func unavailable(err error, name wire.ClusterName) error {
	e := *wire.Errorf(wire.CodeUnavailable, "cluster %q: Sentinel gives no answer: %v", name, err)
	e.RetryAfter = wire.AsError(err).RetryAfter
	return &e
}

func sentinelsOf(members []*wire.Instance) []wire.Endpoint {
	var list []wire.Endpoint
	for _, m := range members {
		if m.SentinelPort != 0 {
			list = append(list, wire.Endpoint{Host: m.Host, Port: m.SentinelPort})
		}
	}
	return list
}

func memberAt(members []*wire.Instance, ep wire.Endpoint) wire.FrameDBID {
	for _, m := range members {
		if m.Host == ep.Host && m.Port == ep.Port {
			return m.ID
		}
	}
	return ""
}
