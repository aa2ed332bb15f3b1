package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestTheSeedsCalls sends the bodies of the user's own curl commands as they
// are written there.
func TestTheSeedsCalls(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	p.post("/cluster/createCluster", `{"clusterName": "cluster-alpha", "nodeTag": "node-1", "replicas": 3, "enableMetrics": true, "quorum": 2}`)
	info := p.post("/cluster/getClusterInfo", `{"clusterName": "cluster-alpha"}`).(map[string]any)
	if fmt.Sprint(info["clusterPods"]) != "[cluster-alpha-redis-node-0 cluster-alpha-redis-node-1 cluster-alpha-redis-node-2]" {
		t.Errorf("clusterPods: %v", info["clusterPods"])
	}
	for _, field := range []string{"_id", "node_tag", "svc_name", "svc_host", "metrics_svc", "namespace", "master_port", "sentinel_port", "metrics_port"} {
		if info[field] == nil {
			t.Errorf("getClusterInfo lacks %s: %v", field, info)
		}
	}
	p.post("/cluster/createClusters", `{"clusterPrefix": "test-cluster", "startIndex": 1, "nClusters": 2, "nodeTag": "node-a", "replicas": 1, "enableMetrics": false, "quorum": 1}`)
	if list := p.post("/cluster/synchronize", `{"synchronize": true}`); fmt.Sprint(list) != "[cluster-alpha test-cluster-1 test-cluster-2]" {
		t.Errorf("synchronize: %v", list)
	}
	p.post("/cluster/synchronizeCluster", `{"clusterName": "cluster-alpha"}`)
	p.post("/replication/createReplication", `{"clusterId": "cluster-alpha", "replicas": 4}`)
	id := `{"framedb_id": "cluster-alpha-redis-node-1"}`
	master := p.post("/discovery/getMaster", id).(map[string]any)
	if master["masterHost"] != "127.0.0.1" || master["masterPort"].(float64) == 0 {
		t.Errorf("getMaster: %v", master)
	}
	eventually(t, 20*time.Second, func() error {
		if slaves := p.post("/discovery/getSlaves", id).([]any); len(slaves) != 3 {
			return fmt.Errorf("getSlaves: %v", slaves)
		}
		return nil
	})
	about := p.post("/discovery/getClusterInfo", id).(map[string]any)["clusterInfo"].(map[string]any)
	if about["masterName"] != "mymaster" || about["master"] == nil || about["slaves"] == nil {
		t.Errorf("getClusterInfo: %v", about)
	}
	if m := p.post("/discovery/getClusterMaster", `{"clusterName": "cluster-alpha"}`).(map[string]any); m["masterPort"] != master["masterPort"] {
		t.Errorf("getClusterMaster: %v, want %v", m, master)
	}
	p.post("/routing/createMapping", `{"sourceId": "source-123", "nodeTag": "node-1"}`)
	if m := p.post("/routing/getMapping", `{"sourceId": "source-123"}`).(map[string]any); fmt.Sprint(m["nodeTags"]) != "[node-1]" {
		t.Errorf("getMapping: %v", m)
	}
	removed := p.post("/cluster/removeClusters", `{"clusterList": ["test-cluster-1", "test-cluster-2", "cluster-gamma"]}`).(map[string]any)
	if removed["nClustersRemoved"].(float64) != 2 || len(removed["failedRemovals"].([]any)) != 1 {
		t.Errorf("removeClusters: %v", removed)
	}
	p.post("/cluster/removeCluster", `{"clusterName": "cluster-alpha"}`)
	if pids := p.redisPIDs(); len(pids) != 0 {
		t.Errorf("%d Redis processes are left", len(pids))
	}
}

// oldClient does what programs written for the first FrameDB do, with plain
// Redis calls.
type oldClient struct {
	t     *testing.T
	p     *proc
	redis *redis.Client
	entry map[string]any
}

// connect takes the entry of its own node, asks the Sentinel there for
// mymaster and connects to it with the shared password.
func connect(t *testing.T, p *proc, source, tag, password string) *oldClient {
	t.Helper()
	ctx := context.Background()
	mapping := p.post("/routing/getMapping", `{"sourceId": "`+source+`"}`).(map[string]any)
	nodes := mapping["framedbNodes"].([]any)
	entry := nodes[0].(map[string]any)
	for _, n := range nodes {
		if n := n.(map[string]any); n["nodeTag"] == tag {
			entry = n
		}
	}
	s := redis.NewSentinelClient(&redis.Options{
		Addr:     net.JoinHostPort(entry["serviceIp"].(string), strconv.Itoa(int(entry["sentinelPort"].(float64)))),
		Password: password,
	})
	defer s.Close()
	master, err := s.GetMasterAddrByName(ctx, "mymaster").Result()
	if err != nil {
		t.Fatal(err)
	}
	c := &oldClient{t: t, p: p, entry: entry, redis: redis.NewClient(&redis.Options{Addr: net.JoinHostPort(master[0], master[1]), Password: password})}
	t.Cleanup(func() { c.redis.Close() })
	return c
}

func TestAProgramOfTheFirstFrameDB(t *testing.T) {
	t.Parallel()
	p := newProc(t)
	p.up()
	ctx := context.Background()
	p.post("/cluster/createCluster", `{"clusterName": "c", "nodeTag": "node-1", "replicas": 2, "quorum": 1, "enableMetrics": false}`)
	p.post("/routing/createMapping", `{"sourceId": "camera-001", "nodeTag": "node-1", "metadata": {"sizes": ["1x1", "2x2"], "ref_count": 2}}`)
	c := connect(t, p, "camera-001", "node-1", p.password())
	updates := c.redis.Subscribe(ctx, "camera-001__routing_updates")
	defer updates.Close()
	if _, err := updates.Receive(ctx); err != nil {
		t.Fatal(err)
	}

	const prefix = "camera-001?0?0"
	if err := c.redis.MSet(ctx, prefix+"__7__1x1", "small", prefix+"__7__2x2", "large", "ref__"+prefix+"__7", 2).Err(); err != nil {
		t.Fatal(err)
	}
	local := redis.NewClient(&redis.Options{Network: "unix", Addr: p.dir + "/sockets/node-1.sock", Password: p.password()})
	defer local.Close()
	if got, err := local.MGet(ctx, prefix+"__7__1x1", prefix+"__7__2x2").Result(); err != nil || fmt.Sprint(got) != "[small large]" {
		t.Fatalf("through the node's socket: %v %v", got, err)
	}
	// One reader is new and decrements through the API, the other is old.
	status, answer := p.call(http.MethodPost, "/v1/frames/camera-001/decr", `{"decrements": [{"key": "ref__`+prefix+`__7", "by": 1, "sizes": ["1x1", "2x2"]}]}`)
	if status != 200 || !strings.Contains(fmt.Sprint(answer), "remaining:1") {
		t.Fatalf("decr: %d %v", status, answer)
	}
	if n, err := c.redis.Decr(ctx, "ref__"+prefix+"__7").Result(); err != nil || n != 0 {
		t.Fatalf("DECR: %d %v", n, err)
	}
	c.redis.Unlink(ctx, "ref__"+prefix+"__7", prefix+"__7__1x1", prefix+"__7__2x2")
	if err := c.redis.Do(ctx, "FLUSHALL").Err(); err == nil {
		t.Error("FLUSHALL is allowed")
	}

	p.post("/routing/updateMetadata", `{"sourceId": "camera-001", "nodeTag": "node-1", "metadata": {"ref_count": 3}}`)
	msg, err := updates.ReceiveMessage(ctx)
	if err != nil || msg.Payload != `{"command":"meta_update","payload":{"nodeTag":"node-1","metadata":{"ref_count":3}}}` {
		t.Errorf("heard %v %v", msg, err)
	}
}
