package httpapi

import (
	"net/http"
	"slices"

	"github.com/framedb/framedb/client/wire"
)

// routes is the whole API.
func (s *Server) routes() []route {
	return slices.Concat(s.seedRoutes(), s.v1Routes(), s.agentRoutes())
}

// seedRoutes are the first FrameDB's. With each stand the fields that it
// requires. All are POST but one, and those under /framedb, which came later.
func (s *Server) seedRoutes() []route {
	routes := []route{
		post("/cluster/createCluster", lenient(s.seedCreateCluster, specFields("clusterName")...)),
		post("/cluster/removeCluster", lenient(s.seedRemoveCluster, "clusterName")),
		post("/cluster/getClusterInfo", lenient(s.seedClusterInfo, "clusterName")),
		post("/cluster/synchronize", lenient(s.seedSynchronize, "synchronize")),
		post("/cluster/synchronizeCluster", lenient(s.seedSynchronizeCluster, "clusterName")),
		post("/cluster/createClusters", lenient(s.seedCreateClusters, specFields("clusterPrefix", "startIndex", "nClusters")...)),
		post("/cluster/removeClusters", lenient(s.seedRemoveClusters, "clusterList")),
		post("/replication/createReplication", lenient(s.seedCreateReplication, "clusterId", "replicas")),

		post("/discovery/getMaster", lenient(s.seedGetMaster, "framedb_id")),
		post("/discovery/getSlaves", lenient(s.seedGetSlaves, "framedb_id")),
		post("/discovery/getClusterInfo", lenient(s.seedTopology, "framedb_id")),
		post("/discovery/getClusterMaster", lenient(s.seedClusterMaster, "clusterName")),

		post("/routing/getMapping", lenient(s.seedGetMapping, "sourceId")),
		post("/routing/createMapping", lenient(s.seedCreateMapping, "sourceId", "nodeTag")),
		post("/routing/removeMapping", lenient(s.seedRemoveMapping, "sourceId", "nodeTag")),
		post("/routing/updateMapping", lenient(s.seedUpdateMapping, "sourceId", "nodeTag")),
		post("/routing/getSourcesByInstance", lenient(s.seedSourcesByInstance, "framedb")),
		post("/routing/getSourcesByNode", lenient(s.seedSourcesByNode, "nodeTag")),
		post("/routing/reassignInstance", lenient(s.seedReassignInstance, "nodeTag", "framedb")),
		post("/routing/reassignSource", lenient(s.seedReassignSource, "sourceId", "nodeTag", "framedb")),
		post("/routing/ressignSource", lenient(s.seedReassignSource, "sourceId", "nodeTag", "framedb")), // sic
		post("/routing/getLeastAssignedInstance", lenient(s.seedLeastAssigned, "nodeTag")),
		post("/routing/getMaxAssignedInstance", lenient(s.seedMaxAssigned, "nodeTag")),
		post("/routing/updateMetadata", lenient(s.seedUpdateMetadata, "sourceId", "nodeTag", "metadata")),
		post("/routing/getMappingMetadata", lenient(s.seedGetMetadata, "sourceId", "nodeTag")),

		get("/nodes/getNodes", s.seedGetNodes),
		post("/nodes/labelFramedbNode", lenient(s.seedLabelNode, "nodeName", "framedbName")),
		post("/nodes/unlabelFramedbNode", lenient(s.seedUnlabelNode, "nodeName")),
		post("/nodes/getFramedbPods", lenient(s.seedGetPods, "nodeName")),
		post("/nodes/getFramedbNodes", lenient(s.seedGetFramedbNodes, "nodeTag")),

		get("/framedb/persistent-instances", s.seedListStorage),
		post("/framedb/persistent-instances", lenient(s.seedCreateStorage, "framedb_id")),
		get("/framedb/persistent-instances/:framedb_id", s.seedGetStorage),
		{method: http.MethodDelete, path: "/framedb/persistent-instances/:framedb_id", handle: s.seedRemoveStorage},
		post("/framedb/persistent-instances/:framedb_id/update", lenient(s.seedUpdateStorage)),
		get("/framedb/instances", s.seedListMemory),
		post("/framedb/instances", lenient(s.seedCreateMemory, "framedb_id")),
		get("/framedb/instances/:framedb_id", s.seedGetMemory),
		{method: http.MethodDelete, path: "/framedb/instances/:framedb_id", handle: s.seedRemoveMemory},
		post("/framedb/instances/:framedb_id/config", s.seedConfigMemory()),
	}
	for i := range routes {
		routes[i].seed = true
	}
	return routes
}

func (s *Server) v1Routes() []route {
	return []route{
		get("/v1/clusters", s.reads(s.v1ListClusters, wire.TableClusters)),
		post("/v1/clusters", strict(s.v1CreateCluster, "name", "node_tag", "replicas", "quorum")),
		get("/v1/clusters/:name", s.reads(s.v1GetCluster, wire.TableClusters)),
		{method: http.MethodPatch, path: "/v1/clusters/:name", handle: strict(s.v1UpdateCluster)},
		{method: http.MethodDelete, path: "/v1/clusters/:name", handle: s.v1RemoveCluster},
		get("/v1/clusters/:name/topology", s.v1Topology),
		post("/v1/clusters/:name/sync", s.v1SyncCluster),
		post("/v1/clusters/:name/sweep", strict(s.v1SweepCluster)),
		post("/v1/sync", strict(s.v1Sync, "adopt")),

		get("/v1/instances", s.reads(s.v1ListInstances, wire.TableInstances, wire.TablePersistent)),
		get("/v1/instances/:framedb_id", s.v1GetInstance()),

		get("/v1/storage", s.reads(s.v1ListStorage, wire.TablePersistent)),
		post("/v1/storage", strict(s.v1CreateStorage, "framedb_id", "node_tag")),
		get("/v1/storage/:framedb_id", s.reads(s.v1GetStorage, wire.TablePersistent)),
		{method: http.MethodPatch, path: "/v1/storage/:framedb_id", handle: strict(s.v1UpdateStorage)},
		{method: http.MethodDelete, path: "/v1/storage/:framedb_id", handle: s.v1RemoveStorage},

		get("/v1/ingestions", s.reads(s.v1ListIngestions, wire.TableIngestions)),
		get("/v1/ingestions/:source", s.reads(s.v1GetIngestion, wire.TableIngestions)),
		{method: http.MethodPut, path: "/v1/ingestions/:source", handle: strict(s.v1PutIngestion)},
		{method: http.MethodDelete, path: "/v1/ingestions/:source", handle: s.v1DeleteIngestion},

		get("/v1/ingest", s.v1IngestStatus),
		post("/v1/ingest/:source", s.v1Ingest),

		get("/v1/sources", s.reads(s.v1ListSources, wire.TableMappings)),
		get("/v1/sources/:source", s.reads(s.v1GetSource, wire.TableMappings, wire.TableInstances)),
		post("/v1/sources/:source/mappings", strict(s.v1CreateMapping, "node_tag")),
		{method: http.MethodPatch, path: "/v1/sources/:source/mappings/:tag", handle: strict(s.v1UpdateMapping)},
		{method: http.MethodDelete, path: "/v1/sources/:source/mappings/:tag", handle: s.v1RemoveMapping},

		get("/v1/frames/:source", s.v1ListFrames),
		get("/v1/frames/:source/:key", s.v1GetFrame),
		{method: http.MethodPut, path: "/v1/frames/:source/:frame/:size", handle: s.v1PutFrame},
		post("/v1/frames/:source/decr", quick(wire.ReadDecrementFrames, s.v1Decrement, "decrements")),
		post("/v1/frames/:source/retain", strict(s.v1Retain, "uses")),

		get("/v1/leases", s.v1ListLeases),
		post("/v1/leases/:lease", strict(s.v1TakeLease, "ttl_ms", "uses")),
		post("/v1/leases/:lease/renew", strict(s.v1RenewLease, "ttl_ms")),
		post("/v1/leases/:lease/put-back", strict(s.v1PutBack, "decrements")),
		post("/v1/leases/:lease/release", strict(s.v1ReleaseLease)),

		get("/v1/framedbs/:framedb_id/objects", s.v1ListObjects),
		get("/v1/framedbs/:framedb_id/objects/*key", s.v1GetObject),
		{method: http.MethodHead, path: "/v1/framedbs/:framedb_id/objects/*key", handle: s.v1HeadObject},
		{method: http.MethodPut, path: "/v1/framedbs/:framedb_id/objects/*key", handle: s.v1PutObject},
		{method: http.MethodDelete, path: "/v1/framedbs/:framedb_id/objects/*key", handle: s.v1DeleteObject},

		get("/v1/backup-targets", s.v1ListBackupTargets),
		get("/v1/framedbs/:framedb_id/backups", s.v1ListBackups),
		post("/v1/framedbs/:framedb_id/backups", strict(s.v1CreateBackup, "target")),
		{method: http.MethodDelete, path: "/v1/framedbs/:framedb_id/backups/:backup", handle: s.v1DeleteBackup},
		post("/v1/framedbs/:framedb_id/backups/:backup/restore", strict(s.v1RestoreBackup, "target")),
		post("/v1/framedbs/:framedb_id/backups/:backup/verify", strict(s.v1VerifyBackup, "target")),

		get("/v1/nodes", s.reads(s.v1ListNodes, wire.TableNodes)),
		{method: http.MethodPut, path: "/v1/nodes/:name/label", handle: strict(s.v1LabelNode, "label")},
		{method: http.MethodPut, path: "/v1/nodes/:name/drain", handle: strict(s.v1DrainNode, "draining")},
		{method: http.MethodDelete, path: "/v1/nodes/:name", handle: s.v1RemoveNode},

		get("/v1/raft", s.v1Raft),
		post("/v1/raft/transfer", strict(s.v1TransferLeadership)),
	}
}

func (s *Server) agentRoutes() []route {
	return []route{
		get("/v1/status", s.v1Status),
		get("/v1/events", s.v1Events),
		get("/v1/credentials", s.v1Credentials),
		early("/healthz", s.health),
		early("/readyz", s.ready),
		early("/metrics", s.metricsPage()),
		early("/openapi.json", openapiPage()),
	}
}

func early(path string, h handler) route {
	r := get(path, h)
	r.early = true
	return r
}

func get(path string, h handler) route {
	return route{method: http.MethodGet, path: path, handle: h}
}

func post(path string, h handler) route {
	return route{method: http.MethodPost, path: path, handle: h}
}
