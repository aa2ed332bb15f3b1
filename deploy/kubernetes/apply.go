package kubernetes

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// Apply implements deploy.Driver: it applies the objects, unless they are as
// they were applied last, and tells the servers that wait how to go on.
func (d *Driver) Apply(ctx context.Context, name wire.ClusterName, spec wire.ClusterSpec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	give, err := d.take(ctx, name)
	if err != nil {
		return err
	}
	defer give()
	k := d.remember(name)
	s, pods, err := d.see(ctx, name)
	if err != nil {
		return err
	}
	peer, err := d.peerOf(ctx, k, name, &s, pods)
	if err != nil {
		return err
	}
	if peer == "" {
		peer = newPeer()
		k.peer = peer
	}
	members := d.look(ctx, name, peer, pods)
	design := Design{
		Layout: d.cfg.Layout, Name: name, Spec: spec,
		Passwords: Passwords{Deployment: d.cfg.Password, Peer: peer},
	}
	design.Members, k.stays = keep(members, spec.Replicas, func(i int) wire.Endpoint { return d.cfg.redis(name, i) })
	if err := d.applyObjects(ctx, k, &s, &design); err != nil {
		return err
	}
	return d.release(ctx, name, &spec, peer, pods, members)
}

// keep says how many members there have to be: all that the spec asks for, and
// one beyond that is still the master, with those before it. Where it is not
// known who is, nobody ends.
func keep(members []seen, replicas int, at func(int) wire.Endpoint) (n int, why map[int]string) {
	var claims []deploy.Claim
	present := replicas
	for _, m := range members {
		if m.sentinel == active {
			claims = append(claims, m.claim)
		}
		if m.redis == active || m.redis == silent {
			present = max(present, m.ordinal+1)
		}
	}
	why = map[int]string{}
	newest, agreed := deploy.NewestMaster(claims)
	n = replicas
	for i := replicas; i < present; i++ {
		switch {
		case !agreed:
			n, why[i] = present, "is beyond the replicas, but no Sentinel could be asked whether it is the master"
		case newest.Master == at(i):
			n, why[i] = i+1, "is beyond the replicas, but still the master: waits for a failover to a member that stays"
		}
	}
	return n, why
}

// applyObjects applies what differs from the last time, or was changed by
// others.
func (d *Driver) applyObjects(ctx context.Context, k *knowledge, s *sight, design *Design) error {
	if s.set != nil {
		if err := d.replaceSet(ctx, design, s.set); err != nil {
			return err
		}
		design.Kept = keptOf(s.set)
	}
	objects := design.Objects()
	wanted, err := fingerprint(&objects)
	if err != nil {
		return err
	}
	if k.applied == wanted && s.missing == "" && s.set != nil {
		return nil
	}
	k.applied = ""
	marks, err := d.apply(ctx, &objects)
	if err != nil {
		return apiError("apply cluster "+string(design.Name), err)
	}
	if !design.Spec.EnableMetrics {
		err := d.cfg.Client.CoreV1().Services(d.cfg.Namespace).Delete(ctx, metricsName(design.Name), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return apiError("end the metrics of cluster "+string(design.Name), err)
		}
	}
	d.mu.Lock()
	k.applied, k.marks = wanted, marks
	d.mu.Unlock()
	d.follow(k, design.Spec.NodeTag)
	return nil
}

// apply applies the objects in their order; what we own of them is forced, all
// else stays.
func (d *Driver) apply(ctx context.Context, o *Objects) (map[objectKey]mark, error) {
	marks := map[objectKey]mark{}
	c, ns := d.cfg.Client, d.cfg.Namespace
	opts := metav1.ApplyOptions{FieldManager: manager, Force: true}
	note := func(kind string, got metav1.Object, err error) error {
		if err != nil {
			return err
		}
		marks[objectKey{kind, got.GetName()}] = markOf(got)
		return nil
	}
	secret, err := c.CoreV1().Secrets(ns).Apply(ctx, o.Secret, opts)
	if err := note("Secret", secret, err); err != nil {
		return nil, err
	}
	conf, err := c.CoreV1().ConfigMaps(ns).Apply(ctx, o.ConfigMap, opts)
	if err := note("ConfigMap", conf, err); err != nil {
		return nil, err
	}
	for _, service := range o.Services {
		got, err := c.CoreV1().Services(ns).Apply(ctx, service, opts)
		if err := note("Service", got, err); err != nil {
			return nil, err
		}
	}
	budget, err := c.PolicyV1().PodDisruptionBudgets(ns).Apply(ctx, o.Budget, opts)
	if err := note("PodDisruptionBudget", budget, err); err != nil {
		return nil, err
	}
	set, err := c.AppsV1().StatefulSets(ns).Apply(ctx, o.Set, opts)
	return marks, note("StatefulSet", set, err)
}

// keptOf are the fields of a StatefulSet that stay as they are.
func keptOf(set *appsv1.StatefulSet) Kept {
	kept := Kept{Ordered: set.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement}
	if set.Spec.Selector != nil {
		kept.Selector = set.Spec.Selector.MatchLabels
	}
	return kept
}

// replaceSet deletes a StatefulSet whose volumes have to be others, which
// Kubernetes lets nobody change. Its pods stay, and are the next one's, until
// they are restarted one by one.
func (d *Driver) replaceSet(ctx context.Context, design *Design, set *appsv1.StatefulSet) error {
	if (len(set.Spec.VolumeClaimTemplates) > 0) == design.Spec.Backup {
		return nil
	}
	orphan := metav1.DeletePropagationOrphan
	err := d.cfg.Client.AppsV1().StatefulSets(d.cfg.Namespace).Delete(ctx, set.Name, metav1.DeleteOptions{
		PropagationPolicy: &orphan, Preconditions: &metav1.Preconditions{UID: &set.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return apiError("replace the StatefulSet of cluster "+string(design.Name), err)
	}
	return d.until(ctx, func(ctx context.Context) (bool, error) {
		now, err := d.cfg.Client.AppsV1().StatefulSets(d.cfg.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && now.UID != set.UID, nil
	})
}

// release tells the servers that wait how to go on. One that cannot be told
// does not keep the others.
func (d *Driver) release(ctx context.Context, name wire.ClusterName, spec *wire.ClusterSpec, peer string, pods []pod, members []seen) error {
	ips := map[int]string{}
	for _, p := range pods {
		ips[p.ordinal] = p.ip
	}
	todo := decide(members, func(i int) wire.Endpoint { return d.cfg.redis(name, i) })
	var problems []error
	for _, o := range todo.give {
		if err := d.servers.tell(ctx, ips[o.ordinal], peer, o, spec); err != nil {
			problems = append(problems, wire.Errorf(wire.CodeUnavailable, "%s could not be told: %s: %v", name.Member(o.ordinal), o, err))
			continue
		}
		d.log.Info("told a server how to go on", "cluster", name, "order", o)
	}
	if spec.Replicas < guardedFrom {
		for _, m := range members {
			if m.redis == active {
				problems = append(problems, wrap("let it take writes", d.servers.unguard(ctx, ips[m.ordinal], peer)))
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(problems...)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", wire.ErrUnavailable, what, err)
}
