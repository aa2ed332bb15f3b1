package state

import (
	"fmt"

	"github.com/framedb/framedb/client/wire"
)

// Leftover says that a node owned an item and may still have something of it:
// what it started there, with its data. It outlives the item.
type Leftover struct {
	Item
	Node wire.NodeName `json:"node"`
	// Epoch is the last in which the node was the owner.
	Epoch uint64 `json:"epoch"`
}

// owned is a copy of an item's row, with what the rules of ownership need.
type owned struct {
	tag    wire.NodeTag
	phase  *wire.Phase
	reason *string
	owner  *wire.NodeName
	epoch  *uint64
	// row is the stored one, as a result; store puts the changed copy.
	row   any
	store func() any
}

func (t *tx) owned(i Item) (owned, error) {
	if i.Storage != "" {
		old, err := t.storage(i.Storage)
		if err != nil {
			return owned{}, err
		}
		row := *old
		s := &row.Status
		return owned{row.NodeTag, &s.Phase, &s.Reason, &s.Owner, &s.OwnerEpoch, old, func() any { t.putStorage(&row); return &row }}, nil
	}
	old, err := t.cluster(i.Cluster)
	if err != nil {
		return owned{}, err
	}
	row := *old
	s := &row.Status
	return owned{row.NodeTag, &s.Phase, &s.Reason, &s.Owner, &s.OwnerEpoch, old, func() any { t.putCluster(&row); return &row }}, nil
}

func (c AssignOwner) apply(t *tx) (any, error) {
	o, err := t.owned(c.Item)
	if err != nil {
		return nil, err
	}
	if *o.owner == c.Owner && (*o.epoch == c.Epoch || *o.epoch == c.Epoch+1) {
		return o.row, nil
	}
	if *o.epoch != c.Epoch {
		return nil, otherEpoch(c.Item, *o.owner, *o.epoch, c.Epoch)
	}
	if err := t.mayOwn(c.Owner, o); err != nil {
		return nil, wire.InField("owner", err)
	}
	if *o.owner != "" {
		t.insert(tableLeftovers, &Leftover{Item: c.Item, Node: *o.owner, Epoch: *o.epoch})
		unattended(o, fmt.Sprintf("%s takes over from %s", c.Owner, *o.owner))
	} else {
		*o.reason = ""
	}
	*o.owner, *o.epoch = c.Owner, c.Epoch+1
	return o.store(), nil
}

// mayOwn: an item that is being removed may be ended by any node, so that it
// can be where no node carries its tag any more.
func (t *tx) mayOwn(name wire.NodeName, o owned) error {
	n, err := t.node(name)
	switch {
	case err != nil:
		return err
	case n.Draining:
		return wire.Errorf(wire.CodeConflict, "node %q is draining", name)
	case !n.Carries(o.tag) && *o.phase != wire.PhaseRemoving:
		return wire.Errorf(wire.CodeConflict, "node %q does not carry %q", name, o.tag)
	}
	return nil
}

func (c ReportUnattended) apply(t *tx) (any, error) {
	o, err := t.owned(c.Item)
	if err != nil {
		return nil, err
	}
	if *o.epoch != c.Epoch {
		return nil, otherEpoch(c.Item, *o.owner, *o.epoch, c.Epoch)
	}
	phase, reason := *o.phase, *o.reason
	unattended(o, c.Reason)
	if phase != *o.phase || reason != *o.reason {
		o.store()
	}
	return nil, nil
}

// unattended notes that what was reported last need not be so any more.
func unattended(o owned, reason string) {
	*o.reason = reason
	if *o.phase == wire.PhaseReady {
		*o.phase = wire.PhaseDegraded
	}
}

// otherEpoch refuses what was decided or seen in an epoch that is not the
// stored one.
func otherEpoch(i Item, owner wire.NodeName, stored, epoch uint64) error {
	who := "has no owner"
	if owner != "" {
		who = fmt.Sprintf("is owned by %q", owner)
	}
	return wire.Errorf(wire.CodeConflict, "%v %s in epoch %d: what comes from epoch %d is refused", i, who, stored, epoch)
}

func (c ForgetLeftover) apply(t *tx) (any, error) {
	if old, ok := one[Leftover](t.View, tableLeftovers, byID, leftoverName(&c.Leftover)...); ok && old.Epoch == c.Epoch {
		t.remove(tableLeftovers, old)
	}
	return nil, nil
}

// leftoverName is a leftover's primary key, in its parts.
func leftoverName(l *Leftover) []any {
	if l.Storage != "" {
		return []any{string(l.Node), "", string(l.Storage)} // no cluster has the empty name
	}
	return []any{string(l.Node), string(l.Cluster)}
}
