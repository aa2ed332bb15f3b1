package client

import (
	"context"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const instancesPath = "/v1/instances"

// Resolve answers FrameDB's first question: a FrameDB ID in, its URL, role and
// health out, and the engine of a persistent one. The name of a cluster stands
// for its master. The role is what Sentinel says now or, with a reason, the last
// one seen.
//
// Errors: ErrNotFound, ErrInvalidArgument (no FrameDB can have this ID),
// ErrUnavailable (no member of the cluster was started yet).
func (c *Client) Resolve(ctx context.Context, id wire.FrameDBID) (wire.Resolved, error) {
	return ask[wire.Resolved](ctx, c, newRequest(http.MethodGet, instancesPath).at(id))
}

// InstanceQuery chooses instances; the zero value chooses all.
type InstanceQuery struct {
	Cluster wire.ClusterName // members of this cluster only
	NodeTag wire.NodeTag     // those on this node tag only
}

// Instances returns the chosen FrameDB instances by ID.
func (c *Client) Instances(ctx context.Context, q InstanceQuery) ([]wire.Resolved, error) {
	r := newRequest(http.MethodGet, instancesPath).with("cluster", string(q.Cluster)).with("node_tag", string(q.NodeTag))
	return ask[[]wire.Resolved](ctx, c, r)
}
