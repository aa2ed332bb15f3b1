package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	kube "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/framedb/framedb/client/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kubeconfigVariable names the kubeconfig of an API server to test against,
// such as the lab's. Without it the same tests run against client-go's fake.
const kubeconfigVariable = "FRAMEDB_TEST_KUBECONFIG"

const password = "deployment-secret"

// bed is a driver, an API server and servers that answer as they are told.
type bed struct {
	*Driver
	t       *testing.T
	ctx     context.Context
	api     kube.Interface
	fake    *fake.Clientset // nil with a real API server
	servers *scripted
	watches atomic.Int32 // open at the fake
	away    atomic.Bool  // the fake fails
}

func newBed(t *testing.T) *bed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b := &bed{t: t, ctx: ctx, servers: &scripted{members: map[string]seen{}}}
	namespace := "framedb"
	if config := os.Getenv(kubeconfigVariable); config != "" {
		b.api, namespace = realAPI(t, ctx, config)
	} else {
		b.fake = fake.NewClientset()
		b.api = b.fake
		b.fake.PrependWatchReactor("*", b.openWatch)
		b.fake.PrependReactor("*", "*", b.fail)
	}
	b.Driver = b.driver(namespace)
	return b
}

// openWatch is the fake's own, and counts. The fake loses what changes between
// a list and its watch.
func (b *bed) openWatch(a clienttesting.Action) (bool, watch.Interface, error) {
	defer b.watches.Add(1)
	opts := a.(clienttesting.WatchActionImpl).ListOptions
	w, err := b.fake.Tracker().Watch(a.GetResource(), a.GetNamespace(), opts)
	return true, w, err
}

// watching waits until the driver's watches are open.
func (b *bed) watching() {
	b.t.Helper()
	b.eventually("the watches are open", func() error {
		if n := b.watches.Load(); b.fake != nil && n < 6 {
			return fmt.Errorf("%d of 6", n)
		}
		return nil
	})
}

// driver is another one on the same API server.
func (b *bed) driver(namespace string) *Driver {
	b.t.Helper()
	dir, err := os.MkdirTemp("", "fdb") // t.TempDir is too long for sockets
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { os.RemoveAll(dir) })
	d, err := New(Config{
		Client: b.api, Node: "node1", Password: password,
		Layout: Layout{Namespace: namespace, SocketDir: dir},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	d.servers = b.servers
	b.t.Cleanup(func() { d.Close(context.Background()) })
	return d
}

// realAPI makes a namespace that is removed with the test.
func realAPI(t *testing.T, ctx context.Context, config string) (kube.Interface, string) {
	t.Helper()
	api, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "framedb-test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		api.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
		closeIdle(api)
	})
	return api, ns.Name
}

// closeIdle ends the connections that the client keeps for its next request.
func closeIdle(api kube.Interface) {
	if c, ok := api.CoreV1().RESTClient().(*rest.RESTClient); ok {
		utilnet.CloseIdleConnectionsFor(c.Client.Transport)
	}
}

// spec's tag is on no node, so that a real cluster starts no pod.
func spec(replicas int) wire.ClusterSpec {
	s := wire.ClusterSpec{NodeTag: "nowhere", Replicas: replicas, Quorum: replicas/2 + 1}
	s.ApplyDefaults()
	return s
}

func (b *bed) apply(name wire.ClusterName, s wire.ClusterSpec) {
	b.t.Helper()
	if err := b.Apply(b.ctx, name, s); err != nil {
		b.t.Fatal(err)
	}
}

// pods has the members' pods run, which a real cluster's controller has made.
func (b *bed) run(name wire.ClusterName, ordinals ...int) {
	b.t.Helper()
	pods := b.api.CoreV1().Pods(b.cfg.Namespace)
	for _, i := range ordinals {
		id := string(name.Member(i))
		if b.fake != nil {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: id, Namespace: b.cfg.Namespace,
				Labels: with(objectLabels(name, "nowhere"), selector(name))}}
			if _, err := pods.Create(b.ctx, pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				b.t.Fatal(err)
			}
		}
		b.eventually("pod "+id+" is there", func() error {
			pod, err := pods.Get(b.ctx, id, metav1.GetOptions{})
			if err != nil {
				return err
			}
			pod.Status = runningStatus(i)
			_, err = pods.UpdateStatus(b.ctx, pod, metav1.UpdateOptions{})
			return err
		})
	}
}

func runningStatus(ordinal int) corev1.PodStatus {
	ip := podIP(ordinal)
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	return corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		ContainerStatuses: []corev1.ContainerStatus{
			{Name: redisContainer, State: running}, {Name: sentinelContainer, State: running},
		},
	}
}

func podIP(ordinal int) string { return fmt.Sprintf("10.0.0.%d", ordinal+1) }

func (b *bed) deletePod(name wire.ClusterName, ordinal int) {
	b.t.Helper()
	now := int64(0)
	err := b.api.CoreV1().Pods(b.cfg.Namespace).Delete(b.ctx, string(name.Member(ordinal)), metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		b.t.Fatal(err)
	}
}

// say has a member's servers answer from now on.
func (b *bed) say(name wire.ClusterName, ordinal int, set ...func(*seen)) {
	m := seen{ordinal: ordinal}
	for _, f := range set {
		f(&m)
	}
	for i := range 10 { // the names of this namespace
		for _, e := range []*wire.Endpoint{&m.follows, &m.claim.Master} {
			if *e == at(i) {
				*e = b.cfg.redis(name, i)
			}
		}
	}
	b.servers.mu.Lock()
	defer b.servers.mu.Unlock()
	b.servers.members[podIP(ordinal)] = m
}

func (b *bed) eventually(what string, f func() error) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// watchedNow waits until the driver's watches show what the API server has.
func (b *bed) watchedNow(name wire.ClusterName, ok func(sight) bool) {
	b.t.Helper()
	b.watching()
	b.eventually("the watches show it", func() error {
		if s, synced := b.watched(name); !synced || !ok(s) {
			return errors.New("not yet")
		}
		return nil
	})
}

// requests counts what is asked of the fake API server from now on, but for
// watches.
func (b *bed) requests() (count func() []string) {
	begin := len(b.fake.Actions())
	return func() []string {
		var all []string
		for _, a := range b.fake.Actions()[begin:] {
			if a.GetVerb() != "watch" {
				all = append(all, a.GetVerb()+" "+a.GetResource().Resource)
			}
		}
		return all
	}
}

// outage has the fake API server fail from now on.
func (b *bed) outage() { b.away.Store(true) }

// fail is there from the start: client-go's fake takes no reactor while it is
// in use.
func (b *bed) fail(a clienttesting.Action) (bool, runtime.Object, error) {
	return b.away.Load() && a.GetVerb() != "watch", nil, apierrors.NewServiceUnavailable("the API server is away")
}

// scripted are servers that answer as they are told.
type scripted struct {
	mu      sync.Mutex
	members map[string]seen // by IP
	told    []string
	tells   string // the peer password that they give away
	peers   map[string]bool
}

func (s *scripted) redis(_ context.Context, ip, peer string, m *seen) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(peer)
	is, ok := s.members[ip]
	if !ok || is.redis == silent {
		return errors.New("timeout")
	}
	m.redis, m.follows, m.data = is.redis, is.follows, is.data
	return nil
}

func (s *scripted) sentinel(_ context.Context, ip, peer string, m *seen) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(peer)
	is, ok := s.members[ip]
	if !ok || is.sentinel == silent {
		return errors.New("timeout")
	}
	m.sentinel, m.claim = is.sentinel, is.claim
	return nil
}

func (s *scripted) note(peer string) {
	if s.peers == nil {
		s.peers = map[string]bool{}
	}
	s.peers[peer] = true
}

func (s *scripted) tell(_ context.Context, ip, _ string, o order, _ *wire.ClusterSpec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, ip+": "+o.String())
	return nil
}

func (s *scripted) unguard(_ context.Context, ip, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, ip+": unguard")
	return nil
}

func (s *scripted) peerPassword(_ context.Context, host, deployment string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if deployment != password || !strings.Contains(host, "-redis-headless.") {
		return "", errors.New("refused")
	}
	return s.tells, nil
}

func (s *scripted) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = nil
	return told
}
