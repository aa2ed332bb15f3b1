package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
	"github.com/framedb/framedb/deploy/sockets"
)

// pod is one member as Kubernetes shows it.
type pod struct {
	ordinal         int
	name            wire.FrameDBID
	node            wire.NodeName
	ip              string
	revision        string
	labels          map[string]string
	exists          bool
	redis, sentinel container
}

type container struct {
	running bool
	why     string // it does not run
}

// Observe implements deploy.Driver. As long as all is well it asks nothing of
// the API server. What is watched may be old, so that nothing is called gone
// before the API server has said so itself.
func (d *Driver) Observe(ctx context.Context, name wire.ClusterName) (deploy.Deployment, error) {
	give, err := d.take(ctx, name)
	if err != nil {
		return deploy.Deployment{}, err
	}
	defer give()
	k := d.remember(name)
	s, pods, err := d.see(ctx, name)
	if err != nil {
		return deploy.Deployment{}, err
	}
	// The Secret is what Remove deletes last.
	peer, err := d.peerOf(ctx, k, name, &s, pods)
	if err != nil || s.set == nil && len(pods) == 0 && s.secret == nil {
		return deploy.Deployment{}, err
	}
	members := d.look(ctx, name, peer, pods)
	todo := decide(members, func(i int) wire.Endpoint { return d.cfg.redis(name, i) })
	out := deploy.Deployment{Exists: true, FilesLost: s.missing != "" || s.set == nil}
	if s.missing != "" {
		d.log.Warn("an object has to be applied again", "cluster", name, "reason", s.missing)
	}
	for i, p := range pods {
		out.Members = append(out.Members, d.member(name, &s, k, p, members[i], &todo))
	}
	return out, ctx.Err()
}

// see looks at what is watched, and asks the API server if that is not all
// well.
func (d *Driver) see(ctx context.Context, name wire.ClusterName) (sight, []pod, error) {
	if s, ok := d.watched(name); ok {
		if pods := podsOf(name, &s); wellDeployed(pods) {
			return s, pods, nil
		}
	}
	s, err := d.ask(ctx, name)
	if err != nil {
		return sight{}, nil, err
	}
	return s, podsOf(name, &s), nil
}

func wellDeployed(pods []pod) bool {
	return !slices.ContainsFunc(pods, func(p pod) bool { return !p.redis.running || !p.sentinel.running || p.ip == "" })
}

// ask asks the API server. What is missing is seen by the watches alone: to put
// it back changes nothing that runs.
func (d *Driver) ask(ctx context.Context, name wire.ClusterName) (sight, error) {
	k := d.remember(name)
	var s sight
	set, err := d.cfg.Client.AppsV1().StatefulSets(d.cfg.Namespace).Get(ctx, setName(name), metav1.GetOptions{})
	switch {
	case err == nil:
		s.set = set
		d.follow(k, wire.NodeTag(set.Labels[tagLabel]))
	case !apierrors.IsNotFound(err):
		return sight{}, apiError("look at cluster "+string(name), err)
	}
	list, err := d.cfg.Client.CoreV1().Pods(d.cfg.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: releaseLabel + "=" + string(name) + "," + appLabel + "=redis",
	})
	if err != nil {
		return sight{}, apiError("look at the pods of cluster "+string(name), err)
	}
	for i := range list.Items {
		s.pods = append(s.pods, &list.Items[i])
	}
	if w := d.watchesOf(name); w != nil && w.synced() {
		s.missing = d.missing(w, name)
		s.secret = get[corev1.Secret](w.secrets, d.cfg.Namespace, serviceName(name))
	}
	return s, nil
}

// podsOf are the members, by ordinal: those that the StatefulSet is to have, and
// those beyond that are still there.
func podsOf(name wire.ClusterName, s *sight) []pod {
	n := 0
	if s.set != nil {
		n = replicasOf(s.set)
	}
	found := map[int]*corev1.Pod{}
	for _, p := range s.pods {
		cluster, ordinal, ok := wire.FrameDBID(p.Name).SplitMember()
		if ok && cluster == name {
			found[ordinal] = p
			n = max(n, ordinal+1)
		}
	}
	pods := make([]pod, 0, n)
	for ordinal := range n {
		p := pod{ordinal: ordinal, name: name.Member(ordinal)}
		p.redis.why, p.sentinel.why = "its pod is not there", "its pod is not there"
		if it := found[ordinal]; it != nil {
			p.read(it)
		} else if s.set == nil || ordinal >= replicasOf(s.set) {
			continue // gone
		}
		pods = append(pods, p)
	}
	return pods
}

func replicasOf(set *appsv1.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

func (p *pod) read(it *corev1.Pod) {
	p.exists = true
	p.node, p.ip, p.labels = wire.NodeName(it.Spec.NodeName), it.Status.PodIP, it.Labels
	p.revision = it.Labels[appsv1.ControllerRevisionHashLabelKey]
	why := cmp.Or(it.Status.Message, whyUnscheduled(it), "its pod is "+string(cmp.Or(it.Status.Phase, corev1.PodPending)))
	p.redis.why, p.sentinel.why = why, why
	if it.Status.Phase == corev1.PodSucceeded || it.Status.Phase == corev1.PodFailed {
		return
	}
	for _, c := range it.Status.ContainerStatuses {
		switch c.Name {
		case redisContainer:
			p.redis = readContainer(c)
		case sentinelContainer:
			p.sentinel = readContainer(c)
		}
	}
}

func whyUnscheduled(it *corev1.Pod) string {
	for _, c := range it.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "its pod has no node: " + c.Message
		}
	}
	return ""
}

func readContainer(c corev1.ContainerStatus) container {
	switch {
	case c.State.Running != nil:
		return container{running: true}
	case c.State.Waiting != nil:
		return container{why: fmt.Sprintf("its container waits: %s %s", c.State.Waiting.Reason, c.State.Waiting.Message)}
	case c.State.Terminated != nil:
		return container{why: fmt.Sprintf("its container ended with %d: %s", c.State.Terminated.ExitCode, c.State.Terminated.Reason)}
	}
	return container{why: "its container was not started yet"}
}

// member is what the actors see.
func (d *Driver) member(name wire.ClusterName, s *sight, k *knowledge, p pod, says seen, todo *orders) deploy.Member {
	host := d.cfg.host(name, p.ordinal)
	m := deploy.Member{
		ID: p.name, Ordinal: p.ordinal, Node: p.node,
		Redis:    deploy.Process{Host: host, Port: redisPort},
		Sentinel: deploy.Process{Host: host, Port: sentinelPort},
	}
	m.Redis.Running, m.Redis.Reason = standsFor(says.redis, p.redis.why, todo.redisWhy[p.ordinal])
	m.Sentinel.Running, m.Sentinel.Reason = standsFor(says.sentinel, p.sentinel.why, todo.sentinels[p.ordinal])
	if m.Redis.Running {
		m.Redis.Socket = sockets.Path(d.cfg.SocketDir, p.name)
		m.Redis.Reason = k.stays[p.ordinal]
		d.miss(&m, s, p)
	}
	return m
}

// standsFor: a server that waits does not run yet, whatever its process does.
func standsFor(s standing, why, waits string) (running bool, reason string) {
	switch s {
	case absent:
		return false, cmp.Or(why, "it does not run")
	case held:
		return false, cmp.Or(waits, "waits to be told whom to follow")
	}
	return true, ""
}

// miss says what a member that runs has only after a restart.
func (d *Driver) miss(m *deploy.Member, s *sight, p pod) {
	if p.node == d.cfg.Node {
		if _, err := os.Lstat(m.Redis.Socket); os.IsNotExist(err) {
			m.Redis.Socket, m.Redis.NeedsRestart = "", true
			m.Redis.Reason = "its socket is gone from " + d.cfg.SocketDir
		}
	}
	if set := s.set; set != nil && p.revision != "" && set.Status.ObservedGeneration == set.Generation &&
		set.Status.UpdateRevision != "" && p.revision != set.Status.UpdateRevision {
		m.Redis.NeedsRestart = true
		m.Redis.Reason = "its pod was made by an earlier specification"
	}
}
