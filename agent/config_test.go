package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/framedb/framedb/client/wire"
)

// load runs Load with flags as typed, the environment and a file, which may be
// empty.
func load(t *testing.T, args, environ []string, file string) (Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	Flags(flags)
	if file != "" {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		environ = append(environ, "FRAMEDB_CONFIG="+path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ)
}

func TestAFlagWinsOverTheEnvironmentWhichWinsOverTheFile(t *testing.T) {
	c, err := load(t,
		[]string{"--listen", "127.0.0.1:1", "--node-tag", "a", "--node-tag", "b"},
		[]string{"FRAMEDB_LISTEN=127.0.0.1:2", "FRAMEDB_NODE_NAME=env", "FRAMEDB_REDIS_PORT=7000", "FRAMEDB_JOIN=h1:1,h2:2"},
		"listen: 127.0.0.1:3\nnode_name: file\ndata_dir: /x\nnode_tag: [c]\nlog_level: debug\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1" || c.NodeName != "env" || c.DataDir != "/x" || c.LogLevel != "debug" || c.RedisPort != 7000 {
		t.Errorf("merged wrongly: %+v", c)
	}
	if !slices.Equal(c.NodeTags, []wire.NodeTag{"a", "b"}) || !slices.Equal(c.Join, []string{"h1:1", "h2:2"}) {
		t.Errorf("lists: %v %v", c.NodeTags, c.Join)
	}
	if c.Socket != "/x/agent.sock" || c.SocketDir != "/x/sockets" {
		t.Errorf("paths do not follow the data directory: %s %s", c.Socket, c.SocketDir)
	}
}

func TestDevDefaults(t *testing.T) {
	c, err := load(t, []string{"--dev"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:5000" || !c.StopProcessesOnExit || !slices.Equal(c.NodeTags, []wire.NodeTag{"node-1", "node-a"}) {
		t.Errorf("dev: %+v", c)
	}
	c, err = load(t, []string{"--dev", "--data-dir", "/x"}, nil, "")
	if err != nil || c.StopProcessesOnExit {
		t.Errorf("a dev agent with a data directory of its own ends Redis: %v", err)
	}
	c, err = load(t, []string{"--dev"}, []string{"FRAMEDB_STOP_PROCESSES_ON_EXIT=false"}, "")
	if err != nil || c.StopProcessesOnExit {
		t.Errorf("stop_processes_on_exit is not heard: %v", err)
	}
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	long := "/" + strings.Repeat("x", 120)
	cases := []struct {
		name  string
		args  []string
		env   []string
		file  string
		field string
	}{
		{"unknown key in file", nil, nil, "listn: x", "listn"},
		{"nested key in file", nil, nil, "raft: {bind: x}", "raft.bind"},
		{"unknown variable", nil, []string{"FRAMEDB_LISTN=x"}, "", "FRAMEDB_LISTN"},
		{"no such file", []string{"--config", "/nonexistent.yaml"}, nil, "", "config"},
		{"no YAML", nil, nil, "a: [", "config"},
		{"no number", nil, nil, "redis_port: many", "redis_port"},
		{"no number in the environment", nil, []string{"FRAMEDB_EXPECT=3x"}, "", "expect"},
		{"no boolean", nil, nil, "dev: [1]", "dev"},
		{"list in a list", nil, nil, "join: [[a]]", "join[0]"},
		{"address", []string{"--listen", "5000"}, nil, "", "listen"},
		{"port", []string{"--listen", "h:70000"}, nil, "", "listen"},
		{"long socket", []string{"--socket", long}, nil, "", "socket"},
		{"long data dir", []string{"--data-dir", long}, nil, "", "socket"},
		{"node name", []string{"--node-name", "UP"}, nil, "", "node_name"},
		{"node tag", []string{"--node-tag", "../x"}, nil, "", "node_tag"},
		{"empty node tag", nil, []string{"FRAMEDB_NODE_TAG="}, "", "node_tag"},
		{"driver", nil, []string{"FRAMEDB_DRIVER=nomad"}, "", "driver"},
		{"password file", nil, []string{"FRAMEDB_PASSWORD_FILE=/nonexistent"}, "", "password_file"},
		{"redis port", nil, []string{"FRAMEDB_REDIS_PORT=70000"}, "", "redis_port"},
		{"join", nil, []string{"FRAMEDB_JOIN=host"}, "", "join"},
		{"log level", nil, []string{"FRAMEDB_LOG_LEVEL=loud"}, "", "log_level"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.args, c.env, c.file)
			var e *wire.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a typed error", err)
			}
			if e.Field != c.field || e.Code.HTTPStatus() != 400 {
				t.Errorf("got field %q, code %s: %v; want field %q", e.Field, e.Code, e, c.field)
			}
		})
	}
}

func TestForeignVariablesAreLeftAlone(t *testing.T) {
	_, err := load(t, nil, []string{"FRAMEDB_ADDR=http://x", "FRAMEDB_SERVICE_HOST=10.0.0.1", "FRAMEDB_SERVICE_PORT_API=5000",
		"FRAMEDB_PORT=tcp://10.0.0.1:5000", "FRAMEDB_PORT_5000_TCP_ADDR=10.0.0.1", "FRAMEDB_API_SERVICE_HOST=x", "FRAMEDBX=1"}, "")
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheEffectiveConfigurationGivesItselfAgain(t *testing.T) {
	c, err := load(t, []string{"--data-dir", "/x", "--node-tag", "n"}, []string{"FRAMEDB_LOG_FORMAT=json"}, "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, nil, nil, c.YAML())
	if err != nil {
		t.Fatal(err)
	}
	if again.YAML() != c.YAML() {
		t.Errorf("got\n%s\nwant\n%s", again.YAML(), c.YAML())
	}
}

func TestAllWrongValuesAreToldAtOnce(t *testing.T) {
	_, err := load(t, []string{"--listen", "x"}, []string{"FRAMEDB_REDIS_PORT=70000", "FRAMEDB_LOG_LEVEL=loud"}, "")
	for _, key := range []string{"listen: ", "\nredis_port: ", "\nlog_level: "} {
		if err == nil || !strings.Contains("\n"+err.Error(), key) {
			t.Errorf("%q is not in %v", key, err)
		}
	}
}

func TestCheckPrintsWhatAStartWouldChoose(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"redis-server": "#!/bin/sh\necho Redis server v=7.0.15\n", "redis-sentinel": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	c, err := load(t, []string{"--data-dir", dir + "/data"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := check(&out, c); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"data_dir: " + dir + "/data", "node_name: " + string(hostName()), "password_file: " + dir + "/data/password",
		"redis_server: " + dir + "/redis-server", "redis_sentinel: " + dir + "/redis-sentinel"} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("%q is not in\n%s", line, &out)
		}
	}
	if again, err := load(t, nil, nil, out.String()); err != nil || again.Socket != c.Socket {
		t.Errorf("what was printed does not load: %v", err)
	}

	if err := os.Mkdir(dir+"/data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/data/node-name", []byte("kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.NodeName = "other"
	t.Setenv("PATH", "/nonexistent")
	err = check(&out, c)
	if err == nil || !strings.Contains(err.Error(), `belongs to node "kept"`) || !strings.Contains(err.Error(), "redis-server is not in PATH") {
		t.Errorf("got %v, want the name and the missing program told", err)
	}
}
