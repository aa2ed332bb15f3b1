package state

import (
	"encoding/json"
	"maps"
	"reflect"

	"github.com/framedb/framedb/client/wire"
)

func (c CreateClusters) apply(t *tx) (any, error) {
	if len(c.Names) == 0 {
		return nil, wire.InField("names", wire.Errorf(wire.CodeInvalidArgument, "no cluster is named"))
	}
	created := make([]*wire.Cluster, 0, len(c.Names))
	for _, name := range c.Names {
		row, err := t.createCluster(name, c.Spec, c.Metadata)
		if err != nil {
			return nil, err
		}
		created = append(created, row)
	}
	return created, nil
}

func (c ImportCluster) apply(t *tx) (any, error) {
	row, err := t.createCluster(c.Name, c.Spec, nil)
	if err != nil || c.Owner == "" {
		return row, err
	}
	return AssignOwner{Item: Item{Cluster: c.Name}, Owner: c.Owner}.apply(t)
}

func (t *tx) createCluster(name wire.ClusterName, spec wire.ClusterSpec, metadata json.RawMessage) (*wire.Cluster, error) {
	if err := name.Validate(); err != nil {
		return nil, wire.InField("name", err)
	}
	spec.ApplyDefaults()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if _, ok := t.Cluster(name); ok {
		return nil, wire.InField("name", wire.Errorf(wire.CodeAlreadyExists, "cluster %q exists already", name))
	}
	if _, ok := t.Persistent(wire.FrameDBID(name)); ok {
		return nil, wire.InField("name", wire.Errorf(wire.CodeAlreadyExists, "persistent FrameDB %q exists already", name))
	}
	metadata, err := checkMetadata(metadata, wire.MaxClusterMetadata)
	if err != nil {
		return nil, err
	}
	row := &wire.Cluster{
		Name: name, ClusterSpec: spec, Metadata: metadata, Generation: 1, CreateIndex: t.index,
		Status: wire.ClusterStatus{Phase: wire.PhaseCreating},
	}
	t.putCluster(row)
	return row, nil
}

func (c UpdateCluster) apply(t *tx) (any, error) {
	old, err := t.openCluster(c.Name)
	if err != nil {
		return nil, err
	}
	row := *old
	c.change(&row.ClusterSpec)
	if err := row.ClusterSpec.Validate(); err != nil {
		return nil, err
	}
	if len(c.Metadata) > 0 {
		if row.Metadata, err = checkMetadata(c.Metadata, wire.MaxClusterMetadata); err != nil {
			return nil, err
		}
	}
	if reflect.DeepEqual(row, *old) {
		return old, nil
	}
	if !reflect.DeepEqual(row.ClusterSpec, old.ClusterSpec) {
		row.Generation++
	}
	t.putCluster(&row)
	return &row, nil
}

func (c UpdateCluster) change(spec *wire.ClusterSpec) {
	set(&spec.Replicas, c.Replicas)
	set(&spec.Quorum, c.Quorum)
	set(&spec.EnableMetrics, c.EnableMetrics)
	set(&spec.Backup, c.Backup)
	set(&spec.MaxMemory, c.MaxMemory)
	set(&spec.MaxMemoryPolicy, c.MaxMemoryPolicy)
	set(&spec.DownAfter, c.DownAfter)
	set(&spec.FailoverTimeout, c.FailoverTimeout)
	set(&spec.ParallelSyncs, c.ParallelSyncs)
	spec.Settings = changeSettings(spec.Settings, c.Settings)
}

// changeSettings leaves the stored map as it is: rows are shared.
func changeSettings(old wire.RedisSettings, by map[string]*string) wire.RedisSettings {
	settings := maps.Clone(old)
	for name, value := range by { // each by itself, in any order
		switch {
		case value == nil:
			delete(settings, name)
		case settings == nil:
			settings = wire.RedisSettings{name: *value}
		default:
			settings[name] = *value
		}
	}
	if len(settings) == 0 {
		return nil
	}
	return settings
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (t *tx) cluster(name wire.ClusterName) (*wire.Cluster, error) {
	c, ok := t.Cluster(name)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "cluster %q is unknown", name)
	}
	return c, nil
}

// openCluster finds a cluster that is not being removed.
func (t *tx) openCluster(name wire.ClusterName) (*wire.Cluster, error) {
	c, err := t.cluster(name)
	if err == nil && c.Status.Phase == wire.PhaseRemoving {
		return nil, wire.Errorf(wire.CodeConflict, "cluster %q is being removed", name)
	}
	return c, err
}

func (c RemoveCluster) apply(t *tx) (any, error) {
	old, err := t.cluster(c.Name)
	if err != nil {
		return nil, err
	}
	if old.Status.Phase != wire.PhaseRemoving {
		row := *old
		row.Status.Phase, row.Status.Reason = wire.PhaseRemoving, ""
		t.putCluster(&row)
	}
	return t.moveAll(old), nil
}

// moveAll moves every source of a cluster to the least loaded other cluster on
// the tag; where there is none the mapping is deleted.
func (t *tx) moveAll(from *wire.Cluster) wire.RemovedCluster {
	res := wire.RemovedCluster{Moved: []wire.Mapping{}, Unmapped: []wire.Mapping{}}
	for _, m := range t.MappingsTo(from.Name) {
		to, ok := t.leastLoadedBut(from.NodeTag, from.Name)
		if !ok {
			t.deleteMapping(m)
			res.Unmapped = append(res.Unmapped, *m)
			continue
		}
		row := *m
		row.Cluster = to.Name
		t.putMapping(&row)
		res.Moved = append(res.Moved, row)
	}
	return res
}

func (c PurgeCluster) apply(t *tx) (any, error) {
	row, ok := t.Cluster(c.Name)
	if !ok {
		return nil, nil
	}
	if row.Status.Phase != wire.PhaseRemoving {
		return nil, wire.Errorf(wire.CodeConflict, "cluster %q is not being removed", c.Name)
	}
	if c.Epoch != 0 && c.Epoch != row.Status.OwnerEpoch {
		return nil, otherEpoch(Item{Cluster: c.Name}, row.Status.Owner, row.Status.OwnerEpoch, c.Epoch)
	}
	for _, i := range t.InstancesOf(c.Name) {
		t.delete(wire.TableInstances, i)
	}
	t.deleteCluster(row)
	return nil, nil
}

func (c ReportCluster) apply(t *tx) (any, error) {
	old, err := t.cluster(c.Name)
	if err != nil {
		return nil, err
	}
	if c.Status.Owner != old.Status.Owner || c.Status.OwnerEpoch != old.Status.OwnerEpoch {
		return nil, otherEpoch(Item{Cluster: c.Name}, old.Status.Owner, old.Status.OwnerEpoch, c.Status.OwnerEpoch)
	}
	status := c.Status
	if old.Status.Phase == wire.PhaseRemoving {
		status.Phase = wire.PhaseRemoving
	}
	if status != old.Status {
		row := *old
		row.Status = status
		t.putCluster(&row)
	}
	return nil, t.replaceInstances(c.Name, c.Instances)
}

// replaceInstances makes the list the cluster's complete one, touching only
// rows that differ.
func (t *tx) replaceInstances(name wire.ClusterName, list []wire.Instance) error {
	keep := map[wire.FrameDBID]bool{}
	for _, i := range list {
		if owner, _, ok := i.ID.SplitMember(); !ok || owner != name {
			return wire.InField("instances", wire.Errorf(wire.CodeInvalidArgument, "%q is no member of cluster %q", i.ID, name))
		}
		keep[i.ID] = true
		old, known := t.Instance(i.ID)
		if known {
			i.ModifyIndex = old.ModifyIndex
		}
		if known && reflect.DeepEqual(*old, i) {
			continue
		}
		i.ModifyIndex = t.index
		t.put(wire.TableInstances, &i)
	}
	for _, i := range t.InstancesOf(name) {
		if !keep[i.ID] {
			t.delete(wire.TableInstances, i)
		}
	}
	return nil
}
