// Package redisconf writes configuration files of Redis and Sentinel, and has
// the settings that every member runs with, whatever driver starts it.
package redisconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// Defaults of Buffers.
const (
	DefaultBacklog       = 256 << 20
	DefaultReplicaBuffer = 1 << 30
)

// minBacklog is Redis' own default.
const minBacklog = 1 << 20

// Buffers bound what replication may hold, in bytes.
type Buffers struct {
	// Backlog is how much of the write stream a replica may miss and still catch
	// up without a full copy. It must hold several frames.
	Backlog int64
	// Replica is the hard limit of what a master holds for a replica that reads
	// too slowly; half of it for a minute is too much as well.
	Replica int64
}

// File is a configuration file that is built line by line. The zero File is
// empty.
type File struct{ b strings.Builder }

// Set appends one directive. Arguments that may hold blanks go through Quoted.
func (f *File) Set(directive string, args ...any) {
	f.b.WriteString(directive)
	for _, a := range args {
		f.b.WriteByte(' ')
		fmt.Fprint(&f.b, a)
	}
	f.b.WriteByte('\n')
}

// Bytes is the file so far.
func (f *File) Bytes() []byte { return []byte(f.b.String()) }

// String is the file so far.
func (f *File) String() string { return f.b.String() }

// Frames appends how a member keeps frames: what is refused, what goes to disk,
// how much memory there is, and how replicas copy.
func (f *File) Frames(spec *wire.ClusterSpec, b Buffers) {
	f.Set("rename-command", "FLUSHALL", `""`)
	f.Set("rename-command", "FLUSHDB", `""`)
	f.Set("databases", 16)

	f.Set("save", `""`)
	f.Set("appendonly", yesNo(spec.Backup))
	f.Set("appendfsync", "everysec")
	// What a full copy leaves on disk would come back at a start as frames
	// that were counted down long ago.
	f.Set("rdb-del-sync-files", yesNo(!spec.Backup))
	f.Set("maxmemory", spec.MaxMemory)
	f.Set("maxmemory-policy", spec.MaxMemoryPolicy)

	f.Set("repl-diskless-sync", "yes")
	f.Set("repl-diskless-sync-delay", 0)
	f.Set("repl-diskless-load", "on-empty-db")
	f.Set("repl-backlog-size", Backlog(b.Backlog, spec.MaxMemory))
	f.Set("client-output-buffer-limit", "replica", b.Replica, b.Replica/2, 60)
	for _, name := range slices.Sorted(maps.Keys(spec.Settings)) {
		f.Set(name, Quoted(spec.Settings[name])) // of two the last one counts
	}
	// A master that is told to end waits so many seconds for its replicas to
	// catch up; less than what it is given before it is killed.
	f.Set("shutdown-timeout", 3)
}

// Backlog keeps the backlog within a quarter of maxmemory, where Redis counts
// it, and not below Redis' own default of 1 MiB.
func Backlog(configured, maxMemory int64) int64 {
	if maxMemory == 0 {
		return configured
	}
	return max(minBacklog, min(configured, maxMemory/4))
}

// Quoted is a string argument as Redis' sdssplitargs reads it.
func Quoted(s string) string {
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

// CheckPassword refuses what Redis would take for no password, and what
// Sentinel, which writes it into its file without quotes, could not read again.
//
// Errors: ErrInvalidArgument.
func CheckPassword(password string) error {
	if password == "" {
		return wire.Errorf(wire.CodeInvalidArgument, "is empty: Redis would let everyone in")
	}
	for _, b := range []byte(password) {
		if b <= ' ' || b > '~' || strings.IndexByte(`"'\`, b) >= 0 {
			return wire.Errorf(wire.CodeInvalidArgument, "use printable ASCII without spaces, quotes and backslashes")
		}
	}
	if len(password) > 512 {
		return wire.Errorf(wire.CodeInvalidArgument, "has %d characters: at most 512 are allowed", len(password))
	}
	return nil
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
