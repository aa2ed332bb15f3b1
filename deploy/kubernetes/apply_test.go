package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/framedb/framedb/client/wire"
)

// objectNames lists a cluster's objects.
func (b *bed) objectNames() []string {
	b.t.Helper()
	var all []string
	add := func(kind string, err error, items ...string) {
		if err != nil {
			b.t.Fatal(err)
		}
		for _, name := range items {
			if !strings.HasPrefix(name, "kube-root-ca") && !strings.HasPrefix(name, "kubernetes") {
				all = append(all, kind+" "+name)
			}
		}
	}
	ns := b.cfg.Namespace
	sets, err := b.api.AppsV1().StatefulSets(ns).List(b.ctx, metav1.ListOptions{})
	for _, o := range sets.Items {
		add("StatefulSet", err, o.Name)
	}
	services, err := b.api.CoreV1().Services(ns).List(b.ctx, metav1.ListOptions{})
	for _, o := range services.Items {
		add("Service", err, o.Name)
	}
	secrets, err := b.api.CoreV1().Secrets(ns).List(b.ctx, metav1.ListOptions{})
	for _, o := range secrets.Items {
		add("Secret", err, o.Name)
	}
	maps, err := b.api.CoreV1().ConfigMaps(ns).List(b.ctx, metav1.ListOptions{})
	for _, o := range maps.Items {
		add("ConfigMap", err, o.Name)
	}
	budgets, err := b.api.PolicyV1().PodDisruptionBudgets(ns).List(b.ctx, metav1.ListOptions{})
	for _, o := range budgets.Items {
		add("PodDisruptionBudget", err, o.Name)
	}
	slices.Sort(all)
	return all
}

var alphasObjects = []string{
	"ConfigMap alpha-redis", "PodDisruptionBudget alpha-redis-node", "Secret alpha-redis",
	"Service alpha-redis", "Service alpha-redis-headless", "StatefulSet alpha-redis-node",
}

func TestApplyMakesTheObjectsOnce(t *testing.T) {
	b := newBed(t)
	s := spec(3)
	s.EnableMetrics = true
	b.apply("alpha", s)
	want := slices.Sorted(slices.Values(append([]string{"Service alpha-redis-metrics"}, alphasObjects...)))
	if got := b.objectNames(); !slices.Equal(got, want) {
		t.Fatalf("objects\n%v, want\n%v", got, want)
	}
	s.EnableMetrics = false
	b.apply("alpha", s)
	if got := b.objectNames(); !slices.Equal(got, alphasObjects) {
		t.Errorf("without metrics: %v", got)
	}
	found, err := b.List(b.ctx)
	if err != nil || len(found) != 1 || found[0].Name != "alpha" || !reflect.DeepEqual(found[0].Spec, s) {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestNothingIsAskedWhileAllIsWell(t *testing.T) {
	b := newBed(t)
	if b.fake == nil {
		t.Skip("requests are counted at the fake API server only")
	}
	b.apply("alpha", spec(2))
	b.run("alpha", 0, 1)
	b.say("alpha", 0, follows(0), knows(0, 1))
	b.say("alpha", 1, follows(0), knows(0, 1))
	b.watchedNow("alpha", func(s sight) bool { return s.missing == "" && wellDeployed(podsOf("alpha", &s)) && len(s.pods) == 2 })
	count := b.requests()
	for range 3 {
		d, err := b.Observe(b.ctx, "alpha")
		if err != nil || !d.Exists || d.FilesLost || len(d.Members) != 2 || !d.Members[1].Redis.Running {
			t.Fatalf("observed %+v, %v", d, err)
		}
		b.apply("alpha", spec(2))
	}
	if asked := count(); len(asked) > 0 {
		t.Errorf("the API server was asked: %v", asked)
	}
	b.outage()
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || !d.Members[0].Redis.Running {
		t.Errorf("without the API server, while all is well: %+v, %v", d, err)
	}
}

func TestWhatCouldNotBeSeenIsAnError(t *testing.T) {
	b := newBed(t)
	if b.fake == nil {
		t.Skip("only the fake API server can be made to fail")
	}
	b.apply("alpha", spec(2))
	b.run("alpha", 0)
	b.say("alpha", 0, follows(0), knows(0, 1))
	b.outage()
	for _, name := range []wire.ClusterName{"alpha", "beta"} {
		if _, err := b.Observe(b.ctx, name); !errors.Is(err, wire.ErrUnavailable) {
			t.Errorf("%s, with a pod that is missing: %v, want unavailable", name, err)
		}
	}
	if _, err := b.List(b.ctx); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("list: %v", err)
	}
	if err := b.Remove(b.ctx, "alpha"); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("remove: %v", err)
	}
	if err := b.Apply(b.ctx, "alpha", spec(3)); !errors.Is(err, wire.ErrUnavailable) {
		t.Errorf("apply: %v", err)
	}
}

func TestAnObjectThatSomebodyDeletedComesBack(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(1))
	b.run("alpha", 0)
	b.say("alpha", 0, follows(0), knows(0, 1))
	ns, core := b.cfg.Namespace, b.api.CoreV1()
	now := metav1.DeleteOptions{}
	b.watching()
	peer := b.remember("alpha").peer
	for what, remove := range map[string]func(context.Context) error{
		"Service alpha-redis":          func(ctx context.Context) error { return core.Services(ns).Delete(ctx, "alpha-redis", now) },
		"Service alpha-redis-headless": func(ctx context.Context) error { return core.Services(ns).Delete(ctx, "alpha-redis-headless", now) },
		"ConfigMap alpha-redis":        func(ctx context.Context) error { return core.ConfigMaps(ns).Delete(ctx, "alpha-redis", now) },
		"Secret alpha-redis":           func(ctx context.Context) error { return core.Secrets(ns).Delete(ctx, "alpha-redis", now) },
		"StatefulSet alpha-redis-node": func(ctx context.Context) error {
			return b.api.AppsV1().StatefulSets(ns).Delete(ctx, "alpha-redis-node", now)
		},
		"PodDisruptionBudget alpha-redis-node": func(ctx context.Context) error {
			return b.api.PolicyV1().PodDisruptionBudgets(ns).Delete(ctx, "alpha-redis-node", now)
		},
	} {
		t.Run(what, func(t *testing.T) {
			if err := remove(b.ctx); err != nil {
				t.Fatal(err)
			}
			b.eventually(what+" is missed", func() error {
				if d, err := b.Observe(b.ctx, "alpha"); err != nil || !d.FilesLost {
					return fmt.Errorf("observed %+v, %v", d, err)
				}
				return nil
			})
			b.apply("alpha", spec(1))
			if got := b.objectNames(); !slices.Equal(got, alphasObjects) {
				t.Errorf("objects %v, want %v", got, alphasObjects)
			}
			b.run("alpha", 0) // a StatefulSet takes its pods with it
		})
	}
	secret, err := core.Secrets(ns).Get(b.ctx, "alpha-redis", metav1.GetOptions{})
	if err != nil || string(secret.Data[peerKey]) != peer {
		t.Errorf("the cluster's password is another one now (%v)", err)
	}
}

func TestTheClustersPasswordIsLearntFromItsMembers(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(1))
	b.run("alpha", 0)
	b.say("alpha", 0, follows(0), knows(0, 1))
	old := b.remember("alpha").peer
	b.servers.tells = old
	if err := b.api.CoreV1().Secrets(b.cfg.Namespace).Delete(b.ctx, "alpha-redis", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	other := b.driver(b.cfg.Namespace) // of an agent that was started just now
	if err := other.Apply(b.ctx, "alpha", spec(1)); err != nil {
		t.Fatal(err)
	}
	if got := other.remember("alpha").peer; got != old {
		t.Errorf("the password became %q, want %q", got, old)
	}
}

func TestWhatUsersAddedStays(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(1))
	ns := b.cfg.Namespace
	theirs := coreac.Service("alpha-redis", ns).WithAnnotations(map[string]string{"team": "vision"}).
		WithLabels(map[string]string{"cost": "7", appLabel: "changed"})
	_, err := b.api.CoreV1().Services(ns).Apply(b.ctx, theirs, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.driver(ns).Apply(b.ctx, "alpha", spec(1)); err != nil {
		t.Fatal(err)
	}
	got, err := b.api.CoreV1().Services(ns).Get(b.ctx, "alpha-redis", metav1.GetOptions{})
	if err != nil || got.Annotations["team"] != "vision" || got.Labels["cost"] != "7" {
		t.Errorf("what a user added is gone: %v %v %v", got.Annotations, got.Labels, err)
	}
	if got.Labels[appLabel] != "redis" {
		t.Errorf("what is ours stayed changed: %v", got.Labels)
	}
}

func TestAChangeBySomebodyElseIsUndone(t *testing.T) {
	b := newBed(t)
	if b.fake != nil {
		t.Skip("the fake API server counts no versions: the lab runs this")
	}
	b.apply("alpha", spec(1))
	b.run("alpha", 0)
	b.say("alpha", 0, follows(0), knows(0, 1))
	conf := coreac.ConfigMap("alpha-redis", b.cfg.Namespace).WithData(map[string]string{readyKey: "exit 0"})
	_, err := b.api.CoreV1().ConfigMaps(b.cfg.Namespace).Apply(b.ctx, conf, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the change is seen", func() error {
		if d, err := b.Observe(b.ctx, "alpha"); err != nil || !d.FilesLost {
			return fmt.Errorf("observed %+v, %v", d, err)
		}
		return nil
	})
	b.apply("alpha", spec(1))
	got, err := b.api.CoreV1().ConfigMaps(b.cfg.Namespace).Get(b.ctx, "alpha-redis", metav1.GetOptions{})
	if err != nil || got.Data[readyKey] != ready() {
		t.Errorf("the change stayed: %v", err)
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	b := newBed(t)
	s := spec(2)
	s.EnableMetrics = true
	b.apply("alpha", s)
	b.apply("alphabet", s)
	b.run("alpha", 0, 1)
	ended := make(chan error, 1)
	go func() { ended <- b.Remove(b.ctx, "alpha") }()
	b.eventually("the StatefulSet is gone", func() error {
		_, err := b.api.AppsV1().StatefulSets(b.cfg.Namespace).Get(b.ctx, "alpha-redis-node", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.New("it is there")
	})
	b.deletePod("alpha", 0) // as Kubernetes does for a StatefulSet that is gone
	b.deletePod("alpha", 1)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, name := range b.objectNames() {
		if !strings.Contains(name, "alphabet-") {
			t.Errorf("left: %s", name)
		}
	}
	if got := len(b.objectNames()); got != 7 {
		t.Errorf("%d objects of the other cluster are left, want 7", got)
	}
	if err := b.Remove(b.ctx, "alpha"); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
	if d, err := b.Observe(b.ctx, "alpha"); err != nil || d.Exists {
		t.Errorf("observed %+v, %v", d, err)
	}
}

func TestRefusedBeforeAnythingIsAsked(t *testing.T) {
	b := newBed(t)
	bad := spec(3)
	bad.Quorum = 4
	if err := b.Apply(b.ctx, "alpha", bad); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("quorum: %v", err)
	}
	if err := b.Apply(b.ctx, "Not A Name", spec(1)); !errors.Is(err, wire.ErrInvalidArgument) {
		t.Errorf("name: %v", err)
	}
	if got := b.objectNames(); len(got) > 0 {
		t.Errorf("made %v", got)
	}
}

func TestClustersOfTheFirstFrameDBAreFound(t *testing.T) {
	b := newBed(t)
	b.apply("alpha", spec(1))
	set, err := b.api.AppsV1().StatefulSets(b.cfg.Namespace).Get(b.ctx, "alpha-redis-node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set = set.DeepCopy()
	set.ObjectMeta = metav1.ObjectMeta{Name: "old-redis-node", Namespace: b.cfg.Namespace,
		Labels: map[string]string{appLabel: "redis", releaseLabel: "old", "heritage": "Helm"}}
	set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, corev1.Container{Name: metricsContainer, Image: "exporter:1"})
	three := int32(3)
	set.Spec.Replicas = &three
	if _, err := b.api.AppsV1().StatefulSets(b.cfg.Namespace).Create(b.ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	found, err := b.List(b.ctx)
	if err != nil || len(found) != 2 || found[1].Name != "old" {
		t.Fatalf("found %+v, %v", found, err)
	}
	if s := found[1].Spec; s.NodeTag != "nowhere" || s.Replicas != 3 || s.Quorum != 2 || !s.EnableMetrics || s.Validate() != nil {
		t.Errorf("spec %+v", s)
	}
}
