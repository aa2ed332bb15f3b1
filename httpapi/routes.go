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
// requires; all are POST but one.
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
		post("/v1/sync", strict(s.v1Sync, "adopt")),

		get("/v1/instances", s.reads(s.v1ListInstances, wire.TableInstances, wire.TablePersistent)),
		get("/v1/instances/:framedb_id", s.v1GetInstance()),

		get("/v1/sources", s.reads(s.v1ListSources, wire.TableMappings)),
		get("/v1/sources/:source", s.reads(s.v1GetSource, wire.TableMappings, wire.TableInstances)),
		post("/v1/sources/:source/mappings", strict(s.v1CreateMapping, "node_tag")),
		{method: http.MethodPatch, path: "/v1/sources/:source/mappings/:tag", handle: strict(s.v1UpdateMapping)},
		{method: http.MethodDelete, path: "/v1/sources/:source/mappings/:tag", handle: s.v1RemoveMapping},

		get("/v1/frames/:source", s.v1ListFrames),
		get("/v1/frames/:source/:key", s.v1GetFrame),
		{method: http.MethodPut, path: "/v1/frames/:source/:frame/:size", handle: s.v1PutFrame},
		post("/v1/frames/:source/decr", strict(s.v1Decrement, "decrements")),

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
