package actors_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/raftstore/state"
)

// listen subscribes to a source's channel on a cluster's master.
func (b *bed) listen(name wire.ClusterName, s wire.SourceID) *redis.PubSub {
	b.t.Helper()
	ps := b.at(b.member(b.store.cluster(name).Status.Master)).Subscribe(context.Background(), wire.RoutingChannel(s))
	b.t.Cleanup(func() { ps.Close() })
	if _, err := ps.Receive(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return ps
}

// hear expects the next message.
func hear(t *testing.T, ps *redis.PubSub, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := ps.ReceiveMessage(ctx)
	if err != nil {
		t.Fatalf("want %s, heard nothing: %v", want, err)
	}
	if m.Payload != want {
		t.Errorf("heard\n%s, want\n%s", m.Payload, want)
	}
}

// entry is the JSON by which writers reach a cluster of one member.
func (b *bed) entry(name wire.ClusterName, metadata string) string {
	m := b.member(name.Member(0))
	return fmt.Sprintf(`{"serviceIp":"127.0.0.1","sentinelPort":%d,"serviceName":"%s-redis.framedb.svc.cluster.local",`+
		`"redisPort":%d,"masterIP":"127.0.0.1","nodeTag":"node-1","cluster_name":"%s","metadata":%s}`,
		m.SentinelPort, name, m.Port, name, metadata)
}

func TestWritersHearOfEveryChange(t *testing.T) {
	t.Parallel()
	b := newBed(t, newMachine(t)).start()
	b.create("alpha", spec(1))
	b.create("beta", spec(1))
	b.ready("alpha")
	b.ready("beta")
	onAlpha, onBeta := b.listen("alpha", "cam"), b.listen("beta", "cam")

	b.store.must(t, state.CreateMapping{Source: "cam", NodeTag: tag, Cluster: "alpha"})
	hear(t, onAlpha, `{"command":"add","payload":[`+b.entry("alpha", "{}")+`]}`)

	b.store.must(t, state.UpdateMetadata{Source: "cam", NodeTag: tag, Metadata: json.RawMessage(`{"ref_count":2}`)})
	hear(t, onAlpha, `{"command":"meta_update","payload":{"nodeTag":"node-1","metadata":{"ref_count":2}}}`)

	b.store.must(t, state.ReassignSource{Source: "cam", NodeTag: tag, Cluster: "beta"})
	moved := `{"command":"update","payload":[` + b.entry("beta", `{"ref_count":2}`) + `]}`
	hear(t, onAlpha, moved)
	hear(t, onBeta, moved)

	// The dying cluster tells where to go before it ends.
	b.store.must(t, state.RemoveCluster{Name: "beta"})
	back := `{"command":"update","payload":[` + b.entry("alpha", `{"ref_count":2}`) + `]}`
	hear(t, onBeta, back)
	hear(t, onAlpha, back)

	b.store.must(t, state.RemoveMapping{Source: "cam", NodeTag: tag})
	hear(t, onAlpha, `{"command":"remove","payload":["node-1"]}`)
}

func TestTheLastClusterTellsOfTheEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t, newMachine(t)).start()
	b.create("alpha", spec(1))
	b.ready("alpha")
	b.store.must(t, state.CreateMapping{Source: "cam", NodeTag: tag, Cluster: "alpha"})
	ps := b.listen("alpha", "cam")
	b.store.must(t, state.RemoveCluster{Name: "alpha"})
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		m, err := ps.ReceiveMessage(ctx)
		cancel()
		if err != nil {
			t.Fatalf("the removal was not heard: %v", err)
		}
		if m.Payload == `{"command":"remove","payload":["node-1"]}` {
			return
		}
	}
}

func TestARestartedAgentRepeatsWhatIs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBed(t, m).start()
	b.create("alpha", spec(1))
	b.ready("alpha")
	b.store.must(t, state.CreateMapping{Source: "cam", NodeTag: tag, Cluster: "alpha", Metadata: json.RawMessage(`{"sizes":["1x1"]}`)})
	b.stop()
	ps := b.listen("alpha", "cam")
	b.start()
	hear(t, ps, `{"command":"update","payload":[`+b.entry("alpha", `{"sizes":["1x1"]}`)+`]}`)
}

// hearMaster waits for an update that names the new master.
func hearMaster(t *testing.T, ps *redis.PubSub, master wire.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		// Sentinel has the new master end its connections: subscribe again.
		m, err := ps.ReceiveMessage(ctx)
		if err != nil && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatalf("no update with the new master was heard: %v", err)
		}
		var msg struct {
			Command wire.RoutingCommand
			Payload []wire.NodeEntry
		}
		if err := json.Unmarshal([]byte(m.Payload), &msg); err != nil {
			t.Fatal(err)
		}
		if msg.Command == wire.CommandUpdate && msg.Payload[0].RedisPort == master.Port {
			return
		}
	}
}
