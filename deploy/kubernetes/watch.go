package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/framedb/framedb/client/wire"
)

// watches follow the objects of the clusters on one node tag. All of them are
// selected by labels, in one namespace: what an agent sees and pays for is what
// the nodes of its tags run. They begin with the first cluster of the tag that
// is asked for.
type watches struct {
	sets, pods, secrets, maps, services, budgets cache.SharedIndexInformer
}

func (d *Driver) newWatches(tag wire.NodeTag) *watches {
	factory := informers.NewSharedInformerFactoryWithOptions(d.cfg.Client, 0,
		informers.WithNamespace(d.cfg.Namespace), informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = labels.SelectorFromSet(labels.Set{ownerLabel: manager, tagLabel: string(tag)}).String()
		}))
	w := &watches{
		sets:     factory.Apps().V1().StatefulSets().Informer(),
		pods:     factory.Core().V1().Pods().Informer(),
		secrets:  factory.Core().V1().Secrets().Informer(),
		maps:     factory.Core().V1().ConfigMaps().Informer(),
		services: factory.Core().V1().Services().Informer(),
		budgets:  factory.Policy().V1().PodDisruptionBudgets().Informer(),
	}
	for _, informer := range w.all() {
		tellTrouble(informer, d.log)
	}
	return w
}

// tellTrouble has a watch that fails say so in our log; it goes on by itself.
func tellTrouble(informer cache.SharedIndexInformer, log *slog.Logger) {
	// The only error is that it runs already.
	_ = informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		log.Warn("what Kubernetes shows may be old: a watch was cut off, will retry", "err", err)
	})
}

func (w *watches) all() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{w.sets, w.pods, w.secrets, w.maps, w.services, w.budgets}
}

func (w *watches) run(ctx context.Context, group *sync.WaitGroup) {
	for _, informer := range w.all() {
		group.Go(func() { informer.Run(ctx.Done()) })
	}
}

func (w *watches) synced() bool {
	for _, informer := range w.all() {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// slim drops what nobody here reads and what takes most of the memory. It
// leaves the object alone, which may be somebody else's: with client-go's fake
// it is.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{ObjectMeta: slimMeta(o.ObjectMeta)}, nil
	case *corev1.Secret:
		return &corev1.Secret{ObjectMeta: slimMeta(o.ObjectMeta), Data: map[string][]byte{peerKey: o.Data[peerKey]}}, nil
	case *corev1.Pod:
		return &corev1.Pod{ObjectMeta: slimMeta(o.ObjectMeta), Spec: corev1.PodSpec{NodeName: o.Spec.NodeName}, Status: o.Status}, nil
	case *appsv1.StatefulSet:
		set := *o
		set.ObjectMeta, set.Spec.Template = slimMeta(o.ObjectMeta), corev1.PodTemplateSpec{}
		return &set, nil
	case *corev1.Service:
		return &corev1.Service{ObjectMeta: slimMeta(o.ObjectMeta)}, nil
	}
	return obj, nil
}

func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	m.ManagedFields = nil
	return m
}

func get[T any](informer cache.SharedIndexInformer, namespace, name string) *T {
	obj, ok, err := informer.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil
	}
	found, _ := any(obj).(*T)
	return found
}

// sight is what the API server shows of a cluster.
type sight struct {
	set    *appsv1.StatefulSet // nil: none
	secret *corev1.Secret      // nil: none, or not looked for
	pods   []*corev1.Pod
	// missing names an object that is gone or was changed by somebody else
	// since it was applied; only what is watched tells.
	missing string
}

// watched returns what is known without asking, if the cluster's tag is
// watched.
func (d *Driver) watched(name wire.ClusterName) (sight, bool) {
	w := d.watchesOf(name)
	if w == nil || !w.synced() {
		return sight{}, false
	}
	ns := d.cfg.Namespace
	s := sight{set: get[appsv1.StatefulSet](w.sets, ns, setName(name))}
	if s.set == nil {
		return sight{}, false
	}
	s.secret = get[corev1.Secret](w.secrets, ns, serviceName(name))
	for _, obj := range w.pods.GetStore().List() {
		if p, ok := obj.(*corev1.Pod); ok && p.Labels[releaseLabel] == string(name) {
			s.pods = append(s.pods, p)
		}
	}
	s.missing = d.missing(w, name)
	return s, true
}

// missing compares what is watched with what was applied last.
func (d *Driver) missing(w *watches, name wire.ClusterName) string {
	for key, applied := range d.marksOf(name) {
		var now metav1.Object
		ns := d.cfg.Namespace
		switch key.kind {
		case "StatefulSet":
			now = object(get[appsv1.StatefulSet](w.sets, ns, key.name))
		case "Secret":
			now = object(get[corev1.Secret](w.secrets, ns, key.name))
		case "ConfigMap":
			now = object(get[corev1.ConfigMap](w.maps, ns, key.name))
		case "Service":
			now = object(get[corev1.Service](w.services, ns, key.name))
		case "PodDisruptionBudget":
			now = object(get[policyv1.PodDisruptionBudget](w.budgets, ns, key.name))
		}
		if now == nil {
			return fmt.Sprintf("%s %s is gone", key.kind, key.name)
		}
		if markOf(now).newer(applied) {
			return fmt.Sprintf("%s %s was changed by somebody else", key.kind, key.name)
		}
	}
	return ""
}

// object keeps a nil pointer from becoming an interface that is not nil.
func object[P interface {
	*T
	metav1.Object
}, T any](p P) metav1.Object {
	if p == nil {
		return nil
	}
	return p
}
