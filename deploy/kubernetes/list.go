package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
	"github.com/framedb/framedb/deploy"
)

// List implements deploy.Driver. It also finds what somebody else made under
// the names and labels of the first FrameDB, and reads what it can of its spec.
func (d *Driver) List(ctx context.Context) ([]deploy.Found, error) {
	sets, err := d.cfg.Client.AppsV1().StatefulSets(d.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: releaseLabel})
	if err != nil {
		return nil, apiError("list the clusters", err)
	}
	var found []deploy.Found
	for i := range sets.Items {
		set := &sets.Items[i]
		name, ok := clusterOf(set.Name)
		if !ok || set.Labels[releaseLabel] != string(name) || set.DeletionTimestamp != nil {
			continue
		}
		if spec, ok := specOf(set); ok {
			found = append(found, deploy.Found{Name: name, Spec: spec})
		}
	}
	slices.SortFunc(found, func(a, b deploy.Found) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// specOf is the spec by which a StatefulSet was last applied; where somebody
// else made it, the one that it looks like. ok is false when that is none, such
// as one without a node tag.
func specOf(set *appsv1.StatefulSet) (spec wire.ClusterSpec, ok bool) {
	if said := set.Annotations[specAnnotation]; said != "" {
		if json.Unmarshal([]byte(said), &spec) == nil && spec.Validate() == nil {
			return spec, true
		}
	}
	spec = wire.ClusterSpec{
		NodeTag:  wire.NodeTag(set.Spec.Template.Spec.NodeSelector[tagLabel]),
		Replicas: replicasOf(set),
	}
	spec.Quorum = spec.Replicas/2 + 1
	for _, c := range set.Spec.Template.Spec.Containers {
		spec.EnableMetrics = spec.EnableMetrics || c.Name == metricsContainer
	}
	spec.Backup = len(set.Spec.VolumeClaimTemplates) > 0
	spec.ApplyDefaults()
	return spec, spec.Validate() == nil
}
