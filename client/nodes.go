package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/framedb/framedb/client/wire"
)

const (
	nodesPath       = "/v1/nodes"
	credentialsPath = "/v1/credentials"
)

// Ping looks for an agent once, whatever Config.RetryFor says, until one
// answers. It tells quickly that there is none; every other call waits for one
// to come.
//
// Errors: ErrUnavailable (no agent answers; or what answers is none).
func (c *Client) Ping(ctx context.Context) error {
	health, err := c.sendFor(ctx, newRequest(http.MethodGet, "/healthz"), -1)
	var report wire.HealthReport
	if err == nil && (json.Unmarshal(health, &report) != nil || report.Status != "ok") {
		err = wire.Errorf(wire.CodeUnavailable, "what answers is not from FrameDB: is the address right?")
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, wire.ErrUnavailable) {
		return err
	}
	return wire.Errorf(wire.CodeUnavailable, "%v", err)
}

// Status returns the whole of FrameDB on one page, as the agent sees it.
func (c *Client) Status(ctx context.Context) (wire.Status, error) {
	return ask[wire.Status](ctx, c, newRequest(http.MethodGet, "/v1/status"))
}

// Agents returns all agents of FrameDB, dead ones too, the leader marked, as
// the agent that answers knows them.
func (c *Client) Agents(ctx context.Context) ([]wire.Member, error) {
	s, err := ask[wire.Status](ctx, c, newRequest(http.MethodGet, statusPath))
	return s.Members, err
}

// Credentials returns the deployment's Redis password.
//
// Errors: ErrForbidden (not asked over the agent's unix socket, or the caller
// is neither root nor the agent's own user).
func (c *Client) Credentials(ctx context.Context) (string, error) {
	creds, err := ask[wire.Credentials](ctx, c, newRequest(http.MethodGet, credentialsPath))
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

// DrainNode has a node take no further work, or ends that. What has its frames
// on the node stays there.
//
// Errors: ErrNotFound, ErrInvalidArgument, ErrNoLeader, ErrOutcomeUnknown.
func (c *Client) DrainNode(ctx context.Context, name wire.NodeName, draining bool) (wire.Node, error) {
	r := newRequest(http.MethodPut, nodesPath).at(name).sub("drain").json(wire.DrainNode{Draining: draining})
	return ask[wire.Node](ctx, c, r)
}

// RemoveNode forgets an agent that is gone for good, and returns its node as it
// was.
//
// Errors: ErrNotFound, ErrConflict (it is alive), ErrInvalidArgument,
// ErrNoLeader, ErrOutcomeUnknown.
func (c *Client) RemoveNode(ctx context.Context, name wire.NodeName) (wire.Node, error) {
	return ask[wire.Node](ctx, c, newRequest(http.MethodDelete, nodesPath).at(name))
}
