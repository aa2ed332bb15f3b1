package instance

import (
	"bufio"
	"strconv"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// parseInfo reads the text of Redis' INFO and the answer to CONFIG GET.
func parseInfo(text string, settings wire.RedisSettings) Info {
	fields := infoFields(text)
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64)
		return n
	}
	info := Info{
		Role:    wire.RoleReplica,
		Follows: wire.Endpoint{Host: fields["master_host"], Port: int(number("master_port"))},
		LinkUp:  fields["master_link_status"] == "up",
		Syncing: number("master_sync_in_progress") != 0 || number("loading") != 0,
		Offset:  number("slave_repl_offset"),
		Settings: Settings{
			MaxMemory:  number("maxmemory"),
			Policy:     fields["maxmemory_policy"],
			AppendOnly: number("aof_enabled") != 0,
		},
		UsedMemory:   number("used_memory"),
		Clients:      number("connected_clients"),
		Keys:         keys(fields["db0"]),
		OpsPerSecond: number("instantaneous_ops_per_sec"),
	}
	for _, name := range []string{"aof_last_write_status", "rdb_last_bgsave_status"} {
		if info.Settings.AppendOnly && fields[name] == "err" && info.Unsaved == "" {
			info.Unsaved = name
		}
	}
	info.Settings.Priority, _ = strconv.Atoi(settings[priorityName])
	info.Settings.Others = settings
	if fields["role"] == "master" {
		info.Role = wire.RoleMaster
		info.Offset = number("master_repl_offset")
	}
	return info
}

func infoFields(text string) map[string]string {
	fields := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// keys takes the count out of "keys=12,expires=0,avg_ttl=0".
func keys(db string) int64 {
	_, rest, _ := strings.Cut(db, "keys=")
	count, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.ParseInt(count, 10, 64)
	return n
}
