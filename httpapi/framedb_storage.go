package httpapi

import (
	"encoding/json"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
)

// This file serves /framedb/persistent-instances.

// storageParts are what callers say of a persistent FrameDB, in any of the
// spellings that are in use.
type storageParts struct {
	Size        *string         `json:"storage_size"`
	SizeCamel   *string         `json:"storageSize"`
	Replication json.RawMessage `json:"replication"`
	Params      json.RawMessage `json:"db_params"`
	ParamsCamel json.RawMessage `json:"dbParams"`
	Parameters  json.RawMessage `json:"parameters"`
	Password    *string         `json:"password"`
}

type newStorage struct {
	ID wire.FrameDBID `json:"framedb_id"`
	place
	storageParts
}

// update is the change that the parts ask for, and how the caller spelled the
// fields that the store may find wrong.
func (p *storageParts) update() (u wire.UpdateStorage, spelling map[string]string, err error) {
	spelling = map[string]string{}
	u.Password = p.Password
	if u.StorageSize = p.Size; u.StorageSize == nil {
		u.StorageSize, spelling["storage_size"] = p.SizeCamel, "storageSize"
	}
	if len(p.Replication) > 0 {
		if u.Replicas, err = replicationOf(p.Replication); err != nil {
			return u, nil, wire.InField("replication", err)
		}
	}
	for _, f := range []struct {
		name string
		raw  json.RawMessage
	}{{"db_params", p.Params}, {"dbParams", p.ParamsCamel}, {"parameters", p.Parameters}} {
		if len(f.raw) == 0 {
			continue
		}
		if u.Parameters, err = parametersOf(f.raw); err != nil {
			return u, nil, wire.InField(f.name, err)
		}
		spelling["parameters"] = f.name
		for _, kind := range []string{".pd", ".tikv", ".tidb"} {
			spelling["parameters"+kind] = f.name + kind
		}
	}
	for _, kind := range []string{".pd", ".tikv", ".tidb"} {
		spelling["replicas"+kind] = "replication"
	}
	return u, spelling, nil
}

// replicationOf reads a number, which is how many TiKV keep the data, or
// {"pd", "tikv", "tidb"}.
func replicationOf(raw json.RawMessage) (*wire.StorageReplicas, error) {
	r := new(wire.StorageReplicas)
	if raw[0] == '{' {
		if err := json.Unmarshal(raw, r); err != nil {
			return nil, wire.Errorf(wire.CodeInvalidArgument, "want pd, tikv and tidb to be whole numbers")
		}
		return r, nil
	}
	if err := json.Unmarshal(raw, &r.TiKV); err != nil {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "want a whole number, or an object with pd, tikv and tidb, got %s", kindOf(raw[0]))
	}
	if r.TiKV < 1 {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "%d is out of range: give 1 to %d", r.TiKV, wire.MaxStorageReplicas)
	}
	return r, nil
}

// parametersOf reads {"pd": {…}, "tikv": {…}, "tidb": {…}}, or else parameters
// of TiDB.
func parametersOf(raw json.RawMessage) (*wire.StorageParameters, error) {
	var kinds map[string]json.RawMessage
	if err := json.Unmarshal(raw, &kinds); err != nil {
		return nil, wire.Errorf(wire.CodeInvalidArgument, "want an object, got %s", kindOf(raw[0]))
	}
	for name := range kinds {
		if name != "pd" && name != "tikv" && name != "tidb" {
			return &wire.StorageParameters{TiDB: raw}, nil
		}
	}
	return &wire.StorageParameters{PD: kinds["pd"], TiKV: kinds["tikv"], TiDB: kinds["tidb"]}, nil
}

// storageInfo describes a persistent FrameDB.
type storageInfo struct {
	ID          wire.FrameDBID          `json:"framedb_id"`
	Node        wire.NodeName           `json:"node_id"` // where it is, if on one node
	NodeTag     wire.NodeTag            `json:"node_tag"`
	Selector    map[string]wire.NodeTag `json:"node_selector"`
	Size        string                  `json:"storage_size"`
	Replication wire.StorageReplicas    `json:"replication"`
	Params      wire.StorageParameters  `json:"db_params"`
	URL         string                  `json:"url"`
	Status      wire.Phase              `json:"status"`
	Reason      string                  `json:"reason,omitempty"`
	Engine      wire.Engine             `json:"engine"` // empty until it was asked
	Version     string                  `json:"version"`
}

func (s *Server) storageInfoOf(p *wire.PersistentInstance) storageInfo {
	return storageInfo{
		ID: p.ID, Node: p.Status.Node, NodeTag: p.NodeTag, Selector: map[string]wire.NodeTag{nodeLabel: p.NodeTag},
		Size: p.StorageSize, Replication: p.Replicas, Params: p.Parameters, URL: s.storageURL(p),
		Status: p.Status.Phase, Reason: p.Status.Reason, Engine: p.Status.Engine, Version: p.Status.Version,
	}
}

// kubernetesDriver is the name of the driver under which a persistent FrameDB
// has its URL before anything of it runs: that of its Service.
const kubernetesDriver = "kubernetes"

// storageURL is what the owner reported. Callers of the first FrameDB make the
// URL on Kubernetes themselves, and may compare.
func (s *Server) storageURL(p *wire.PersistentInstance) string {
	if p.Status.URL == "" && p.External == nil && s.cfg.Driver == kubernetesDriver {
		return fmt.Sprintf("mysql://%s.framedb-storage.svc.cluster.local:4000", p.ID)
	}
	return p.Status.URL
}

func (s *Server) seedListStorage(*gin.Context) (reply, error) {
	infos := []storageInfo{}
	for _, p := range s.cfg.Store.View().PersistentInstances() {
		infos = append(infos, s.storageInfoOf(p))
	}
	return ok(infos)
}

func (s *Server) seedGetStorage(c *gin.Context) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	row, err := persistentIn(s.cfg.Store.View(), id)
	if err != nil {
		return reply{}, err
	}
	return ok(s.storageInfoOf(row))
}

func (s *Server) seedCreateStorage(c *gin.Context, in *newStorage) (reply, error) {
	if err := check("framedb_id", in.ID); err != nil {
		return reply{}, err
	}
	tag, where, err := in.tag(s, s.cfg.Store.View(), "node_selector")
	if err != nil {
		return reply{}, err
	}
	parts, spelling, err := in.update()
	if err != nil {
		return reply{}, err
	}
	spelling["node_tag"] = where
	create := wire.CreateStorage{ID: in.ID, StorageSpec: wire.StorageSpec{NodeTag: tag}}
	if parts.StorageSize != nil {
		create.StorageSize = *parts.StorageSize
	}
	if parts.Replicas != nil {
		create.Replicas = *parts.Replicas
	}
	if parts.Parameters != nil {
		create.Parameters = *parts.Parameters
	}
	if parts.Password != nil {
		create.Password = *parts.Password
	}
	row, err := s.createStorage(c, create)
	if err != nil {
		return reply{}, respell(err, spelling)
	}
	return ok(s.storageInfoOf(&row))
}

func (s *Server) seedUpdateStorage(c *gin.Context, in *storageParts) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	update, spelling, err := in.update()
	if err != nil {
		return reply{}, err
	}
	row, err := s.updateStorage(c, id, update)
	if err != nil {
		return reply{}, respell(err, spelling)
	}
	return ok(s.storageInfoOf(&row))
}

// removedStorage is the answer of DELETE /framedb/persistent-instances/{framedb_id}.
type removedStorage struct {
	ID    wire.FrameDBID `json:"framedb_id"`
	State string         `json:"state"` // "removed", or "removing" when the wait ended first
}

func (s *Server) seedRemoveStorage(c *gin.Context) (reply, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return reply{}, err
	}
	_, gone, err := s.removeStorage(c, id)
	res := removedStorage{ID: id, State: string(wire.PhaseRemoving)}
	if gone {
		res.State = stateRemoved
	}
	return reply{body: res}, err
}
