package state

import (
	"fmt"

	"github.com/framedb/framedb/client/wire"
)

// Leftover says that a node owned a cluster and may still have something of
// it: what it started there, with its data. It outlives the cluster.
type Leftover struct {
	Cluster wire.ClusterName `json:"cluster"`
	Node    wire.NodeName    `json:"node"`
	// Epoch is the last in which the node was the owner.
	Epoch uint64 `json:"epoch"`
}

func (c AssignOwner) apply(t *tx) (any, error) {
	old, err := t.cluster(c.Name)
	if err != nil {
		return nil, err
	}
	s := old.Status
	if s.Owner == c.Owner && (s.OwnerEpoch == c.Epoch || s.OwnerEpoch == c.Epoch+1) {
		return old, nil
	}
	if s.OwnerEpoch != c.Epoch {
		return nil, otherEpoch(old, c.Epoch)
	}
	if err := t.mayOwn(c.Owner, old); err != nil {
		return nil, wire.InField("owner", err)
	}
	row := *old
	row.Status.Owner, row.Status.OwnerEpoch, row.Status.Reason = c.Owner, c.Epoch+1, ""
	if s.Owner != "" {
		t.insert(tableLeftovers, &Leftover{Cluster: c.Name, Node: s.Owner, Epoch: s.OwnerEpoch})
		unattended(&row.Status, fmt.Sprintf("%s takes over from %s", c.Owner, s.Owner))
	}
	t.putCluster(&row)
	return &row, nil
}

// mayOwn: a cluster that is being removed may be ended by any node, so that it
// can be where no node carries its tag any more.
func (t *tx) mayOwn(name wire.NodeName, c *wire.Cluster) error {
	n, err := t.node(name)
	switch {
	case err != nil:
		return err
	case n.Draining:
		return wire.Errorf(wire.CodeConflict, "node %q is draining", name)
	case !n.Carries(c.NodeTag) && c.Status.Phase != wire.PhaseRemoving:
		return wire.Errorf(wire.CodeConflict, "node %q does not carry %q", name, c.NodeTag)
	}
	return nil
}

func (c ReportUnattended) apply(t *tx) (any, error) {
	old, err := t.cluster(c.Name)
	if err != nil {
		return nil, err
	}
	if old.Status.OwnerEpoch != c.Epoch {
		return nil, otherEpoch(old, c.Epoch)
	}
	row := *old
	unattended(&row.Status, c.Reason)
	if row.Status != old.Status {
		t.putCluster(&row)
	}
	return nil, nil
}

// unattended notes that what was reported last need not be so any more.
func unattended(s *wire.ClusterStatus, reason string) {
	s.Reason = reason
	if s.Phase == wire.PhaseReady {
		s.Phase = wire.PhaseDegraded
	}
}

// otherEpoch refuses what was decided or seen in an epoch that is not the
// stored one.
func otherEpoch(c *wire.Cluster, epoch uint64) error {
	owner := "has no owner"
	if c.Status.Owner != "" {
		owner = fmt.Sprintf("is owned by %q", c.Status.Owner)
	}
	return wire.Errorf(wire.CodeConflict, "cluster %q %s in epoch %d: what comes from epoch %d is refused", c.Name, owner, c.Status.OwnerEpoch, epoch)
}

func (c ForgetLeftover) apply(t *tx) (any, error) {
	if old, ok := one[Leftover](t.View, tableLeftovers, byID, string(c.Node), string(c.Cluster)); ok && old.Epoch == c.Epoch {
		t.remove(tableLeftovers, old)
	}
	return nil, nil
}
