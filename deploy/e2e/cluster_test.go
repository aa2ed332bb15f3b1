package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const create = `{"clusterName": %q, "nodeTag": "node-1", "replicas": %d, "enableMetrics": true, "quorum": 2}`

// newCluster makes a cluster by the seed's request and removes it with the test.
func newCluster(t *testing.T, name string, replicas int) {
	t.Helper()
	began := time.Now()
	call(t, "/cluster/createCluster", fmt.Sprintf(create, name, replicas))
	t.Cleanup(func() {
		call(t, "/cluster/removeCluster", fmt.Sprintf(`{"clusterName": %q}`, name))
		eventually(t, time.Minute, name+" leaves nothing", func() error {
			if all := left(t, name); all != "" {
				return errors.New(all)
			}
			return nil
		})
	})
	eventually(t, 60*time.Second, name+" is ready", ready(name, replicas))
	t.Logf("%s: created → ready in %v", name, time.Since(began).Round(100*time.Millisecond))
}

func master(t *testing.T, name string) string {
	t.Helper()
	var at struct{ MasterHost string }
	err := json.Unmarshal(call(t, "/discovery/getClusterMaster", fmt.Sprintf(`{"clusterName": %q}`, name)), &at)
	if err != nil {
		t.Fatal(err)
	}
	pod, _, _ := strings.Cut(at.MasterHost, ".")
	return pod
}

func TestMasterDies(t *testing.T) {
	const name = "cluster-alpha"
	newCluster(t, name, 3)
	host := name + "-redis." + namespace + ".svc.cluster.local"
	must(t, "-n", namespace, "wait", "--for=condition=Ready", "pods", "-l", "release="+name, "--timeout=60s")

	old := master(t, name)
	on := nodeOf(t, old)
	masterHost := func(pod string) string {
		return pod + "." + name + "-redis-headless." + namespace + ".svc.cluster.local"
	}
	if out, err := application("node1", "-h", masterHost(old), "set", "k", "before"); err != nil || out != "OK" {
		t.Fatalf("write by TCP: %s %v", out, err)
	}
	eventually(t, 5*time.Second, "read by the Service", func() error {
		out, err := application("node2", "-h", host, "get", "k")
		if err == nil && out != "before" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	eventually(t, 10*time.Second, "write and read by the tag's socket on the master's node", func() error {
		if out, err := application(on, "-s", "/sockets/"+tag+".sock", "set", "s", "socket"); err != nil || out != "OK" {
			return fmt.Errorf("%s %w", out, err)
		}
		_, err := application(on, "-s", "/sockets/"+tag+".sock", "get", "s")
		return err
	})

	must(t, "-n", namespace, "delete", "pod", old, "--wait=false")
	began := time.Now()
	var now string
	eventually(t, 30*time.Second, "another member is master and takes writes", func() error {
		var at struct{ MasterHost string }
		result, err := post(nodeIPs()[0], "/discovery/getClusterMaster", fmt.Sprintf(`{"clusterName": %q}`, name))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(result, &at); err != nil {
			return err
		}
		if now, _, _ = strings.Cut(at.MasterHost, "."); now == old {
			return errors.New("still " + now)
		}
		_, err = application("node1", "-h", at.MasterHost, "set", "after", "1")
		return err
	})
	t.Logf("master deleted → the next one takes writes: %v", time.Since(began).Round(100*time.Millisecond))
	if out, err := application("node1", "-h", masterHost(now), "get", "k"); err != nil || out != "before" {
		t.Errorf("what was written is %q, %v", out, err)
	}
	eventually(t, 60*time.Second, "all are well again", ready(name, 3))
	on = nodeOf(t, now)
	eventually(t, 10*time.Second, "the tag's socket leads to the new master", func() error {
		_, err := application(on, "-s", "/sockets/"+tag+".sock", "set", "s", "again")
		return err
	})
}

func TestScale(t *testing.T) {
	const name = "cluster-scale"
	newCluster(t, name, 2)
	for _, n := range []int{4, 2} {
		began := time.Now()
		call(t, "/replication/createReplication", fmt.Sprintf(`{"clusterId": %q, "replicas": %d}`, name, n))
		eventually(t, 90*time.Second, fmt.Sprintf("%d members", n), func() error {
			if err := ready(name, n)(); err != nil {
				return err
			}
			pods := must(t, "-n", namespace, "get", "pods", "-l", "release="+name, "-o", "name")
			if got := len(strings.Fields(pods)); got != n {
				return fmt.Errorf("%d pods", got)
			}
			return nil
		})
		t.Logf("to %d members in %v", n, time.Since(began).Round(100*time.Millisecond))
	}
}

func TestAllPodsDieAtOnce(t *testing.T) {
	const name = "cluster-all"
	newCluster(t, name, 3)
	before := podUIDs(t, name)
	began := time.Now()
	must(t, "-n", namespace, "delete", "pods", "-l", "release="+name, "--wait=false")
	eventually(t, 90*time.Second, "it starts anew", func() error {
		for id := range podUIDs(t, name) {
			if before[id] {
				return errors.New("a pod of before is there")
			}
		}
		return ready(name, 3)()
	})
	t.Logf("all pods deleted → ready in %v", time.Since(began).Round(100*time.Millisecond))
	if out, err := application("node1", "-h", master(t, name)+"."+name+"-redis-headless."+namespace+".svc.cluster.local", "set", "k", "v"); err != nil {
		t.Errorf("write: %s %v", out, err)
	}
}

func podUIDs(t *testing.T, name string) map[string]bool {
	t.Helper()
	uids := map[string]bool{}
	for _, id := range strings.Fields(must(t, "-n", namespace, "get", "pods", "-l", "release="+name, "-o", "jsonpath={.items[*].metadata.uid}")) {
		uids[id] = true
	}
	return uids
}

func TestRemoveLeavesNothingOnTheNodes(t *testing.T) {
	t.Run("cluster", func(t *testing.T) { newCluster(t, "cluster-gone", 3) })
	eventually(t, 40*time.Second, "no socket is left", func() error {
		found, err := filepath.Glob(os.Getenv("KUBELAB_RUN") + "/nodes/*/fs/var/lib/framedb/sockets/*")
		if err != nil {
			return err
		}
		for _, f := range found {
			if strings.Contains(f, "cluster-gone") || strings.HasSuffix(f, "/"+tag+".sock") {
				return fmt.Errorf("%v", found)
			}
		}
		return nil
	})
}
