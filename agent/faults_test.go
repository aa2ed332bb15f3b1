package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const createC = `{"clusterName": "c", "nodeTag": "node-1", "replicas": 3, "quorum": 2, "enableMetrics": false}`

func TestASecondStartFindsEverythingAgain(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	p.post("/cluster/createCluster", createC)
	p.post("/routing/createMapping", `{"sourceId": "s", "nodeTag": "node-1"}`)
	master := redis.NewClient(&redis.Options{Network: "unix", Addr: p.dir + "/sockets/node-1.sock", Password: p.password()})
	defer master.Close()
	if err := master.Set(context.Background(), "s?0?0__1__1x1", "frame", 0).Err(); err != nil {
		t.Fatal(err)
	}
	pids := p.redisPIDs()
	for _, end := range []struct {
		how string
		do  func()
	}{{"SIGTERM", p.term}, {"kill -9", p.kill}} {
		end.do()
		p.up()
		if now := p.redisPIDs(); !slices.Equal(now, pids) {
			t.Errorf("after %s Redis runs as %v, was %v", end.how, now, pids)
		}
		m := p.post("/routing/getMapping", `{"sourceId": "s"}`).(map[string]any)
		if fmt.Sprint(m["nodeTags"]) != "[node-1]" {
			t.Errorf("after %s the mapping is %v", end.how, m)
		}
		if got, err := master.Get(context.Background(), "s?0?0__1__1x1").Result(); got != "frame" {
			t.Errorf("after %s the frame is %q, %v", end.how, got, err)
		}
		p.post("/routing/updateMapping", `{"sourceId": "s", "nodeTag": "node-1"}`)
		eventually(t, 20*time.Second, func() error { return p.phase("c", "ready") })
	}
}

// phase returns nil when the cluster is in this phase.
func (p *proc) phase(cluster, want string) error {
	_, answer := p.call(http.MethodGet, "/v1/clusters/"+cluster, "")
	if s, ok := answer["status"].(map[string]any); !ok || s["phase"] != want {
		return fmt.Errorf("cluster %s is %v, want %s", cluster, answer, want)
	}
	return nil
}

// TestKillingTheAgentInTheMiddle kills it at many points of a create and of a
// remove; afterwards the store and the processes must agree.
func TestKillingTheAgentInTheMiddle(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	for i := range 6 {
		after := time.Duration(20+i*i*40) * time.Millisecond
		p.killDuring(after, "/cluster/createCluster", createC)
		p.up()
		p.agree(t, "create", after)
		if _, answer := p.call(http.MethodGet, "/v1/clusters/c", ""); answer["code"] == "not_found" {
			p.post("/cluster/createCluster", createC)
		}
		p.killDuring(after/2, "/cluster/removeCluster", `{"clusterName": "c"}`)
		p.up()
		p.agree(t, "remove", after/2)
		if _, answer := p.call(http.MethodGet, "/v1/clusters/c", ""); answer["code"] != "not_found" {
			p.post("/cluster/removeCluster", `{"clusterName": "c"}`)
		}
	}
}

// killDuring sends a request and kills the agent a moment later, whatever
// becomes of the answer.
func (p *proc) killDuring(after time.Duration, path, body string) {
	p.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := http.Post("http://"+p.addr+path, "application/json", strings.NewReader(body))
		if err == nil {
			res.Body.Close()
		}
	}()
	<-time.After(after)
	p.kill()
	<-done
}

// agree waits until what runs is what the store says.
func (p *proc) agree(t *testing.T, during string, after time.Duration) {
	t.Helper()
	eventually(t, 60*time.Second, func() error {
		status, answer := p.call(http.MethodGet, "/v1/clusters/c", "")
		pids := p.redisPIDs()
		if status == http.StatusNotFound {
			left, _ := os.ReadDir(filepath.Join(p.dir, "process"))
			if len(pids) != 0 || len(left) != 0 {
				return fmt.Errorf("killed %v into %s: the store has nothing, but %d processes and %v are there", after, during, len(pids), left)
			}
			return nil
		}
		if err := p.phase("c", "ready"); err != nil {
			return fmt.Errorf("killed %v into %s: %v", after, during, err)
		}
		if len(pids) != 6 {
			return fmt.Errorf("killed %v into %s: %d processes for %v", after, during, len(pids), answer["name"])
		}
		return nil
	})
}

// TestKillingTheMasterUnderLoad writes with WAIT 1 while the master is killed:
// what was acknowledged is there afterwards, the mapping and the socket follow.
func TestKillingTheMasterUnderLoad(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	p.post("/cluster/createCluster", createC)
	p.post("/routing/createMapping", `{"sourceId": "s", "nodeTag": "node-1"}`)
	before := p.post("/discovery/getClusterMaster", `{"clusterName": "c"}`).(map[string]any)
	socket := p.dir + "/sockets/node-1.sock"
	writer := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: p.password(), MaxRetries: -1, PoolSize: 1})
	defer writer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()

	acked := map[string]bool{}
	killed, after := false, 0
	for i := 0; after < 200; i++ {
		if ctx.Err() != nil {
			t.Fatalf("writing does not go on after the failover: %d acknowledged", len(acked))
		}
		if i >= 300 && !killed {
			killed = true
			syscall.Kill(serverPID(t, writer), syscall.SIGKILL)
		}
		key := fmt.Sprint("s?0?0__", i, "__1x1")
		if writeOnTwo(ctx, writer, key) {
			acked[key] = true
			if killed {
				after++
			}
		}
	}
	now := p.post("/discovery/getClusterMaster", `{"clusterName": "c"}`).(map[string]any)
	if now["masterPort"] == before["masterPort"] {
		t.Errorf("the master is still %v", now)
	}
	// A fresh client: this one's pool repeats its last dial error for a while.
	reader := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Password: p.password()})
	defer reader.Close()
	for key := range acked {
		if got, err := reader.Get(ctx, key).Result(); got != key {
			leads, _ := os.Readlink(socket)
			t.Fatalf("%s was acknowledged and is lost: %q %v; the socket leads to %s, the master is %v", key, got, err, leads, now)
		}
	}
	eventually(t, 30*time.Second, func() error { return p.phase("c", "ready") })
	m := p.post("/routing/getMapping", `{"sourceId": "s"}`).(map[string]any)["framedbNodes"].([]any)[0].(map[string]any)
	if m["redisPort"] != now["masterPort"] {
		t.Errorf("the mapping says port %v, the master has %v", m["redisPort"], now["masterPort"])
	}
}

// writeOnTwo reports whether the master and a replica have the key.
func writeOnTwo(ctx context.Context, c *redis.Client, key string) bool {
	pipe := c.Pipeline()
	set := pipe.Set(ctx, key, key, 0)
	replicas := pipe.Do(ctx, "WAIT", 1, 500)
	_, err := pipe.Exec(ctx)
	n, _ := replicas.Int()
	return err == nil && set.Err() == nil && n >= 1
}

func serverPID(t *testing.T, c *redis.Client) int {
	t.Helper()
	info, err := c.Info(context.Background(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	for line := range strings.Lines(info) {
		fmt.Sscanf(line, "process_id:%d", &pid)
	}
	return pid
}

func TestErrorsOfStartingNameTheRemedy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	running := newProc(t)
	running.up()
	cases := []struct {
		name string
		args []string
		env  []string
		want string
	}{
		{"port taken", []string{"--listen", taken.Addr().String()}, nil, "--listen"},
		{"two agents on one directory", []string{"--data-dir", running.dir}, nil, "another agent runs on"},
		{"redis-server is missing", nil, []string{"FRAMEDB_REDIS_SERVER=/nonexistent/redis-server"}, "install"},
		{"directory is a file", []string{"--data-dir", "/dev/null"}, nil, "data_dir"},
		{"unknown key", nil, []string{"FRAMEDB_LISTN=x"}, "FRAMEDB_LISTN"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newProc(t)
			p.env = c.env
			if said := p.fails(c.args...); !strings.Contains(said, c.want) {
				t.Errorf("the agent says\n%s\nwhich lacks %q", said, c.want)
			}
		})
	}
	if _, answer := running.call(http.MethodGet, "/healthz", ""); answer["status"] != "ok" {
		t.Errorf("the first agent is hurt: %v", answer)
	}
}

// TestStartAndStopOrder reads the order off the log.
func TestStartAndStopOrder(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.env = []string{"FRAMEDB_LOG_FORMAT=json"}
	p.up()
	p.term()
	want := []string{"data directory", "TCP listener", "unix listener", "process driver", "Sentinel connections",
		"Raft store", "objects", "backup targets", "ingest", "gossip", "actors", "REST API"}
	if got := p.parts("started"); !slices.Equal(got, want) {
		t.Errorf("started in the order\n%v, want\n%v", got, want)
	}
	slices.Reverse(want)
	if got := p.parts("stopping"); !slices.Equal(got, want) {
		t.Errorf("stopped in the order\n%v, want\n%v", got, want)
	}
	if _, err := os.Stat(p.dir + "/agent.sock"); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// parts are the parts that the log names under a message, in order.
func (p *proc) parts(msg string) []string {
	var parts []string
	for line := range bytes.Lines([]byte(p.log.String())) {
		var entry struct{ Msg, Part string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == msg && entry.Part != "" {
			parts = append(parts, entry.Part)
		}
	}
	return parts
}

func TestADevAgentThatOthersReachWarns(t *testing.T) {
	t.Parallel()
	for listen, warns := range map[string]bool{"0.0.0.0:0": true, "127.0.0.2:0": false} {
		p := newProc(t)
		p.up("--listen", listen)
		p.term()
		if warned := strings.Contains(p.log.String(), "NOT LOOPBACK ONLY"); warned != warns {
			t.Errorf("%s: warned %v, want %v", listen, warned, warns)
		}
	}
}

// TestATemporaryAgentLeavesNothing is `framedb agent --dev` with no directory
// of its own.
func TestATemporaryAgentLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.env = []string{"TMPDIR=" + p.dir}
	p.up("--data-dir", "")
	p.post("/cluster/createCluster", createC)
	p.term()
	if left, _ := os.ReadDir(p.dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if pids := p.redisPIDs(); len(pids) != 0 {
		t.Errorf("%d Redis processes are left", len(pids))
	}
}
