package process

import (
	"fmt"
	"strings"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// confFile builds a Redis configuration file line by line.
type confFile struct{ b strings.Builder }

func (f *confFile) set(directive string, args ...any) {
	f.b.WriteString(directive)
	for _, a := range args {
		f.b.WriteByte(' ')
		fmt.Fprint(&f.b, a)
	}
	f.b.WriteByte('\n')
}

func (f *confFile) bytes() []byte { return []byte(f.b.String()) }

// quoted is a string argument as Redis' sdssplitargs reads it.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// common are the directives that Redis and Sentinel share.
func (f *confFile) common(s server, password string) {
	f.set("bind", s.Host)
	f.set("port", s.Port)
	f.set("protected-mode", "yes")
	f.set("requirepass", quoted(password))
	f.set("daemonize", "no")
	f.set("supervised", "no")
	f.set("dir", quoted(s.dir))
	f.set("logfile", quoted(s.log()))
	// The command line stays what we gave, and names the configuration file:
	// by that a process is found again, and people see in ps what it is.
	f.set("set-proc-title", "no")
}

// redisConf is the configuration of a member. It is written afresh before each
// start, because Sentinel rewrites the file when it makes the member master or
// replica.
func redisConf(cfg *Config, s server, spec *wire.ClusterSpec, boot deploy.Boot) []byte {
	f := new(confFile)
	f.common(s, cfg.Password)
	f.set("masterauth", quoted(cfg.Password))
	f.set("unixsocket", quoted(s.socket))
	f.set("unixsocketperm", 777)
	f.set("rename-command", "FLUSHALL", `""`)
	f.set("rename-command", "FLUSHDB", `""`)
	f.set("databases", 16)

	f.set("save", `""`)
	f.set("appendonly", yesNo(spec.Backup))
	f.set("appendfsync", "everysec")
	// What a full copy leaves on disk would come back at a start as frames
	// that were counted down long ago.
	f.set("rdb-del-sync-files", yesNo(!spec.Backup))
	f.set("maxmemory", spec.MaxMemory)
	f.set("maxmemory-policy", spec.MaxMemoryPolicy)

	f.set("repl-diskless-sync", "yes")
	f.set("repl-diskless-sync-delay", 0)
	f.set("repl-diskless-load", "on-empty-db")
	f.set("repl-backlog-size", replBacklog(cfg.ReplBacklog, spec.MaxMemory))
	f.set("client-output-buffer-limit", "replica", cfg.ReplicaBuffer, cfg.ReplicaBuffer/2, 60)
	f.set("replica-announce-ip", s.Host)
	f.set("replica-announce-port", s.Port)
	// A master that is told to end waits for its replicas to catch up; less
	// than endGrace, so that it is never killed for it.
	f.set("shutdown-timeout", 3)
	if boot.ReplicaOf != nil {
		f.set("replicaof", boot.ReplicaOf.Host, boot.ReplicaOf.Port)
	}
	return f.bytes()
}

// replBacklog keeps the backlog within a quarter of maxmemory, where Redis
// counts it, and not below Redis' own default of 1 MiB.
func replBacklog(configured, maxMemory int64) int64 {
	if maxMemory == 0 {
		return configured
	}
	return max(1<<20, min(configured, maxMemory/4))
}
