package kubernetes

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy/sockets"
)

// ServeTag implements deploy.Driver. It marks the member's pod by a label; the
// agent of the node that the pod is on makes the link, because the node is
// seldom this one. A tag that is led to nobody is taken from the member that
// this agent led it to: with several nodes on a tag, others may lead it as well.
func (d *Driver) ServeTag(ctx context.Context, tag wire.NodeTag, member wire.FrameDBID) error {
	if err := sockets.CheckTag(d.cfg.SocketDir, tag); err != nil {
		return err
	}
	cluster, _, ok := member.SplitMember()
	if member != "" && !ok {
		return wire.InField("framedb_id", wire.Errorf(wire.CodeInvalidArgument, "%q is no member's ID", member))
	}
	before := d.led(tag)
	if before != "" && before != member {
		if err := d.label(ctx, before, nil); err != nil {
			return err
		}
	}
	for _, p := range d.marked(cluster, tag) {
		if wire.FrameDBID(p.Name) != member {
			if err := d.label(ctx, wire.FrameDBID(p.Name), nil); err != nil {
				return err
			}
		}
	}
	if member != "" && !d.isMarked(member, tag) {
		if err := d.label(ctx, member, &tag); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if member == "" {
		delete(d.serving, tag)
	} else {
		d.serving[tag] = member
	}
	return nil
}

func (d *Driver) led(tag wire.NodeTag) wire.FrameDBID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.serving[tag]
}

// marked are the pods of a cluster that are marked with the tag, as watched.
func (d *Driver) marked(cluster wire.ClusterName, tag wire.NodeTag) []*corev1.Pod {
	var all []*corev1.Pod
	if w := d.watchesOf(cluster); w != nil {
		for _, obj := range w.pods.GetStore().List() {
			p, ok := obj.(*corev1.Pod)
			if ok && p.Labels[releaseLabel] == string(cluster) && p.Labels[servesLabel] == string(tag) {
				all = append(all, p)
			}
		}
	}
	return all
}

func (d *Driver) isMarked(member wire.FrameDBID, tag wire.NodeTag) bool {
	cluster, _, _ := member.SplitMember()
	for _, p := range d.marked(cluster, tag) {
		if p.Name == string(member) {
			return true
		}
	}
	return false
}

// label marks a pod with a tag, or with none; a pod that is gone needs none.
func (d *Driver) label(ctx context.Context, member wire.FrameDBID, tag *wire.NodeTag) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{servesLabel: tag}}})
	if err != nil {
		return err
	}
	_, err = d.cfg.Client.CoreV1().Pods(d.cfg.Namespace).Patch(ctx, string(member), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: manager})
	if err != nil && !(tag == nil && apierrors.IsNotFound(err)) {
		return apiError("mark the pod "+string(member), err)
	}
	return nil
}
