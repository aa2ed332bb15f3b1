package client

import (
	"context"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const raftPath = "/v1/raft"

// Raft returns what the agent that answers knows of Raft.
func (c *Client) Raft(ctx context.Context) (wire.RaftStatus, error) {
	return ask[wire.RaftStatus](ctx, c, newRequest(http.MethodGet, raftPath))
}

// TransferLeadership has another voter lead, and returns once the agent knows
// the new leader. With an empty name Raft chooses the voter that is most up to
// date.
//
// Errors: ErrInvalidArgument (to does not vote), ErrConflict (there is no other
// voter, or it does not keep up), ErrNoLeader, ErrOutcomeUnknown.
func (c *Client) TransferLeadership(ctx context.Context, to wire.NodeName) (wire.RaftStatus, error) {
	r := newRequest(http.MethodPost, raftPath).sub("transfer").json(wire.TransferLeadership{To: to})
	return ask[wire.RaftStatus](ctx, c, r)
}
