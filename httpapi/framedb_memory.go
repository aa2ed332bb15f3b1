package httpapi

import (
	"context"
	"encoding/json"

	"github.com/gin-gonic/gin"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// This file serves /framedb/instances: FrameDBs in memory, each of which is a
// cluster that has the FrameDB's ID for its name. One that is made here has one
// member; those of other clusters are answered under their IDs as well.

// newMemory is the body of POST /framedb/instances.
type newMemory struct {
	ID wire.FrameDBID `json:"framedb_id"`
	place
	Metadata    json.RawMessage `json:"metadata"`
	RedisConfig redisConfig     `json:"redis_config"`
}

// memoryInfo describes one. Where it was asked for by the ID of a member, and
// in Instances, role, health and address are that member's, else the master's.
type memoryInfo struct {
	ID       wire.FrameDBID          `json:"framedb_id"`
	Cluster  wire.ClusterName        `json:"cluster_name"`
	NodeTag  wire.NodeTag            `json:"node_tag"`
	Selector map[string]wire.NodeTag `json:"node_selector"`
	Status   wire.Phase              `json:"status"`
	Reason   string                  `json:"reason,omitempty"`
	memberInfo
	Metadata    json.RawMessage `json:"metadata"`
	RedisConfig map[string]any  `json:"redis_config"`
	Instances   []memberRow     `json:"instances"`
}

// memberRow is one member in a list.
type memberRow struct {
	ID wire.FrameDBID `json:"framedb_id"`
	memberInfo
}

// memberInfo is where one member is; zero until it was started.
type memberInfo struct {
	Node         wire.NodeName `json:"node_id"`
	Role         wire.Role     `json:"role"`
	Health       wire.Health   `json:"health"`
	Host         string        `json:"host"`
	Port         int           `json:"port"`
	SentinelPort int           `json:"sentinel_port"`
	URL          string        `json:"url"`
	Socket       string        `json:"socket,omitempty"`
}

func memberInfoOf(r wire.Resolved) memberInfo {
	return memberInfo{
		Node: r.Node, Role: r.Role, Health: r.Health, Host: r.Host, Port: r.Port, SentinelPort: r.SentinelPort, URL: r.URL, Socket: r.Socket,
	}
}

// memoryInfoOf describes a cluster under an ID from the store alone.
func (s *Server) memoryInfoOf(v *state.View, id wire.FrameDBID, row *wire.Cluster) memoryInfo {
	info := memoryInfo{
		ID: id, Cluster: row.Name, NodeTag: row.NodeTag, Selector: map[string]wire.NodeTag{nodeLabel: row.NodeTag},
		Status: row.Status.Phase, Reason: row.Status.Reason, memberInfo: memberInfo{Role: wire.RoleUnknown, Health: wire.HealthStopped},
		Metadata: row.Metadata, RedisConfig: redisConfigOf(&row.ClusterSpec), Instances: []memberRow{},
	}
	if len(info.Metadata) == 0 {
		info.Metadata = json.RawMessage("{}")
	}
	for _, i := range v.InstancesOf(row.Name) {
		info.Instances = append(info.Instances, memberRow{i.ID, memberInfoOf(s.resolved(i))})
	}
	if i, err := memberIn(v, id); err == nil {
		info.memberInfo = memberInfoOf(s.resolved(i))
	}
	return info
}

// memoryInfoNow asks Sentinel for the role of what has the ID, and describes it.
func (s *Server) memoryInfoNow(ctx context.Context, id wire.FrameDBID, row *wire.Cluster) memoryInfo {
	v := s.cfg.Store.View()
	info := s.memoryInfoOf(v, id, row)
	if i, err := memberIn(v, id); err == nil {
		info.memberInfo = memberInfoOf(s.asSentinelSays(ctx, s.resolved(i), i.ID != id))
	}
	return info
}

func (s *Server) seedListMemory(*gin.Context) (reply, error) {
	v := s.cfg.Store.View()
	infos := []memoryInfo{}
	for _, row := range v.Clusters() {
		infos = append(infos, s.memoryInfoOf(v, wire.FrameDBID(row.Name), row))
	}
	return ok(infos)
}

func (s *Server) seedCreateMemory(c *gin.Context, in *newMemory) (reply, error) {
	if err := check("framedb_id", wire.ClusterName(in.ID)); err != nil { // which is shorter
		return reply{}, err
	}
	tag, where, err := in.tag(s, s.cfg.Store.View(), "node_id")
	if err != nil {
		return reply{}, err
	}
	config, err := in.RedisConfig.update("redis_config")
	if err != nil {
		return reply{}, err
	}
	spec := specOf(tag, config)
	list, err := s.createClusters(c, []wire.ClusterName{wire.ClusterName(in.ID)}, spec, in.Metadata)
	if err != nil {
		spelling := redisSpelling("redis_config")
		spelling["name"], spelling["node_tag"] = "framedb_id", where
		return reply{}, respell(err, spelling)
	}
	return ok(s.memoryInfoNow(c.Request.Context(), in.ID, &list[0]))
}

// specOf is that of a cluster of one member.
func specOf(tag wire.NodeTag, config wire.UpdateCluster) wire.ClusterSpec {
	spec := wire.ClusterSpec{NodeTag: tag, Replicas: 1, Quorum: 1, Settings: wire.RedisSettings{}}
	if config.MaxMemory != nil {
		spec.MaxMemory = *config.MaxMemory
	}
	if config.MaxMemoryPolicy != nil {
		spec.MaxMemoryPolicy = *config.MaxMemoryPolicy
	}
	if config.Backup != nil {
		spec.Backup = *config.Backup
	}
	for name, value := range config.Settings {
		spec.Settings[name] = *value
	}
	return spec
}

// memoryAt is the cluster that the ID in the path belongs to.
func (s *Server) memoryAt(c *gin.Context) (wire.FrameDBID, *wire.Cluster, error) {
	id, err := pathName[wire.FrameDBID](c, "framedb_id")
	if err != nil {
		return id, nil, err
	}
	v := s.cfg.Store.View()
	name, err := clusterOf(v, "framedb_id", id)
	if err != nil {
		return id, nil, err
	}
	row, err := clusterIn(v, name)
	return id, row, err
}

func (s *Server) seedGetMemory(c *gin.Context) (reply, error) {
	id, row, err := s.memoryAt(c)
	if err != nil {
		return reply{}, err
	}
	return ok(s.memoryInfoNow(c.Request.Context(), id, row))
}

// removedMemory is the answer of DELETE /framedb/instances/{framedb_id}.
type removedMemory struct {
	ID    wire.FrameDBID `json:"framedb_id"`
	State string         `json:"state"` // "removed", or "removing" when the wait ended first
	wire.RemovedCluster
}

// seedRemoveMemory removes the whole cluster, so it takes a member's ID only
// where there is no other member.
func (s *Server) seedRemoveMemory(c *gin.Context) (reply, error) {
	p, cancel, err := s.pauseOf(c)
	if err != nil {
		return reply{}, err
	}
	defer cancel()
	id, row, err := s.memoryAt(c)
	if err != nil {
		return reply{}, err
	}
	if string(id) != string(row.Name) && row.Replicas > 1 {
		return reply{}, wire.InField("framedb_id", wire.Errorf(wire.CodeConflict, "%q is one of %d members of cluster %q: remove that, or scale it", id, row.Replicas, row.Name))
	}
	moved, index, err := s.removeCluster(c, row.Name)
	if err != nil {
		return reply{}, err
	}
	res := removedMemory{ID: id, State: string(wire.PhaseRemoving), RemovedCluster: moved}
	gone, err := s.awaitGone(p, row.Name, index)
	if gone {
		res.State = stateRemoved
	}
	return reply{body: res}, err
}

// configBody is the body of POST …/config: parameters in one of these fields,
// or else as the fields of the body.
type configBody struct {
	RedisConfig redisConfig `json:"redis_config"`
	Config      redisConfig `json:"config"`
}

// seedConfigMemory changes parameters of Redis while it runs.
func (s *Server) seedConfigMemory() handler {
	decoder := newDecoder[configBody](false, nil)
	return func(c *gin.Context) (reply, error) {
		body, err := readBody(c, wire.MaxBody, eagerBody)
		if err != nil {
			return reply{}, err
		}
		var in configBody
		if err := decoder.decode(body, &in); err != nil {
			return reply{}, err
		}
		config, field := in.RedisConfig, "redis_config"
		if config == nil {
			config, field = in.Config, "config"
		}
		if config == nil {
			config, field = redisConfig{}, ""
			if err := json.Unmarshal(body, &config); err != nil {
				return reply{}, wire.Errorf(wire.CodeMalformed, "the body is not JSON: %v", err)
			}
			delete(config, "redis_config") // each is null
			delete(config, "config")
		}
		return s.configMemory(c, config, field)
	}
}

func (s *Server) configMemory(c *gin.Context, config redisConfig, field string) (reply, error) {
	id, row, err := s.memoryAt(c)
	if err != nil {
		return reply{}, err
	}
	if len(config) == 0 {
		return reply{}, wire.InField("redis_config", wire.Errorf(wire.CodeMissingField, "is required, with a parameter of Redis in it"))
	}
	update, err := config.update(field)
	if err != nil {
		return reply{}, err
	}
	now, err := s.updateCluster(c, state.UpdateCluster{Name: row.Name, UpdateCluster: update})
	if err != nil {
		return reply{}, respell(err, redisSpelling(field))
	}
	return ok(s.memoryInfoNow(c.Request.Context(), id, &now))
}
