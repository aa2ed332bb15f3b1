package client

import (
	"context"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const nodesPath = "/v1/nodes"

// Ping asks each address once, whatever Config.RetryFor says, until an agent
// answers. It tells quickly that there is none; every other call waits for one
// to come.
//
// Errors: ErrUnavailable.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.sendFor(ctx, newRequest(http.MethodGet, "/healthz"), -1)
	return err
}

// Status returns the whole of FrameDB on one page, as the agent sees it.
func (c *Client) Status(ctx context.Context) (wire.Status, error) {
	return ask[wire.Status](ctx, c, newRequest(http.MethodGet, "/v1/status"))
}

// Credentials returns the deployment's Redis password.
//
// Errors: ErrForbidden (not asked over the agent's unix socket, or the caller
// is neither root nor the agent's own user).
func (c *Client) Credentials(ctx context.Context) (string, error) {
	creds, err := ask[wire.Credentials](ctx, c, newRequest(http.MethodGet, "/v1/credentials"))
	return creds.Password, err
}

// Nodes returns the nodes that run an agent, by name.
func (c *Client) Nodes(ctx context.Context) ([]wire.Node, error) {
	return ask[[]wire.Node](ctx, c, newRequest(http.MethodGet, nodesPath))
}

// LabelNode gives a node one more tag besides those of its configuration, in
// place of the label that it had; an empty label takes it away.
//
// Errors: ErrNotFound, ErrConflict (clusters need the tag that it had),
// ErrInvalidArgument, ErrOutcomeUnknown.
func (c *Client) LabelNode(ctx context.Context, name wire.NodeName, label wire.NodeTag) (wire.Node, error) {
	r := newRequest(http.MethodPut, nodesPath).at(name).sub("label").json(wire.NodeLabel{Label: label})
	return ask[wire.Node](ctx, c, r)
}
