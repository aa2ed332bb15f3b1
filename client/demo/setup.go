package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

const (
	createWait  = 2 * time.Minute
	removeWait  = time.Minute
	cleanUpWait = 15 * time.Second
)

// stage is where a run takes place, and what of it was made for the run.
type stage struct {
	client      *client.Client
	opts        Options
	tag         wire.NodeTag
	madeCluster bool
	madeMapping bool
	complete    bool // both are there
}

// setUp makes or finds the cluster and the mapping. What it returns beside an
// error can be torn down.
func setUp(ctx context.Context, c *client.Client, o Options, sizes []string) (*stage, error) {
	s := &stage{client: c, opts: o, tag: o.NodeTag}
	if err := s.cluster(ctx); err != nil {
		return s, err
	}
	err := s.mapping(ctx, sizes)
	s.complete = err == nil
	return s, err
}

func (s *stage) cluster(ctx context.Context) error {
	cluster, err := s.client.Cluster(ctx, s.opts.Cluster)
	switch {
	case errors.Is(err, wire.ErrNotFound):
		cluster, err = s.createCluster(ctx)
	case err == nil && cluster.Status.Phase == wire.PhaseCreating:
		cluster, err = s.client.UpdateCluster(ctx, cluster.Name, wire.UpdateCluster{Replicas: &cluster.Replicas}, createWait)
	}
	if err != nil {
		return fmt.Errorf("cluster %s: %w", s.opts.Cluster, err)
	}
	if s.tag = cluster.NodeTag; s.opts.NodeTag != "" && s.tag != s.opts.NodeTag {
		return wire.Errorf(wire.CodeConflict, "cluster %s is on node tag %s, not %s", cluster.Name, s.tag, s.opts.NodeTag)
	}
	if phase := cluster.Status.Phase; phase != wire.PhaseReady && phase != wire.PhaseDegraded {
		return wire.Errorf(wire.CodeUnavailable, "cluster %s is %s after %v: %s", cluster.Name, phase, createWait, cluster.Status.Reason)
	}
	return nil
}

func (s *stage) createCluster(ctx context.Context) (wire.Cluster, error) {
	if s.tag == "" {
		tag, err := s.ownTag(ctx)
		if err != nil {
			return wire.Cluster{}, err
		}
		s.tag = tag
	}
	s.opts.Note(fmt.Sprintf("creating cluster %s on %s, members: %d", s.opts.Cluster, s.tag, s.opts.Replicas))
	spec := wire.ClusterSpec{NodeTag: s.tag, Replicas: s.opts.Replicas, Quorum: max(s.opts.Replicas, 0)/2 + 1}
	cluster, err := s.client.CreateCluster(ctx, wire.CreateCluster{Name: s.opts.Cluster, ClusterSpec: spec}, createWait)
	s.madeCluster = err == nil || errors.Is(err, wire.ErrOutcomeUnknown)
	return cluster, err
}

// ownTag is the first tag of the node that is asked.
func (s *stage) ownTag(ctx context.Context) (wire.NodeTag, error) {
	status, err := s.client.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range status.Members {
		if m.Name == status.Node && len(m.Tags) > 0 {
			return m.Tags[0], nil
		}
	}
	return "", wire.Errorf(wire.CodeInvalidArgument, "node %s has no tag: give --node-tag", status.Node)
}

// mapping makes the source write to the cluster. A mapping that is there
// already is used when it leads to the same cluster, and left as it is: its
// metadata are for the source's own writers, and a run needs none.
func (s *stage) mapping(ctx context.Context, sizes []string) error {
	metadata, err := json.Marshal(map[string]any{"sizes": sizes, "ref_count": readers})
	if err != nil {
		return err
	}
	source, cluster := s.opts.Source, s.opts.Cluster
	_, err = s.client.CreateMapping(ctx, source, wire.CreateMapping{NodeTag: s.tag, Cluster: cluster, Metadata: metadata})
	if !errors.Is(err, wire.ErrAlreadyExists) {
		s.madeMapping = err == nil
		return err
	}
	found, err := s.client.Source(ctx, source)
	if err != nil {
		return err
	}
	for _, r := range found.Routes {
		if r.NodeTag == s.tag && r.Cluster != cluster {
			return wire.Errorf(wire.CodeConflict, "source %s writes to cluster %s already: give another --source", source, r.Cluster)
		}
	}
	return nil
}

// tearDown removes what was made, also when ctx has ended, and says what
// stays.
func (s *stage) tearDown(ctx context.Context) error {
	if s.opts.Keep {
		if s.complete {
			s.noteWhatStays()
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWait+cleanUpWait)
	defer cancel()
	var errs []error
	if s.madeMapping {
		_, err := s.client.RemoveMapping(ctx, s.opts.Source, s.tag)
		errs = append(errs, err)
	}
	if s.madeCluster {
		s.opts.Note("removing cluster " + string(s.opts.Cluster))
		_, err := s.client.RemoveCluster(ctx, s.opts.Cluster, removeWait)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// noteWhatStays says how to take away what this run made, and nothing else.
func (s *stage) noteWhatStays() {
	var commands []string
	if s.madeMapping {
		commands = append(commands, fmt.Sprintf("%s source unmap %s --node-tag %s", s.opts.Command, s.opts.Source, s.tag))
	}
	if s.madeCluster {
		commands = append(commands, fmt.Sprintf("%s cluster remove %s", s.opts.Command, s.opts.Cluster))
	}
	note := fmt.Sprintf("cluster %s and source %s stay, without frames", s.opts.Cluster, s.opts.Source)
	if len(commands) > 0 {
		note += "; to take away what was made: " + strings.Join(commands, " && ")
	}
	s.opts.Note(note)
}
