package instance

import (
	"reflect"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

const replicaInfo = "# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n" +
	"master_sync_in_progress:0\r\nslave_repl_offset:42\r\n# Memory\r\nused_memory:100\r\nmaxmemory:1048576\r\n" +
	"maxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\n# Stats\r\ninstantaneous_ops_per_sec:7\r\n" +
	"# Clients\r\nconnected_clients:3\r\n# Keyspace\r\ndb0:keys=12,expires=0,avg_ttl=0\r\n"

func TestParseInfo(t *testing.T) {
	t.Parallel()
	want := Info{
		Role: wire.RoleReplica, Follows: wire.Endpoint{Host: "10.0.0.1", Port: 6379}, LinkUp: true, Offset: 42,
		Settings:   Settings{MaxMemory: 1 << 20, Policy: "noeviction", AppendOnly: true, Priority: 100, Others: wire.RedisSettings{"replica-priority": "100", "hz": "20"}},
		UsedMemory: 100, Clients: 3, Keys: 12, OpsPerSecond: 7,
	}
	if got := parseInfo(replicaInfo, want.Settings.Others); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got := parseInfo("role:master\r\nmaster_repl_offset:9\r\n", wire.RedisSettings{"replica-priority": "0"})
	if got.Role != wire.RoleMaster || got.Offset != 9 || got.Settings.Priority != 0 {
		t.Errorf("a master: %+v", got)
	}
	if loading := parseInfo("role:slave\r\nloading:1\r\n", nil); !loading.Syncing {
		t.Error("a replica that loads counts as in sync")
	}
	for text, want := range map[string]string{
		"aof_enabled:1\r\naof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\n":  "",
		"aof_enabled:0\r\naof_last_write_status:err\r\n":                              "",
		"aof_enabled:1\r\naof_last_write_status:err\r\nrdb_last_bgsave_status:ok\r\n": "aof_last_write_status",
		"aof_enabled:1\r\nrdb_last_bgsave_status:err\r\n":                             "rdb_last_bgsave_status",
	} {
		if got := parseInfo(text, nil).Unsaved; got != want {
			t.Errorf("%q: unsaved %q, want %q", text, got, want)
		}
	}
}
