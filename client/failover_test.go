package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/framedb/framedb/client"
	"github.com/framedb/framedb/client/wire"
)

// Addresses of other machines.
const (
	addrA = "203.0.113.1:5000"
	addrB = "203.0.113.2:5000"
	addrC = "203.0.113.3:5000"
)

func TestOneAddressLeadsToAllAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB, addrC)
		c := n.client(t, client.Config{}, addrB)
		members, err := c.Agents(t.Context())
		if err != nil || len(members) != 3 || !members[2].Leader {
			t.Fatalf("agents are %+v, %v", members, err)
		}
		for _, dead := range []*host{hosts[1], hosts[2]} {
			dead.become(refused)
			start := time.Now()
			mustAnswer(t, c)
			took(t, "the way round a dead agent", start, 0)
		}
		if len(hosts[0].got()) == 0 {
			t.Error("an agent that was only heard of was not asked")
		}
	})
}

func TestDeadAddressesCostASecondAtMost(t *testing.T) {
	for name, state := range map[string]reach{"refused": refused, "lost": lost, "frozen": frozen} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				var addrs []string
				for i := range 20 {
					addrs = append(addrs, fmt.Sprintf("203.0.113.%d:1", 100+i))
					n.add(addrs[i], hang).become(state)
				}
				n.add(addrA, ok([]wire.Cluster{}))
				c := n.client(t, client.Config{}, append(addrs, addrA)...)
				start := time.Now()
				mustAnswer(t, c)
				took(t, "the first call", start, time.Second)
				time.Sleep(40 * time.Second) // the list is due
				start = time.Now()
				mustAnswer(t, c)
				took(t, "a later call", start, 0)
			})
		})
	}
}

func TestRealDeadAddressesCostASecondAtMost(t *testing.T) {
	t.Parallel()
	f := newFakeAgent(t, ok([]wire.Cluster{}))
	c := newClient(t, client.Config{Addrs: []string{blackhole(t), mute(t), deadAddr(t), mute(t)}}, f)
	start := time.Now()
	mustAnswer(t, c)
	took(t, "the first call", start, time.Second)
}

func TestACallLeavesAnAgentThatFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB, addrC)
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		hosts[0].become(frozen)
		hosts[2].become(lost) // the leader is gone as well
		start := time.Now()
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				if _, err := c.SyncCluster(t.Context(), "a"); err == nil {
					t.Error("no list of clusters is a cluster")
				} else if wire.CodeOf(err) != wire.CodeInternal {
					t.Errorf("no answer: %v", err)
				}
			})
		}
		calls.Wait()
		took(t, "the way round", start, time.Second)
		if dials := hosts[2].dialled(); dials > 1 {
			t.Errorf("the dead leader was dialled %d times", dials)
		}
		if got := len(hosts[1].got()); got != 50 {
			t.Errorf("%d calls came to the agent that lives", got)
		}
	})
}

func TestAChangeIsTakenElsewhereUnderItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		hosts[1].script = []http.HandlerFunc{ok(wire.Cluster{Name: "a"})}
		hosts[0].script = []http.HandlerFunc{func(http.ResponseWriter, *http.Request) { hosts[0].become(frozen) }}
		c := n.client(t, client.Config{}, addrA)
		if _, err := c.SyncCluster(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if a, b := hosts[0].got(), hosts[1].got(); len(a) != 1 || len(b) != 1 || a[0].id != b[0].id {
			t.Errorf("asked %v, then %v", a, b)
		}
	})
}

func TestAWaitOnPurposeEndsOnlyWithItsAgent(t *testing.T) {
	for _, freezes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			hosts := n.ring(addrA, addrB)
			slow := func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(5 * time.Minute)
				ok(wire.Cluster{Name: "a"})(w, r)
			}
			hosts[0].script = []http.HandlerFunc{slow}
			hosts[1].script = []http.HandlerFunc{ok(wire.Cluster{Name: "b"})}
			c := n.client(t, client.Config{}, addrA)
			if freezes {
				time.AfterFunc(2*time.Minute, func() { hosts[0].become(frozen) })
			}
			start := time.Now()
			got, err := c.UpdateCluster(t.Context(), "a", wire.UpdateCluster{}, 10*time.Minute)
			waited := time.Since(start)
			if !freezes && (err != nil || got.Name != "a" || waited != 5*time.Minute) {
				t.Errorf("got %q, %v after %v", got.Name, err, waited)
			}
			if freezes && (err != nil || got.Name != "b" || waited > 2*time.Minute+time.Second) {
				t.Errorf("frozen: got %q, %v after %v", got.Name, err, waited)
			}
			hosts[0].become(up)
			time.Sleep(10 * time.Minute) // the handler ends
		})
	}
}

func TestAFrameIsNotGivenUpOnceSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		hosts[0].script = []http.HandlerFunc{ok(wire.PutFrame{Count: 1})}
		c := n.client(t, client.Config{}, addrA)
		if _, err := c.Agents(t.Context()); err != nil {
			t.Fatal(err)
		}
		hosts[0].become(frozen)
		time.AfterFunc(5*time.Second, func() { hosts[0].become(up) })
		if _, err := c.WriteFrame(t.Context(), wire.NewFrameKey("s", 0, 0, 1), "8x8", "", 1, nil); err != nil {
			t.Errorf("not carried on after the agent woke up: %v", err)
		}
	})
}

func TestAnAgentWithoutLeaderSendsToTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB, addrC)
		hosts[0].script = []http.HandlerFunc{refuse(wire.CodeNoLeader, 1)}
		hosts[2].script = []http.HandlerFunc{ok(wire.Cluster{Name: "a"})}
		c := n.client(t, client.Config{}, addrA)
		start := time.Now()
		if _, err := c.SyncCluster(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		took(t, "the call", start, 0)
		if len(hosts[1].got()) != 0 || len(hosts[2].got()) != 1 {
			t.Errorf("%d calls at the follower, %d at the leader", len(hosts[1].got()), len(hosts[2].got()))
		}
	})
}

func TestEveryAgentGetsThePatienceItAskedFor(t *testing.T) {
	for _, code := range []wire.Code{wire.CodeNoLeader, wire.CodeOverloaded} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			hosts := n.ring(addrA, addrB, addrC)
			asked, inARow, last := map[string][]time.Time{}, 0, time.Time{}
			for _, h := range hosts {
				h.script = []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
					asked[h.addr] = append(asked[h.addr], time.Now())
					if time.Since(last) == 0 {
						inARow++
					}
					last = time.Now()
					refuse(code, 2)(w, r)
				}}
			}
			c := n.client(t, client.Config{RetryFor: 20 * time.Second}, addrA)
			if _, err := c.SyncCluster(t.Context(), "a"); wire.CodeOf(err) != code {
				t.Errorf("got %v", err)
			}
			for addr, times := range asked {
				for i := range times[1:] {
					if d := times[i+1].Sub(times[i]); d < 2*time.Second {
						t.Errorf("%s: %s was asked again after %v", code, addr, d)
					}
				}
			}
			if len(asked) < 3 {
				t.Errorf("%s: only %d agents were asked", code, len(asked))
			}
			if (code == wire.CodeOverloaded) != (inARow == 0) {
				t.Errorf("%s: %d times another agent was asked at once", code, inARow)
			}
			if n := len(asked[addrA]); code == wire.CodeNoLeader && n < 6 {
				t.Errorf("each agent was asked %d times in 20 s", n)
			}
		})
	}
}

func TestTwoWaysToOneAgentAreNoTwoAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		for _, h := range n.ring(addrA, addrB) {
			h.status.Node, h.status.Members = "a", []wire.Member{{Name: "a", Address: addrB, Alive: true}}
			h.script = []http.HandlerFunc{refuse(wire.CodeNoLeader, 5)}
		}
		c := n.client(t, client.Config{RetryFor: time.Second}, addrA)
		if _, err := c.Clusters(t.Context()); !errors.Is(err, wire.ErrNoLeader) {
			t.Errorf("got %v", err)
		}
		if a, b := len(n.hosts[addrA].got()), len(n.hosts[addrB].got()); a+b != 1 {
			t.Errorf("asked %d and %d times, want once until 5 s have passed", a, b)
		}
	})
}

func TestDeadMembersAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		for i := range 20 {
			addr := fmt.Sprintf("203.0.113.%d:1", 100+i)
			n.add(addr, hang).become(lost)
			hosts[0].status.Members = append(hosts[0].status.Members, wire.Member{Name: wire.NodeName(addr), Address: addr})
		}
		hosts[0].status.Leader = ""
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		hosts[0].become(refused)
		start := time.Now()
		mustAnswer(t, c)
		took(t, "the way to the one that lives", start, 0)
	})
}

func TestASlowAgentIsKeptWhenNobodyElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		c := n.client(t, client.Config{RetryFor: -1}, addrA)
		mustAnswer(t, c)
		hosts[1].become(lost)
		hosts[0].unready = func(w http.ResponseWriter, r *http.Request) { time.Sleep(3 * time.Second) }
		time.Sleep(31 * time.Second)
		mustAnswer(t, c)
		time.Sleep(time.Minute)
	})
}

func TestALateAnswerIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var addrs []string
		for i := range 62 {
			addrs = append(addrs, fmt.Sprintf("203.0.113.%d:1", 100+i))
			n.add(addrs[i], ok([]wire.Cluster{})).become(frozen)
		}
		late := n.hosts[addrs[49]] // asked when a search is nearly over
		late.become(up)
		late.unready = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(120 * time.Millisecond)
			ok(wire.HealthReport{})(w, r)
		}
		c := n.client(t, client.Config{RetryFor: 3 * time.Second}, addrs...)
		mustAnswer(t, c)
	})
}

func TestCallsThatWaitShareTheirProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.ring(addrA, addrB)[0]
		var probes atomic.Int32
		a.unready = func(w http.ResponseWriter, r *http.Request) { probes.Add(1); ok(wire.HealthReport{})(w, r) }
		a.script = []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			ok(wire.Cluster{})(w, r)
		}}
		c := n.client(t, client.Config{}, addrA)
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				if _, err := c.SyncCluster(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if n := probes.Load(); n > 30 || n < 20 {
			t.Errorf("%d signs of life were asked for in 10 s", n)
		}
	})
}

func TestAWatchThatIsCutOffStaysWithItsAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		whole := stream(4)
		hosts := n.ring(addrA, addrB)
		hosts[0].script = []http.HandlerFunc{send(whole[:bytes.Index(whole, []byte(`"key":"c"`))], false), resume}
		c := n.client(t, client.Config{}, addrA)
		if got := strings.Join(collectFor(t, c, 4, 6, time.Hour), ", "); got != allEvents {
			t.Error(got)
		}
		if len(hosts[1].got()) > 0 {
			t.Error("it went elsewhere")
		}
	})
}

func TestTheListIsKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		later := n.ring(addrC)[0]
		hosts[0].status.Members = []wire.Member{{Name: "a", Address: addrA, Alive: true}, {Name: "c", Address: addrC, Alive: true}}
		time.Sleep(31 * time.Second)
		mustAnswer(t, c)
		hosts[0].become(refused)
		hosts[1].become(lost) // it is on no list any more, and is not waited for
		start := time.Now()
		mustAnswer(t, c)
		took(t, "the way to a new agent", start, 0)
		if len(later.got()) != 1 {
			t.Error("the new agent was not asked")
		}
	})
}

func TestAnAgentThatHasJustStartedMakesNobodyForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		hosts[0].status.Members = []wire.Member{{Name: "a", Address: addrA, Alive: true}}
		time.Sleep(31 * time.Second)
		mustAnswer(t, c)
		hosts[0].become(refused)
		mustAnswer(t, c)
		if len(hosts[1].got()) != 1 {
			t.Error("the other agent was not asked")
		}
	})
}

func TestTheAgentOfThisMachineIsPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, "127.0.0.1:5000", addrC)
		here := hosts[1]
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		here.become(refused)
		mustAnswer(t, c)
		here.become(up)
		time.Sleep(31 * time.Second)
		mustAnswer(t, c)
		if got := len(here.got()); got != 2 {
			t.Errorf("the agent of this machine got %d calls of 2", got)
		}
	})
}

func TestNobodyButTheGivenAgentsIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, "127.0.0.1:5000")
		c := n.client(t, client.Config{AddrsOnly: true}, addrA)
		mustAnswer(t, c)
		hosts[0].become(refused)
		if _, err := c.Clusters(t.Context()); !errors.Is(err, wire.ErrUnavailable) || hosts[1].dialled() > 0 {
			t.Errorf("got %v after %d dials of another agent", err, hosts[1].dialled())
		}
	})
}

func TestAnAgentThatIsNotReadyIsTheLastChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		starting := n.add(addrA, refuse(wire.CodeUnavailable, 1), ok([]wire.Cluster{}))
		starting.unready = refuse(wire.CodeUnavailable, 1)
		c := n.client(t, client.Config{}, addrA, addrB)
		mustAnswer(t, c) // nobody else is there
		n.add(addrB, ok([]wire.Cluster{}))
		time.Sleep(31 * time.Second)
		mustAnswer(t, c)
		if got := len(starting.got()); got != 2 {
			t.Errorf("the agent that starts got %d calls, want 2", got)
		}
	})
}

func TestReadsDemandWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		var demands []string
		answer := func(w http.ResponseWriter, r *http.Request) {
			demands = append(demands, r.Method+r.Header.Get(wire.HeaderMinIndex))
			w.Header().Set(wire.HeaderIndex, "17")
			ok(map[string]any{})(w, r)
		}
		hosts[0].script, hosts[1].script = []http.HandlerFunc{answer}, []http.HandlerFunc{answer}
		c := n.client(t, client.Config{}, addrA)
		ctx := t.Context()
		c.Cluster(ctx, "a")
		c.SyncCluster(ctx, "a")
		hosts[0].become(refused)
		c.Cluster(ctx, "a")
		if got := strings.Join(demands, " "); got != "GET POST0 GET17" {
			t.Errorf("demanded %s", got)
		}
	})
}

func TestAWatchGoesOnAtAnotherAgent(t *testing.T) {
	whole := stream(4)
	half := whole[:bytes.Index(whole, []byte(`"key":"c"`))]
	for name, fault := range map[string]reach{"killed": refused, "frozen": frozen, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				hosts := n.ring(addrA, addrB, addrC)
				hosts[0].script = []http.HandlerFunc{send(half, true)}
				// Those that are behind and cannot catch up say so.
				hosts[2].script = []http.HandlerFunc{refuse(wire.CodeNoLeader, 1), resume}
				hosts[1].script = []http.HandlerFunc{refuse(wire.CodeUnavailable, 1), resume}
				c := n.client(t, client.Config{}, addrA)
				time.AfterFunc(time.Minute, func() { hosts[0].become(fault) })
				start := time.Now()
				if got := strings.Join(collectFor(t, c, 4, 6, time.Hour), ", "); got != allEvents {
					t.Error(got)
				}
				took(t, "the way round", start.Add(time.Minute), 10*time.Second)
				for _, h := range hosts {
					for _, call := range h.got() {
						if call.uri != "/v1/events?index=4&table=clusters" {
							t.Errorf("asked %s", call.uri)
						}
					}
				}
			})
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB)
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		hosts[0].become(lost)
		hosts[1].become(lost)
		if err := c.Ping(t.Context()); !errors.Is(err, wire.ErrUnavailable) {
			t.Errorf("Ping: %v", err)
		}
		start := time.Now()
		if _, err := c.Clusters(t.Context()); !errors.Is(err, wire.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		took(t, "giving up", start, 15*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		time.AfterFunc(20*time.Second, func() { hosts[1].become(up) })
		for _, err := range c.Watch(ctx, 0) { // goes on until its context ends
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the watch ended with %v", err)
			}
		}
		if !slices.ContainsFunc(hosts[1].got(), func(c call) bool { return strings.HasPrefix(c.uri, "/v1/events") }) {
			t.Error("the watch did not come back")
		}
	})
}

func TestNotAllAgentsAreAskedForTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var addrs []string
		for i := range 20 {
			addrs = append(addrs, fmt.Sprintf("203.0.113.%d:1", 100+i))
		}
		hosts := n.ring(addrs...)
		for _, h := range hosts {
			h.script = []http.HandlerFunc{refuse(wire.CodeNoLeader, 5)}
		}
		c := n.client(t, client.Config{RetryFor: time.Second}, addrs[0])
		if _, err := c.Clusters(t.Context()); !errors.Is(err, wire.ErrNoLeader) {
			t.Errorf("got %v", err)
		}
		asked := 0
		for _, h := range hosts {
			asked += len(h.got())
		}
		if asked != 3 {
			t.Errorf("%d agents were asked in a row", asked)
		}
	})
}

// TestWhoIsNoAgentAtAMembersAddressIsNotAsked: the address means somebody else
// in the network of this program.
func TestWhoIsNoAgentAtAMembersAddressIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hosts := n.ring(addrA, addrB, addrC)
		c := n.client(t, client.Config{}, addrA)
		mustAnswer(t, c)
		hosts[2].unready, hosts[2].script = http.NotFound, []http.HandlerFunc{http.NotFound} // it leads, so it is the first choice
		hosts[0].become(refused)
		mustAnswer(t, c)
		if len(hosts[1].got()) == 0 || len(hosts[2].got()) > 0 {
			t.Error("another server was taken for an agent")
		}
	})
}
