package kubernetes

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// Remove implements deploy.Driver. It returns when no pod is left. The
// StatefulSet goes first, or it would make pods anew.
func (d *Driver) Remove(ctx context.Context, name wire.ClusterName) error {
	give, err := d.take(ctx, name)
	if err != nil {
		return err
	}
	defer give()
	ns, core := d.cfg.Namespace, d.cfg.Client.CoreV1()
	background := metav1.DeletePropagationBackground
	opts := metav1.DeleteOptions{PropagationPolicy: &background}
	steps := []struct {
		delete func(context.Context, string, metav1.DeleteOptions) error
		name   string
	}{
		{d.cfg.Client.AppsV1().StatefulSets(ns).Delete, setName(name)},
		{d.cfg.Client.PolicyV1().PodDisruptionBudgets(ns).Delete, setName(name)},
		{core.Services(ns).Delete, serviceName(name)},
		{core.Services(ns).Delete, headlessName(name)},
		{core.Services(ns).Delete, metricsName(name)},
		{core.ConfigMaps(ns).Delete, serviceName(name)},
		{core.Secrets(ns).Delete, serviceName(name)},
	}
	for _, step := range steps {
		if err := step.delete(ctx, step.name, opts); err != nil && !apierrors.IsNotFound(err) {
			return apiError("remove cluster "+string(name), err)
		}
	}
	if err := d.until(ctx, func(ctx context.Context) (bool, error) { return d.ended(ctx, name) }); err != nil {
		return err
	}
	d.forget(name)
	return nil
}

// ended reports whether no pod of the cluster is left. Volumes go with the
// StatefulSet, unless they are of an earlier one.
func (d *Driver) ended(ctx context.Context, name wire.ClusterName) (bool, error) {
	own := metav1.ListOptions{LabelSelector: releaseLabel + "=" + string(name) + "," + appLabel + "=redis"}
	pods, err := d.cfg.Client.CoreV1().Pods(d.cfg.Namespace).List(ctx, own)
	if err != nil {
		return false, apiError("look at the pods of cluster "+string(name), err)
	}
	left := 0
	for _, p := range pods.Items {
		if cluster, _, ok := wire.FrameDBID(p.Name).SplitMember(); ok && cluster == name {
			left++
		}
	}
	if left > 0 {
		return false, nil
	}
	claims, err := d.cfg.Client.CoreV1().PersistentVolumeClaims(d.cfg.Namespace).List(ctx, own)
	if err != nil {
		return false, apiError("look at the volumes of cluster "+string(name), err)
	}
	for _, c := range claims.Items {
		err := d.cfg.Client.CoreV1().PersistentVolumeClaims(d.cfg.Namespace).Delete(ctx, c.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, apiError("delete the volume "+c.Name, err)
		}
	}
	return len(claims.Items) == 0, nil
}

// Restart implements deploy.Driver. It returns when the pod is told to end;
// Kubernetes makes it anew, and the next Apply tells its Redis whom to follow.
func (d *Driver) Restart(ctx context.Context, id wire.FrameDBID) error {
	name, ordinal, ok := id.SplitMember()
	if !ok {
		return wire.InField("framedb_id", wire.Errorf(wire.CodeInvalidArgument, "%q is no member's ID", id))
	}
	give, err := d.take(ctx, name)
	if err != nil {
		return err
	}
	defer give()
	s, err := d.ask(ctx, name)
	if err != nil {
		return err
	}
	pods := podsOf(name, &s)
	peer, err := d.peerOf(ctx, d.remember(name), name, &s, pods)
	if err != nil {
		return err
	}
	members := d.look(ctx, name, peer, pods)
	if err := mayRestart(id, ordinal, members, func(i int) wire.Endpoint { return d.cfg.redis(name, i) }); err != nil {
		return err
	}
	for _, p := range s.pods {
		if p.Name != string(id) {
			continue
		}
		err := d.cfg.Client.CoreV1().Pods(d.cfg.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &p.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return apiError("restart "+string(id), err)
		}
	}
	return nil
}

// mayRestart: only what others can do without.
func mayRestart(id wire.FrameDBID, ordinal int, members []seen, at func(int) wire.Endpoint) error {
	var claims []deploy.Claim
	there := false
	for _, m := range members {
		there = there || m.ordinal == ordinal
		if m.sentinel == active {
			claims = append(claims, m.claim)
		}
	}
	newest, agreed := deploy.NewestMaster(claims)
	switch {
	case !there:
		return wire.Errorf(wire.CodeNotFound, "there is no member %s", id)
	case !agreed:
		return wire.Errorf(wire.CodeUnavailable, "%s is not restarted: the Sentinels name no master", id)
	case newest.Master == at(ordinal):
		return wire.Errorf(wire.CodeConflict, "%s is not restarted: it is the master, make another one master first", id)
	}
	for _, m := range members {
		if m.redis == active && at(m.ordinal) == newest.Master {
			return nil
		}
	}
	return wire.Errorf(wire.CodeUnavailable, "%s is not restarted: the master %s does not run", id, address(newest.Master))
}
