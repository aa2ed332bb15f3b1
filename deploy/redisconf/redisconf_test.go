package redisconf

import (
	"errors"
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestBacklogFitsTheMemory(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ configured, maxMemory, want int64 }{
		{256 * mib, 0, 256 * mib},
		{256 * mib, 4096 * mib, 256 * mib},
		{256 * mib, 100 * mib, 25 * mib},
		{256 * mib, 1 * mib, 1 * mib},
	} {
		if got := Backlog(c.configured, c.maxMemory); got != c.want {
			t.Errorf("Backlog(%d, %d) = %d, want %d", c.configured, c.maxMemory, got, c.want)
		}
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `"plain"`, `a "b" \c`: `"a \"b\" \\c"`, "é\n": `"\xc3\xa9\x0a"`, "": `""`,
	} {
		if got := Quoted(in); got != want {
			t.Errorf("Quoted(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestPasswordThatRedisCannotHold(t *testing.T) {
	for _, bad := range []string{"", "two words", `quo"te`, "a'b", `back\slash`, "umläut", "tab\t", strings.Repeat("x", 513)} {
		if err := CheckPassword(bad); !errors.Is(err, wire.ErrInvalidArgument) {
			t.Errorf("%q: %v, want an invalid argument", bad, err)
		}
	}
	if err := CheckPassword("!#$%&()*+,-./:;<=>?@[]^_`{|}~aZ09"); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
}

func TestNothingGoesToDiskWithoutBackup(t *testing.T) {
	for backup, want := range map[bool][]string{
		false: {"save \"\"", "appendonly no", "rdb-del-sync-files yes"},
		true:  {"save \"\"", "appendonly yes", "rdb-del-sync-files no"},
	} {
		f := new(File)
		f.Frames(&wire.ClusterSpec{Backup: backup}, Buffers{Backlog: DefaultBacklog, Replica: DefaultReplicaBuffer})
		for _, line := range want {
			if !strings.Contains(f.String(), line+"\n") {
				t.Errorf("backup %v: %q is missing in\n%s", backup, line, f)
			}
		}
	}
}

func TestSettingsComeBehindOurs(t *testing.T) {
	f := new(File)
	f.Frames(&wire.ClusterSpec{Settings: wire.RedisSettings{"notify-keyspace-events": "Ex", "appendfsync": "always"}}, Buffers{})
	text := f.String()
	ours, theirs := strings.Index(text, "appendfsync everysec\n"), strings.Index(text, "appendfsync \"always\"\nnotify-keyspace-events \"Ex\"\n")
	if ours < 0 || theirs < ours {
		t.Errorf("of two directives the last one counts:\n%s", text)
	}
}
