package state

import (
	"cmp"
	"encoding/json"
	"reflect"

	"github.com/framedb/framedb/client/wire"
)

// Secret is the password of one persistent FrameDB. It is in no table that can
// be watched, and in no answer but that to the agents' own question.
type Secret struct {
	ID       wire.FrameDBID `json:"framedb_id"`
	Password string         `json:"password"` // empty: the deployment's
	// Former is the password before, until the owner has seen to it that the
	// database has the new one.
	Former string `json:"former,omitempty"`
	// Changing says that Former may still be the one that the database has.
	Changing bool `json:"changing,omitempty"`
}

func (t *tx) storage(id wire.FrameDBID) (*wire.PersistentInstance, error) {
	row, ok := t.Persistent(id)
	if !ok {
		return nil, wire.Errorf(wire.CodeNotFound, "persistent FrameDB %q is unknown", id)
	}
	return row, nil
}

func (t *tx) putStorage(row *wire.PersistentInstance) {
	row.ModifyIndex = t.index
	t.put(wire.TablePersistent, row)
}

func (c CreateStorage) apply(t *tx) (any, error) {
	if err := c.ID.Validate(); err != nil {
		return nil, wire.InField("framedb_id", err)
	}
	if _, _, member := c.ID.SplitMember(); member {
		return nil, wire.InField("framedb_id", wire.Errorf(wire.CodeInvalidArgument, "%q has the form of a cluster's member: give another", c.ID))
	}
	spec := c.Spec
	spec.ApplyDefaults()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if err := wire.ValidatePassword(c.Password); err != nil {
		return nil, err
	}
	if _, taken := t.Persistent(c.ID); taken {
		return nil, wire.InField("framedb_id", wire.Errorf(wire.CodeAlreadyExists, "persistent FrameDB %q exists already", c.ID))
	}
	if _, taken := t.Cluster(wire.ClusterName(c.ID)); taken {
		return nil, wire.InField("framedb_id", wire.Errorf(wire.CodeAlreadyExists, "cluster %q exists already", c.ID))
	}
	row := &wire.PersistentInstance{
		ID: c.ID, StorageSpec: spec, Generation: 1, CreateIndex: t.index,
		Status: wire.StorageStatus{Phase: wire.PhaseCreating},
	}
	t.putStorage(row)
	t.insert(tableSecrets, &Secret{ID: c.ID, Password: c.Password})
	return row, nil
}

func (c UpdateStorage) apply(t *tx) (any, error) {
	old, err := t.openStorage(c.ID)
	if err != nil {
		return nil, err
	}
	spec := old.StorageSpec
	c.change(&spec)
	spec.ApplyDefaults()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if (spec.External == nil) != (old.External == nil) {
		return nil, wire.InField("external", wire.Errorf(wire.CodeConflict, "persistent FrameDB %q runs on a server of FrameDB's own: create another one for the external server, and copy", c.ID))
	}
	changed, err := t.changePassword(c.ID, c.Password)
	if err != nil {
		return nil, err
	}
	if !changed && reflect.DeepEqual(spec, old.StorageSpec) {
		return old, nil
	}
	row := *old
	row.StorageSpec = spec
	row.Generation++
	t.putStorage(&row)
	return &row, nil
}

func (c UpdateStorage) change(spec *wire.StorageSpec) {
	set(&spec.StorageSize, c.StorageSize)
	set(&spec.Exclusive, c.Exclusive)
	if r := c.Replicas; r != nil {
		to := &spec.Replicas
		to.PD, to.TiKV, to.TiDB = cmp.Or(r.PD, to.PD), cmp.Or(r.TiKV, to.TiKV), cmp.Or(r.TiDB, to.TiDB)
	}
	if p := c.Parameters; p != nil {
		to := &spec.Parameters
		to.PD, to.TiKV, to.TiDB = changeParameters(to.PD, p.PD), changeParameters(to.TiKV, p.TiKV), changeParameters(to.TiDB, p.TiDB)
	}
	if c.External != nil {
		spec.External = c.External
	}
	if c.Backup != nil {
		spec.Backup = c.Backup
	}
}

// changeParameters replaces those of one kind of server; {} takes them away.
func changeParameters(old, by json.RawMessage) json.RawMessage {
	switch string(by) {
	case "":
		return old
	case "{}":
		return nil
	}
	return by
}

func (t *tx) changePassword(id wire.FrameDBID, password *string) (changed bool, err error) {
	old, ok := t.Secret(id)
	if !ok || password == nil || *password == old.Password {
		return false, nil
	}
	if err := wire.ValidatePassword(*password); err != nil {
		return false, err
	}
	row := &Secret{ID: id, Password: *password, Former: old.Password, Changing: true}
	if old.Changing {
		row.Former = old.Former // the one in between may never have been set
	}
	t.insert(tableSecrets, row)
	return true, nil
}

// openStorage finds one that is not being removed.
func (t *tx) openStorage(id wire.FrameDBID) (*wire.PersistentInstance, error) {
	row, err := t.storage(id)
	if err == nil && row.Status.Phase == wire.PhaseRemoving {
		return nil, wire.Errorf(wire.CodeConflict, "persistent FrameDB %q is being removed", id)
	}
	return row, err
}

func (c RemoveStorage) apply(t *tx) (any, error) {
	old, err := t.storage(c.ID)
	if err != nil || old.Status.Phase == wire.PhaseRemoving {
		return old, err
	}
	for in := range rows[wire.Ingestion](t.View, string(wire.TableIngestions), byID) {
		if in.Target == c.ID {
			return nil, wire.Errorf(wire.CodeConflict, "source %q is ingested into persistent FrameDB %q: give its ingestion another target first", in.Source, c.ID)
		}
	}
	row := *old
	row.Status.Phase, row.Status.Reason = wire.PhaseRemoving, ""
	t.putStorage(&row)
	return &row, nil
}

func (c PurgeStorage) apply(t *tx) (any, error) {
	row, ok := t.Persistent(c.ID)
	if !ok {
		return nil, nil
	}
	if row.Status.Phase != wire.PhaseRemoving {
		return nil, wire.Errorf(wire.CodeConflict, "persistent FrameDB %q is not being removed", c.ID)
	}
	if c.Epoch != 0 && c.Epoch != row.Status.OwnerEpoch {
		return nil, otherEpoch(Item{Storage: c.ID}, row.Status.Owner, row.Status.OwnerEpoch, c.Epoch)
	}
	t.delete(wire.TablePersistent, row)
	if secret, ok := t.Secret(c.ID); ok {
		t.remove(tableSecrets, secret)
	}
	return nil, nil
}

func (c ReportStorage) apply(t *tx) (any, error) {
	old, err := t.storage(c.ID)
	if err != nil {
		return nil, err
	}
	s := c.Status
	if s.Owner != old.Status.Owner || s.OwnerEpoch != old.Status.OwnerEpoch {
		return nil, otherEpoch(Item{Storage: c.ID}, old.Status.Owner, old.Status.OwnerEpoch, s.OwnerEpoch)
	}
	if old.Status.Phase == wire.PhaseRemoving {
		s.Phase = wire.PhaseRemoving
	}
	if secret, ok := t.Secret(c.ID); ok && secret.Changing && s.ObservedGeneration == old.Generation {
		t.insert(tableSecrets, &Secret{ID: c.ID, Password: secret.Password})
	}
	if !reflect.DeepEqual(s, old.Status) {
		row := *old
		row.Status = s
		t.putStorage(&row)
	}
	return nil, nil
}
