package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	koanfyaml "github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/framedb/framedb/actors/ingest"
	"github.com/framedb/framedb/actors/ingest/spool"
	"github.com/framedb/framedb/client/objects/backup"
	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/process"
	"github.com/framedb/framedb/raftstore"
)

// Config is what an agent runs with. Every key can stand in the file and, but
// for BackupTargets, in upper case behind FRAMEDB_ in the environment; those
// that Flags lists are flags as well. A flag wins over the environment, which wins over the file.
// Lists are separated by commas in the environment. No key holds a secret:
// secrets are in the files that the *_file keys name.
type Config struct {
	// Dev runs one node for a developer: loopback only unless Listen or
	// Advertise says otherwise, the process driver, data in a temporary
	// directory unless DataDir is given.
	Dev bool `koanf:"dev"`
	// DataDir holds everything that must outlive the agent. One agent at a time.
	DataDir string `koanf:"data_dir"`
	// Listen is the host:port of the REST API; an empty host listens on all
	// addresses, which lets anyone who reaches the port change FrameDB.
	Listen string `koanf:"listen"`
	// Socket is the path of the agent's unix socket, at most 107 bytes.
	Socket string `koanf:"socket"`
	// SocketDir is where the Redis sockets and <node tag>.sock are.
	SocketDir string `koanf:"socket_dir"`
	// NodeName is the agent's identity in gossip and Raft; it never changes for
	// a data directory. Default: the host name.
	NodeName wire.NodeName `koanf:"node_name"`
	// NodeTags are the tags that this node carries.
	NodeTags []wire.NodeTag `koanf:"node_tag"`
	// Namespace stands in service names (C-redis.<namespace>.svc.cluster.local).
	Namespace string `koanf:"namespace"`
	// Driver deploys clusters: "process" on this machine, "kubernetes" as pods.
	Driver string `koanf:"driver"`
	// PasswordFile holds the deployment's Redis password. Default: one is made
	// at the first start and kept in <data_dir>/password.
	PasswordFile string `koanf:"password_file"`

	// Advertise is the IP address at which other machines reach this node; its
	// Redis listens there too. Default: this machine's first one that is not
	// loopback, and loopback with Dev.
	Advertise string `koanf:"advertise"`
	// Join are gossip addresses of other agents: host:port, a name that stands
	// for many (each of its addresses is tried), or file:/path with one a line.
	Join []string `koanf:"join"`
	// Expect is how many agents found a FrameDB together, once, when none of
	// them has state. Default: 1 without Join, which founds it alone; 0 with
	// Join, which waits to be taken up by those who are there.
	Expect int `koanf:"expect"`
	// MaxVoters bounds the agents that vote in Raft, odd; the others follow.
	MaxVoters int `koanf:"max_voters"`
	// RaftBind and GossipBind are host:port; port 0 picks a free one. Default:
	// ports 5001 and 5002 of Advertise; free ones of loopback for an agent that
	// is alone.
	RaftBind   string `koanf:"raft_bind"`
	GossipBind string `koanf:"gossip_bind"`
	// GossipLabel keeps FrameDBs apart that share a network.
	GossipLabel string `koanf:"gossip_label"`
	// GossipKeyFile holds a base64 key of 16, 24 or 32 bytes that encrypts gossip.
	GossipKeyFile string `koanf:"gossip_key_file"`

	// RedisServer and RedisSentinel are the programs that the process driver
	// runs; default: looked up in PATH.
	RedisServer   string `koanf:"redis_server"`
	RedisSentinel string `koanf:"redis_sentinel"`
	// RedisPort and SentinelPort are the first ports that members take; each
	// next member takes the next free one. RedisPort 0 takes any free ones.
	RedisPort    int `koanf:"redis_port"`
	SentinelPort int `koanf:"sentinel_port"`
	// TiDBServer and MariaDB are the programs that hold persistent FrameDBs with
	// the process driver; default: tidb-server in PATH, or else mariadbd. They
	// are looked for when one is created.
	TiDBServer string `koanf:"tidb_server"`
	MariaDB    string `koanf:"mariadbd"`
	// StoragePort is the first port that persistent FrameDBs take; each next
	// one takes the next free one.
	StoragePort int `koanf:"storage_port"`
	// StopProcessesOnExit ends Redis, and what holds persistent FrameDBs, when
	// the agent ends. Frames are in memory:
	// they are gone then, unless the cluster has backup. Default: only with Dev
	// in a temporary directory.
	StopProcessesOnExit bool `koanf:"stop_processes_on_exit"`

	// Kubeconfig is the file by which the kubernetes driver finds the API
	// server. Default: that of the pod that the agent runs in. The other keys
	// of that driver have to be the same for all agents.
	Kubeconfig string `koanf:"kubeconfig"`
	// ClusterDomain is the DNS domain of the Kubernetes cluster.
	ClusterDomain string `koanf:"cluster_domain"`
	// RedisImage and ExporterImage are the images of members; another one
	// restarts all of them, one at a time.
	RedisImage    string `koanf:"redis_image"`
	ExporterImage string `koanf:"exporter_image"`
	// ImagePullPolicy is Always, IfNotPresent or Never; default: Kubernetes
	// chooses by the image's tag. ImagePullSecrets name Secrets of Namespace.
	ImagePullPolicy  string   `koanf:"image_pull_policy"`
	ImagePullSecrets []string `koanf:"image_pull_secret"`
	// BackupStorageClass and BackupStorageSize are those of the volumes of
	// clusters with backup; others have none.
	BackupStorageClass string `koanf:"backup_storage_class"`
	BackupStorageSize  string `koanf:"backup_storage_size"`

	// IngestMemoryBytes bounds the frames that are on their way in in memory.
	// More rides out longer pauses without the disk.
	IngestMemoryBytes int64 `koanf:"ingest_memory_bytes"`
	// IngestSpoolBytes, IngestSpoolAge and IngestSpoolMinFree bound the frames
	// that wait on disk while their FrameDB is down or slow: their bytes, the age
	// of the oldest one of a source, and what they leave of the disk.
	IngestSpoolBytes   int64         `koanf:"ingest_spool_bytes"`
	IngestSpoolAge     time.Duration `koanf:"ingest_spool_age"`
	IngestSpoolMinFree int64         `koanf:"ingest_spool_min_free"`
	// IngestSyncEvery has the disk be synced so often, rather than before a frame
	// is acknowledged: faster, and a power cut loses what was acknowledged since.
	IngestSyncEvery time.Duration `koanf:"ingest_sync_every"`
	// IngestSpillAfter is how long a frame waits for a slow FrameDB before it
	// goes to disk.
	IngestSpillAfter time.Duration `koanf:"ingest_spill_after"`

	// BackupTargets are places in S3-compatible storage for backups of FrameDBs;
	// in the file alone. Give all agents the same ones: the owner of a FrameDB
	// makes the backups that are planned.
	BackupTargets []backup.Target `koanf:"backup_targets"`

	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `koanf:"log_level"`
	LogFormat string `koanf:"log_format"`

	// temporary says that DataDir was made by this process and goes with it.
	temporary bool
}

const envPrefix = "FRAMEDB_"

// field is one key of Config.
type field struct {
	key  string
	list bool // split at commas in the environment
	// inFile says that its value is no text: it stands in the file alone.
	inFile bool
	index  int
}

// fields are the keys of Config in the order of their declaration.
func fields() []field {
	var all []field
	for i, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if key := f.Tag.Get("koanf"); key != "" {
			list := f.Type.Kind() == reflect.Slice
			all = append(all, field{key, list, list && f.Type.Elem().Kind() == reflect.Struct, i})
		}
	}
	return all
}

func findField(key string) (field, bool) {
	all := fields()
	i := slices.IndexFunc(all, func(f field) bool { return f.key == key })
	if i < 0 {
		return field{}, false
	}
	return all[i], true
}

// foreignEnv matches FRAMEDB_* variables that are not the agent's: the command
// line's, and those that Kubernetes makes for every Service whose name begins
// with framedb.
var foreignEnv = regexp.MustCompile(`^FRAMEDB_(ADDR|CONFIG|(TEST|RUN)_.*|(.+_)?SERVICE_(HOST|PORT.*)|(.+_)?PORT(_\d+_.*)?)$`)

// Flags defines the agent's flags; their environment twins are
// FRAMEDB_CONFIG, FRAMEDB_DATA_DIR and so on.
func Flags(f *pflag.FlagSet) {
	f.String("config", "", "configuration file, YAML (FRAMEDB_CONFIG)")
	f.Bool("dev", false, "one node for trying things out, loopback only unless --listen or --advertise says otherwise (FRAMEDB_DEV)")
	f.String("data-dir", "", "directory for everything that must outlive the agent (FRAMEDB_DATA_DIR)")
	f.String("listen", "", "host:port of the REST API (FRAMEDB_LISTEN)")
	f.String("socket", "", "path of the agent's unix socket (FRAMEDB_SOCKET)")
	f.String("node-name", "", "identity of this node; default: the host name (FRAMEDB_NODE_NAME)")
	f.StringSlice("node-tag", nil, "tag that this node carries; repeatable (FRAMEDB_NODE_TAG)")
	f.String("advertise", "", "IP address at which other machines reach this node (FRAMEDB_ADVERTISE)")
	f.StringSlice("join", nil, "gossip address of another agent, host:port; repeatable (FRAMEDB_JOIN)")
	f.Int("expect", 0, "how many agents found a FrameDB together (FRAMEDB_EXPECT)")
}

// Load merges file, environment and the flags that were set, fills defaults and
// validates. environ is os.Environ's form.
//
// Errors: ErrInvalidArgument with the key in Field; the message says where the
// value came from.
func Load(flags *pflag.FlagSet, environ []string) (Config, error) {
	k := koanf.New(".")
	if err := loadFile(k, configPath(flags, environ)); err != nil {
		return Config{}, err
	}
	if err := loadEnv(k, environ); err != nil {
		return Config{}, err
	}
	set := posflag.ProviderWithFlag(flags, ".", k, func(f *pflag.Flag) (string, any) {
		key := strings.ReplaceAll(f.Name, "-", "_")
		if _, known := findField(key); !known || !f.Changed {
			return "", nil
		}
		return key, posflag.FlagVal(flags, f)
	})
	if err := k.Load(set, nil); err != nil {
		return Config{}, fmt.Errorf("flags: %w", err)
	}
	c := Config{RedisPort: process.DefaultBasePort, SentinelPort: process.DefaultBaseSentinelPort, StoragePort: process.DefaultBaseStoragePort}
	var err error
	if c.BackupTargets, err = takeBackupTargets(k); err != nil {
		return Config{}, err
	}
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, wrongType(err)
	}
	c.applyDefaults(k.Exists("stop_processes_on_exit"))
	return c, c.Validate()
}

// wrongType says of a value that cannot be read what its key takes.
func wrongType(err error) error {
	var at interface { // mapstructure.DecodeError
		error
		Name() string
	}
	if !errors.As(err, &at) {
		return wire.Errorf(wire.CodeInvalidArgument, "configuration: %v", err)
	}
	takes := "one value"
	if f, known := findField(at.Name()); known {
		switch t := reflect.TypeFor[Config]().Field(f.index).Type; {
		case t == reflect.TypeFor[time.Duration]():
			takes = "a duration such as 30s"
		case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
			takes = "a whole number"
		case t.Kind() == reflect.Bool:
			takes = "true or false"
		}
	}
	return wire.InField(at.Name(), wire.Errorf(wire.CodeInvalidArgument, "it cannot be read: give %s", takes))
}

func configPath(flags *pflag.FlagSet, environ []string) string {
	if path, _ := flags.GetString("config"); path != "" {
		return path
	}
	for _, kv := range environ {
		if path, ok := strings.CutPrefix(kv, envPrefix+"CONFIG="); ok {
			return path
		}
	}
	return ""
}

func loadFile(k *koanf.Koanf, path string) error {
	if path == "" {
		return nil
	}
	own := koanf.New(".")
	if err := own.Load(file.Provider(path), koanfyaml.Parser()); err != nil {
		return wire.InField("config", wire.Errorf(wire.CodeInvalidArgument, "%s: %v", path, err))
	}
	for _, key := range own.Keys() {
		if _, known := findField(key); !known {
			return unknownKey(key, path)
		}
	}
	return k.Merge(own)
}

func loadEnv(k *koanf.Koanf, environ []string) error {
	var unknown, misplaced string
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ToLower(strings.TrimPrefix(name, envPrefix))
			f, known := findField(key)
			switch {
			case known && f.inFile:
				misplaced = name
			case known && f.list:
				return key, strings.Split(value, ",")
			case known:
				return key, value
			case !foreignEnv.MatchString(name):
				unknown = name
			}
			return "", nil
		},
	}), nil)
	if unknown != "" {
		return unknownKey(unknown, "the environment")
	}
	if misplaced != "" {
		return wire.InField(misplaced, wire.Errorf(wire.CodeInvalidArgument, "it stands in the configuration file alone"))
	}
	return err
}

func unknownKey(key, where string) error {
	var known []string
	for _, f := range fields() {
		known = append(known, f.key)
	}
	e := wire.Errorf(wire.CodeUnknownField, "%s in %s is unknown: known keys are %s", key, where, strings.Join(known, ", "))
	e.Field = key
	return e
}

func (c *Config) applyDefaults(stopGiven bool) {
	if c.Dev {
		c.temporary = c.DataDir == ""
		if !stopGiven {
			c.StopProcessesOnExit = c.temporary
		}
		fill(&c.Advertise, "127.0.0.1")
		fill(&c.Listen, net.JoinHostPort(c.Advertise, "5000"))
		if len(c.NodeTags) == 0 {
			c.NodeTags = []wire.NodeTag{"node-1", "node-a"}
		}
	} else {
		fill(&c.DataDir, "/var/lib/framedb")
		fill(&c.Advertise, ownAddress())
		fill(&c.Listen, ":5000")
	}
	fill(&c.Namespace, "framedb")
	fill(&c.Driver, processDriver)
	c.fillMembership()
	fill(&c.GossipLabel, "framedb")
	c.fillIngest()
	fill(&c.LogLevel, "info")
	fill(&c.LogFormat, "text")
	if c.DataDir != "" {
		c.fillPaths()
	}
}

// fillMembership sets what follows from being alone or one of many.
func (c *Config) fillMembership() {
	fill(&c.MaxVoters, raftstore.DefaultMaxVoters)
	if len(c.Join) == 0 && c.Expect <= 1 {
		fill(&c.Expect, 1)
		fill(&c.RaftBind, "127.0.0.1:0")
		fill(&c.GossipBind, "127.0.0.1:0")
		return
	}
	fill(&c.RaftBind, net.JoinHostPort(c.Advertise, "5001"))
	fill(&c.GossipBind, net.JoinHostPort(c.Advertise, "5002"))
}

func (c *Config) fillIngest() {
	fill(&c.IngestMemoryBytes, ingest.DefaultMemoryBytes)
	fill(&c.IngestSpoolBytes, ingest.DefaultSpoolBytes)
	fill(&c.IngestSpoolAge, ingest.DefaultSpoolAge)
	fill(&c.IngestSpoolMinFree, spool.DefaultMinFree)
	fill(&c.IngestSpillAfter, ingest.DefaultSpillAfter)
}

// fillPaths sets the paths that follow from DataDir.
func (c *Config) fillPaths() {
	if abs, err := filepath.Abs(c.DataDir); err == nil {
		c.DataDir = abs
	}
	fill(&c.Socket, filepath.Join(c.DataDir, "agent.sock"))
	fill(&c.SocketDir, filepath.Join(c.DataDir, "sockets"))
	fill(&c.PasswordFile, filepath.Join(c.DataDir, passwordFile))
}

func fill[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// YAML is the effective configuration as a file that gives it again. It holds
// no secrets because no key does.
func (c Config) YAML() string {
	values := yaml.MapSlice{}
	for _, f := range fields() {
		values = append(values, yaml.MapItem{Key: f.key, Value: reflect.ValueOf(c).Field(f.index).Interface()})
	}
	b, err := yaml.Marshal(values)
	if err != nil {
		return err.Error() // strings, numbers and lists always marshal
	}
	return string(b)
}

// makeTemporary makes the data directory of a dev agent that was given none.
func (c *Config) makeTemporary() error {
	if !c.temporary || c.DataDir != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "framedb-")
	if errors.Is(err, fs.ErrPermission) {
		return wire.InField("data_dir", wire.Errorf(wire.CodeInvalidArgument, "%v: give a directory that you may write to", err))
	}
	if err != nil {
		return err
	}
	c.DataDir = dir
	c.fillPaths()
	return c.Validate()
}
