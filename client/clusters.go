package client

import (
	"context"
	"net/http"
	"time"

	"github.com/framedb/framedb/client/wire"
)

const clustersPath = "/v1/clusters"

// Clusters returns all in-memory clusters by name.
func (c *Client) Clusters(ctx context.Context) ([]wire.Cluster, error) {
	return ask[[]wire.Cluster](ctx, c, newRequest(http.MethodGet, clustersPath))
}

// Cluster returns one cluster.
//
// Errors: ErrNotFound, ErrInvalidArgument (no cluster can have this name).
func (c *Client) Cluster(ctx context.Context, name wire.ClusterName) (wire.Cluster, error) {
	return ask[wire.Cluster](ctx, c, newRequest(http.MethodGet, clustersPath).at(name))
}

// CreateCluster creates a cluster and waits up to wait (at most 10 minutes, 0
// not at all) until all its members are ready. When that takes longer it
// returns the cluster with PhaseCreating and no error: creating goes on.
//
// Errors: ErrAlreadyExists, ErrNoLiveNode (no live node carries the tag),
// ErrInvalidArgument with the field named, ErrOutcomeUnknown.
func (c *Client) CreateCluster(ctx context.Context, spec wire.CreateCluster, wait time.Duration) (wire.Cluster, error) {
	r := newRequest(http.MethodPost, clustersPath).json(spec).waiting(wait)
	return ask[wire.Cluster](ctx, c, r)
}

// UpdateCluster changes what is set in the update, and waits like
// CreateCluster until it is brought about. Setting what is set already
// succeeds and changes nothing.
//
// Errors: ErrNotFound, ErrConflict (it is being removed), ErrInvalidArgument
// with the field named, ErrOutcomeUnknown.
func (c *Client) UpdateCluster(ctx context.Context, name wire.ClusterName, update wire.UpdateCluster, wait time.Duration) (wire.Cluster, error) {
	r := newRequest(http.MethodPatch, clustersPath).at(name).json(update).waiting(wait)
	return ask[wire.Cluster](ctx, c, r)
}

// RemoveCluster removes a cluster with its data and waits up to wait until
// nothing of it runs; removing goes on when that takes longer. Its sources
// move to the least loaded other cluster on the node tag.
//
// Errors: ErrNotFound, ErrOutcomeUnknown.
func (c *Client) RemoveCluster(ctx context.Context, name wire.ClusterName, wait time.Duration) (wire.RemovedCluster, error) {
	return ask[wire.RemovedCluster](ctx, c, newRequest(http.MethodDelete, clustersPath).at(name).waiting(wait))
}

// Topology returns the master and the replicas that Sentinel names now.
//
// Errors: ErrNotFound, ErrUnavailable (no Sentinel of the cluster answers, or
// the master does not confirm that it is one).
func (c *Client) Topology(ctx context.Context, name wire.ClusterName) (wire.Topology, error) {
	return ask[wire.Topology](ctx, c, newRequest(http.MethodGet, clustersPath).at(name).sub("topology"))
}

// SyncCluster brings the stored state of a cluster in line with what runs.
//
// Errors: ErrNotFound, ErrUnavailable (its owner cannot see what runs).
func (c *Client) SyncCluster(ctx context.Context, name wire.ClusterName) (wire.Cluster, error) {
	return ask[wire.Cluster](ctx, c, newRequest(http.MethodPost, clustersPath).at(name).sub("sync"))
}

// SweepCluster looks for what is left over of frames, and unlinks it, as the
// cluster's owner does by itself all the time. With DryRun it looks once and
// unlinks nothing; else it takes two minutes, and what it takes to look twice, if
// there is something.
//
// Errors: ErrNotFound, ErrConflict (it is being removed), ErrUnavailable,
// ErrOverloaded (others wait for sweeps), ErrOutcomeUnknown.
func (c *Client) SweepCluster(ctx context.Context, name wire.ClusterName, in wire.SweepCluster) (wire.Swept, error) {
	r := newRequest(http.MethodPost, clustersPath).at(name).sub("sweep").json(in)
	r.wait = sweepTakes
	return ask[wire.Swept](ctx, c, r)
}

// sweepTakes is how long a sweep may take: two looks and the grace time.
const sweepTakes = 10 * time.Minute

// Synchronize returns the clusters found in the deployment. With adopt it also
// brings the stored state in line with what runs.
func (c *Client) Synchronize(ctx context.Context, adopt bool) ([]wire.ClusterName, error) {
	body := struct {
		Adopt bool `json:"adopt"`
	}{adopt}
	type found struct {
		Clusters []wire.ClusterName `json:"clusters"`
	}
	res, err := ask[found](ctx, c, newRequest(http.MethodPost, "/v1/sync").json(body))
	return res.Clusters, err
}
