package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/redisconf"
)

// Where things are in a pod.
const (
	confDir   = "/etc/framedb"
	dataDir   = "/data"
	socketDir = "/run/framedb"
)

// Keys of the Secret.
const (
	passwordKey     = "redis-password"
	peerKey         = "peer-password"
	redisAuthKey    = "redis-auth.conf"
	sentinelAuthKey = "sentinel-auth.conf"
	monitorAuthKey  = "sentinel-monitor.conf"
)

// Keys of the ConfigMap.
const (
	redisConfKey     = "redis.conf"
	sentinelConfKey  = "sentinel.conf"
	startSentinelKey = "start-sentinel.sh"
	readyKey         = "ready.sh"
)

// Users of a cluster's own, all with its peer password. A server of another
// cluster, at an address that was ours, refuses them.
const (
	replicaUser  = "framedb-replica"  // a replica to its master
	sentinelUser = "framedb-sentinel" // a Sentinel to Redis and to other Sentinels
	probeUser    = "framedb-probe"    // kubelet's probes and the exporter
	agentUser    = "framedb-agent"    // this driver
)

// nobody is whom each Redis follows when it starts: a port of its own pod where
// nobody listens. Such a member is held: it has no data, gives none away (a
// replica that asks it for a copy is refused and keeps what it has) and waits
// to be told. So a master that comes back empty can wipe nobody.
var nobody = wire.Endpoint{Host: "127.0.0.1", Port: 1}

// From how many members on a master refuses writes while no replica follows it
// within so many seconds: one that is cut off from the others must not take
// what the next master will not have. With two members a lost replica would
// stop all writes.
const (
	guardedFrom = 3
	guardMaxLag = 10
)

// redisConf is the same for all members; what differs is on the command line.
// It is mounted read-only, so that nothing that Sentinel tells a Redis outlives
// it.
func redisConf(spec *wire.ClusterSpec) string {
	f := new(redisconf.File)
	f.Set("bind", "*", "-::*")
	f.Set("port", redisPort)
	f.Set("daemonize", "no")
	f.Set("dir", dataDir)
	f.Set("logfile", `""`)
	f.Set("unixsocketperm", 777)
	f.Set("include", confDir+"/"+redisAuthKey)
	f.Frames(spec, redisconf.Buffers{Backlog: redisconf.DefaultBacklog, Replica: redisconf.DefaultReplicaBuffer})
	f.Set("replica-announce-port", redisPort)
	f.Set("replicaof", nobody.Host, nobody.Port)
	if spec.Replicas >= guardedFrom {
		f.Set("min-replicas-to-write", 1)
		f.Set("min-replicas-max-lag", guardMaxLag)
	}
	return f.String()
}

func sentinelConf() string {
	f := new(redisconf.File)
	f.Set("bind", "*", "-::*")
	f.Set("port", sentinelPort)
	f.Set("daemonize", "no")
	f.Set("dir", dataDir)
	f.Set("logfile", `""`)
	f.Set("sentinel resolve-hostnames", "yes")
	f.Set("sentinel announce-hostnames", "yes")
	f.Set("sentinel announce-port", sentinelPort)
	f.Set("sentinel deny-scripts-reconfig", "yes")
	return f.String()
}

// Passwords are what a cluster's servers ask for.
type Passwords struct {
	// Deployment is the applications'; Peer is the cluster's own.
	Deployment, Peer string
}

// acl is a user's line. The password is hashed: the line may be shown.
func acl(f *redisconf.File, user, password string, rules ...any) {
	sum := sha256.Sum256([]byte(password))
	f.Set("user", append([]any{user, "on", "#" + hex.EncodeToString(sum[:])}, rules...)...)
}

// sentinelRules are what Sentinel does at a Redis.
var sentinelRules = []any{"&*", "-@all", "+multi", "+slaveof", "+ping", "+exec", "+subscribe", "+config|rewrite", "+role", "+publish",
	"+info", "+client|setname", "+client|kill", "+script|kill"}

func redisAuth(p Passwords) string {
	f := new(redisconf.File)
	f.Set("requirepass", redisconf.Quoted(p.Deployment))
	f.Set("masteruser", replicaUser)
	f.Set("masterauth", redisconf.Quoted(p.Peer))
	acl(f, replicaUser, p.Peer, "-@all", "+psync", "+replconf", "+ping")
	acl(f, sentinelUser, p.Peer, sentinelRules...)
	acl(f, probeUser, p.Peer, "-@all", "+ping", "+info", "+client|setname", "+slowlog|get", "+slowlog|len", "+latency|latest", "+latency|histogram")
	acl(f, agentUser, p.Peer, "~*", "&*", "+@all")
	return f.String()
}

func sentinelAuth(p Passwords) string {
	f := new(redisconf.File)
	f.Set("requirepass", redisconf.Quoted(p.Deployment))
	f.Set("sentinel sentinel-user", sentinelUser)
	f.Set("sentinel sentinel-pass", p.Peer)
	acl(f, sentinelUser, p.Peer, "&*", "-@all", "+ping", "+publish", "+info", "+client|setname", "+sentinel|is-master-down-by-addr")
	acl(f, agentUser, p.Peer, "~*", "&*", "+@all")
	return f.String()
}

// monitorAuth goes into the file of a Sentinel that knows a master.
func monitorAuth(p Passwords) string {
	f := new(redisconf.File)
	f.Set("sentinel auth-user", wire.MasterName, sentinelUser)
	f.Set("sentinel auth-pass", wire.MasterName, p.Peer)
	return f.String()
}

// sentinelID is the ID of a member's Sentinel without the ordinal. It stays the
// same for a pod that is made anew, so that the others never count a dead one.
func sentinelID(namespace string, c wire.ClusterName) string {
	sum := sha256.Sum256([]byte(namespace + "/" + string(c)))
	return hex.EncodeToString(sum[:19])
}

// startSentinel keeps what the Sentinel of this pod has learnt over a restart of
// its container, and with backup of its pod; all else is written anew. One that
// knows no master waits to be told.
func startSentinel(id, domain string) string {
	return fmt.Sprintf(`#!/bin/sh
# Starts the Sentinel of this pod.
set -eu
file=%[1]s/sentinel.conf
knows='^sentinel (monitor|config-epoch|leader-epoch|current-epoch|known-replica|known-sentinel|down-after-milliseconds|failover-timeout|parallel-syncs) '
learnt=$(grep -E "$knows" "$file" 2>/dev/null || true)
umask 077
{
  cat %[2]s/%[3]s %[2]s/%[4]s
  printf 'sentinel myid %[5]s%%02d\n' "${POD_NAME##*-}"
  printf 'sentinel announce-ip %%s.%[6]s\n' "$POD_NAME"
  case "$learnt" in *"sentinel monitor "*) printf '%%s\n' "$learnt"; cat %[2]s/%[7]s ;; esac
} >"$file.new"
mv "$file.new" "$file"
exec redis-sentinel "$file"
`, dataDir, confDir, sentinelConfKey, sentinelAuthKey, id, domain, monitorAuthKey)
}

// neverSynced is the offset that Redis gives for a replica that has no data.
const neverSynced = 1

// ready says of a member that it has the data: the master, or a replica that
// has copied all of it. One whose master died stays ready: its Sentinel is
// reached through the same Service, just then.
func ready() string {
	return `#!/bin/sh
# Exits 0 when this member has the data.
export REDISCLI_AUTH="$(cat ` + confDir + "/" + peerKey + `)"
info=$(redis-cli --user ` + probeUser + ` --no-auth-warning info replication | tr -d '\r')
has() { printf '%s\n' "$info" | grep -q "^$1\$"; }
has role:master && exit
has master_sync_in_progress:0 && ! has slave_repl_offset:` + strconv.Itoa(neverSynced) + `
`
}
