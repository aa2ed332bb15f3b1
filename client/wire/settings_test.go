package wire_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/internal/redistest"
)

// examples are values of each parameter that are taken, beside those of the
// table below; the first of them is no default of Redis.
var examples = map[string][]string{
	"active-expire-effort": {"2", "10", "1"}, "activerehashing": {"no", "YES"}, "appendfsync": {"always", "no", "Everysec"},
	"auto-aof-rewrite-min-size": {"32mb", "0", "1gb", "512kb", "100k", "7b", "3M", "2g"}, "auto-aof-rewrite-percentage": {"50", "0"}, "busy-reply-threshold": {"100", "0"},
	"client-query-buffer-limit": {"256mb", "128mb"}, "dynamic-hz": {"no", "yes"}, "hz": {"20", "1", "500"},
	"latency-monitor-threshold": {"100", "0"}, "latency-tracking": {"no", "yes"}, "lazyfree-lazy-eviction": {"yes", "no"},
	"lazyfree-lazy-expire": {"yes", "no"}, "lazyfree-lazy-server-del": {"yes", "no"}, "lazyfree-lazy-user-del": {"yes", "no"},
	"lfu-decay-time": {"2", "0"}, "lfu-log-factor": {"5", "0"}, "loglevel": {"verbose", "debug", "WARNING", "notice"}, "maxclients": {"200", "100"},
	"maxmemory-eviction-tenacity": {"0", "100"}, "maxmemory-samples": {"10", "1", "64"}, "min-replicas-max-lag": {"5", "0"},
	"min-replicas-to-write": {"1", "99", "0"}, "no-appendfsync-on-rewrite": {"yes", "no"}, "notify-keyspace-events": {"Ex", "AKE", "mdxnK", "g$lshzxetdKE", ""},
	"proto-max-bulk-len": {"128mb", "1g", "1GB"}, "rdbcompression": {"no", "yes"}, "repl-backlog-ttl": {"60", "0"}, "repl-disable-tcp-nodelay": {"yes", "no"},
	"repl-ping-replica-period": {"5", "1"}, "repl-timeout": {"30", "2147483647"}, "replica-lazy-flush": {"yes", "no"}, "slowlog-log-slower-than": {"-1", "0", "500"},
	"slowlog-max-len": {"64", "0", "1000000"}, "tcp-keepalive": {"60", "0"}, "timeout": {"600", "0"}, "tracking-table-max-keys": {"10", "0"},
}

// TestSettingsAreThoseOfRedis: a real Redis changes each parameter while it
// runs, and what it then says means the same to us.
func TestSettingsAreThoseOfRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t).Client()
	for _, name := range wire.SettableParameters() {
		if len(examples[name]) < 2 {
			t.Errorf("%s has no examples", name)
		}
		for _, value := range examples[name] {
			if err := (wire.RedisSettings{name: value}).Validate(); err != nil {
				t.Errorf("%s %q: %v", name, value, err)
			}
			if err := redis.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Errorf("Redis refuses %s %q: %v", name, value, err)
				continue
			}
			said, err := redis.ConfigGet(t.Context(), name).Result()
			if err != nil || !wire.SameSetting(name, said[name], value) {
				t.Errorf("%s %q reads %v, %v", name, value, said, err)
			}
			if said[name] != examples[name][0] && wire.SameSetting(name, said[name], examples[name][0]) && value != examples[name][0] {
				t.Errorf("%s: %q is taken for %q", name, said[name], examples[name][0])
			}
		}
	}
}

// The page that lists them lists all.
func TestSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range wire.SettableParameters() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/configuration.md does not name %s", name)
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, remedy string }{
		{"requirepass", "x", "cannot be set"}, {"dir", "/", "cannot be set"}, {"port", "1", "cannot be set"}, {"replicaof", "h 1", "cannot be set"},
		{"save", "60 1", "cannot be set"}, {"rename-command", "GET x", "cannot be set"}, {"loadmodule", "x.so", "cannot be set"},
		{"enable-protected-configs", "yes", "cannot be set"}, {"nonsense", "1", "some of active-expire-effort"}, {"", "1", "cannot be set"}, {"HZ", "20", "cannot be set"},
		{"maxmemory", "1gb", "set max_memory"}, {"maxmemory-policy", "noeviction", "set max_memory_policy"}, {"appendonly", "yes", "set backup"},
		{"hz", "0", "1 to 500"}, {"hz", "501", "1 to 500"}, {"hz", "x", "whole number"}, {"hz", "020", "whole number"}, {"hz", "+20", "whole number"}, {"hz", "", "whole number"}, {"hz", "2 0", "whole number"}, {"hz", "20\nsave 1 1", "whole number"},
		{"slowlog-log-slower-than", "-2", "from -1"}, {"slowlog-max-len", "99999999999999999999", "out of range"},
		{"proto-max-bulk-len", "1mb", "from 134217728"}, {"proto-max-bulk-len", "1tb", "bytes"}, {"proto-max-bulk-len", "99999999999gb", "bytes"}, {"proto-max-bulk-len", "-1", "bytes"},
		{"dynamic-hz", "true", "yes or no"}, {"appendfsync", "never", "always, everysec, no"}, {"notify-keyspace-events", "KQ", `"Q"`}, {"notify-keyspace-events", "日", "no kind"},
		{"notify-keyspace-events", strings.Repeat("K", 65), "at most 64"},
	} {
		err := (wire.RedisSettings{c.name: c.value, "timeout": "1"}).Validate()
		if e := wire.AsError(err); e == nil || e.Code != wire.CodeInvalidArgument || e.Field != "settings."+c.name || !strings.Contains(e.Message, c.remedy) {
			t.Errorf("%s %q: %+v, want %q", c.name, c.value, e, c.remedy)
		}
	}
}

func TestSameSetting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"proto-max-bulk-len", "512mb", "536870912", true}, {"proto-max-bulk-len", "512m", "536870912", false}, {"proto-max-bulk-len", "512m", "512000000b", true},
		{"hz", "020", "20", false}, {"hz", "20", "21", false}, {"dynamic-hz", "Yes", "yes", true},
		{"notify-keyspace-events", "KEA", "AKE", true}, {"notify-keyspace-events", "KEg$lshzxetd", "AKE", true}, {"notify-keyspace-events", "K", "E", false},
		{"nonsense", "a", "a", true}, {"nonsense", "a", "b", false}, {"hz", "x", "y", false},
	} {
		if got := wire.SameSetting(c.name, c.a, c.b); got != c.same {
			t.Errorf("%s: %q and %q: %v", c.name, c.a, c.b, got)
		}
	}
}

func TestRedisNamesBecomeFields(t *testing.T) {
	t.Parallel()
	u, err := wire.RedisUpdate(wire.RedisSettings{"maxmemory": "2gb", "maxmemory-policy": "AllKeys-LRU", "appendonly": "yes", "hz": "20"})
	if err != nil || *u.MaxMemory != 2<<30 || *u.MaxMemoryPolicy != "allkeys-lru" || !*u.Backup || len(u.Settings) != 1 || *u.Settings["hz"] != "20" {
		t.Errorf("%+v, %v", u, err)
	}
	for name, value := range map[string]string{"maxmemory": "lots", "appendonly": "perhaps", "requirepass": "x", "hz": "0"} {
		u, err := wire.RedisUpdate(wire.RedisSettings{name: value})
		if e := wire.AsError(err); e == nil || e.Field != name || u.Settings != nil {
			t.Errorf("%s %s: %+v, %v", name, value, u, err)
		}
	}
	many := wire.RedisSettings{}
	for i, name := range wire.SettableParameters() {
		many[name] = strconv.Itoa(i) // most are wrong: the first in order is named
	}
	if e := wire.AsError(many.Validate()); e == nil || e.Field != "settings.active-expire-effort" {
		t.Errorf("%+v", e)
	}
}
