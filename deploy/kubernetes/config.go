// Package kubernetes runs clusters as StatefulSets. The objects are pure
// functions of a specification; who starts as master is decided here from what
// the servers say, and told to them: no pod decides by itself. DESIGN.md tells
// how.
package kubernetes

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/redisconf"
	"github.com/framedb/framedb/deploy/sockets"
)

// Defaults of Config and Layout.
const (
	DefaultNamespace     = "framedb"
	DefaultClusterDomain = "cluster.local"
	DefaultRedisImage    = "redis:7.4"
	DefaultExporterImage = "oliver006/redis_exporter:v1.74.0"
	DefaultStorageSize   = "10Gi"
)

// PullPolicies are Kubernetes' image pull policies; the empty one lets
// Kubernetes choose by the image's tag.
var PullPolicies = []string{"", "Always", "IfNotPresent", "Never"}

// longestMember is how long a member's socket file name can be.
const longestMember = wire.MaxClusterName + len("-redis-node-99.sock")

// Layout is what the objects of all clusters have in common. Objects are a
// function of it: agents of one deployment must have the same.
type Layout struct {
	// Namespace holds the objects; it is not made. Default framedb.
	Namespace string
	// ClusterDomain is the DNS domain of the Kubernetes cluster; default
	// cluster.local.
	ClusterDomain string
	// SocketDir is a directory of each node that holds the Redis sockets. Pods
	// that use them mount it as hostPath. At most 47 bytes, because unix socket
	// paths end at 107.
	SocketDir string
	// RedisImage has redis-server, redis-sentinel, redis-cli (7 or newer) and a
	// shell in its PATH, and may run as any user. ExporterImage is used by
	// clusters with metrics. Another image restarts all members, one at a time.
	RedisImage, ExporterImage string
	// PullPolicy is one of PullPolicies; PullSecrets name Secrets of Namespace.
	PullPolicy  string
	PullSecrets []string
	// StorageClass and StorageSize are those of the volumes of clusters with
	// backup; others have none. The empty class is the default one. Default
	// size 10Gi.
	StorageClass, StorageSize string
}

// Config says how the driver runs Redis.
type Config struct {
	Layout
	// Client talks to the API server; see NewClient.
	Client kube.Interface
	// Node is the Kubernetes node that this agent runs on. Its SocketDir is
	// seen here under the same path.
	Node wire.NodeName
	// Password is asked of applications by Redis and Sentinel.
	Password string
	Logger   *slog.Logger // nil is silent
}

// What the agent may ask of the API server, in requests a second and at once.
// client-go's 5 and 10 would let the agent of a node with many clusters wait
// minutes after its start, when it applies each of them once.
const (
	clientQPS   = 50
	clientBurst = 100
)

// NewClient makes a client for the API server: of the pod that this runs in, or
// of the kubeconfig file when one is named.
//
// Errors: ErrInvalidArgument (Field kubeconfig).
func NewClient(kubeconfig string) (kube.Interface, error) {
	cfg, err := clientConfig(kubeconfig)
	if err != nil {
		return nil, wire.InField("kubeconfig", wire.Errorf(wire.CodeInvalidArgument,
			"%v: run the agent in a pod with a service account, or name a kubeconfig file", err))
	}
	cfg.QPS, cfg.Burst = clientQPS, clientBurst
	cfg.UserAgent = "framedb"
	client, err := kube.NewForConfig(cfg)
	if err != nil {
		return nil, wire.InField("kubeconfig", wire.Errorf(wire.CodeInvalidArgument, "%v", err))
	}
	return client, nil
}

func clientConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// complete fills what is left open and refuses what cannot work.
func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := redisconf.CheckPassword(c.Password); err != nil {
		return wire.InField("password", err)
	}
	if err := c.Node.Validate(); err != nil {
		return wire.InField("node_name", err)
	}
	return c.Layout.Complete()
}

// Complete fills what is left open and refuses what cannot work.
//
// Errors: ErrInvalidArgument with the configuration key in Field.
func (l *Layout) Complete() error {
	orDefault(&l.Namespace, DefaultNamespace)
	orDefault(&l.ClusterDomain, DefaultClusterDomain)
	orDefault(&l.RedisImage, DefaultRedisImage)
	orDefault(&l.ExporterImage, DefaultExporterImage)
	orDefault(&l.StorageSize, DefaultStorageSize)
	longest := sockets.MaxPath - 1 - longestMember
	switch size, err := resource.ParseQuantity(l.StorageSize); {
	case err != nil || size.Sign() <= 0:
		return invalid("backup_storage_size", "%q is no size: give one such as %s", l.StorageSize, DefaultStorageSize)
	case !filepath.IsAbs(l.SocketDir):
		return invalid("socket_dir", "%q is no absolute path: name the directory of the nodes that holds the Redis sockets", l.SocketDir)
	case len(l.SocketDir) > longest:
		return invalid("socket_dir", "%s has %d bytes: unix socket paths end at %d bytes, so choose a directory of at most %d", l.SocketDir, len(l.SocketDir), sockets.MaxPath, longest)
	case strings.ContainsAny(l.SocketDir, "\n\r:"):
		return invalid("socket_dir", "%q is no path that Kubernetes can mount: leave out line breaks and colons", l.SocketDir)
	case !slices.Contains(PullPolicies, l.PullPolicy):
		return invalid("image_pull_policy", "%q is unknown: give one of %v, or leave it out", l.PullPolicy, PullPolicies[1:])
	}
	if err := wire.FrameDBID(l.Namespace).Validate(); err != nil {
		return wire.InField("namespace", err)
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, "%s", fmt.Sprintf(format, args...)))
}

func orDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
