package kubernetes

import (
	"maps"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// Ports of every member and of its Services.
const (
	redisPort    = 6379
	sentinelPort = 26379
	metricsPort  = 9121
)

// manager is the field manager of server-side apply: what it has set is ours,
// everything else in the objects is somebody else's and stays.
const manager = "framedb"

// Labels and annotations. release, app and role are those by which the first
// FrameDB's objects are found; tagLabel is also the label of nodes.
const (
	releaseLabel = "release"
	appLabel     = "app"
	roleLabel    = "role"
	ownerLabel   = "app.kubernetes.io/managed-by"
	tagLabel     = "framedb"
	// servesLabel stands on the pod to which a tag's socket leads.
	servesLabel = "framedb/serves"
	// specAnnotation holds the spec that was last applied, as JSON.
	specAnnotation = "framedb/spec"
)

const setSuffix = "-redis-node"

func setName(c wire.ClusterName) string      { return string(c) + setSuffix }
func serviceName(c wire.ClusterName) string  { return string(c) + "-redis" }
func headlessName(c wire.ClusterName) string { return string(c) + "-redis-headless" }
func metricsName(c wire.ClusterName) string  { return string(c) + "-redis-metrics" }

// clusterOf takes a StatefulSet's name apart.
func clusterOf(set string) (wire.ClusterName, bool) {
	name, ok := strings.CutSuffix(set, setSuffix)
	return wire.ClusterName(name), ok && wire.ClusterName(name).Validate() == nil
}

// podDomain is what stands behind a pod's name in its host name.
func (l *Layout) podDomain(c wire.ClusterName) string {
	return headlessName(c) + "." + l.Namespace + ".svc." + l.ClusterDomain
}

// host is the name under which everybody knows a member, whatever address its
// pod has now.
func (l *Layout) host(c wire.ClusterName, ordinal int) string {
	return string(c.Member(ordinal)) + "." + l.podDomain(c)
}

func (l *Layout) redis(c wire.ClusterName, ordinal int) wire.Endpoint {
	return wire.Endpoint{Host: l.host(c, ordinal), Port: redisPort}
}

// selector selects a cluster's pods.
func selector(c wire.ClusterName) map[string]string {
	return map[string]string{appLabel: "redis", releaseLabel: string(c), roleLabel: "node"}
}

// objectLabels stand on each object of a cluster.
func objectLabels(c wire.ClusterName, tag wire.NodeTag) map[string]string {
	return map[string]string{
		appLabel: "redis", releaseLabel: string(c), tagLabel: string(tag), ownerLabel: manager,
	}
}

func with(a map[string]string, b map[string]string) map[string]string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}
