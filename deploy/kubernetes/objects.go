package kubernetes

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/framedb/framedb/client/wire"
)

// Design is all that a cluster's objects are made from.
type Design struct {
	Layout    Layout
	Name      wire.ClusterName
	Spec      wire.ClusterSpec
	Passwords Passwords
	// Members is how many pods there are to be; more than Spec.Replicas while
	// one that leaves has to stay.
	Members int
	// Kept is what cannot be changed of a StatefulSet that is there.
	Kept Kept
}

// Kept are fields of a StatefulSet that Kubernetes lets nobody change; zero
// where there is none yet.
type Kept struct {
	Selector map[string]string
	// Ordered says that its pods start one after the other.
	Ordered bool
}

// Objects are what makes a cluster, as they are applied: in this order.
type Objects struct {
	Secret    *coreac.SecretApplyConfiguration
	ConfigMap *coreac.ConfigMapApplyConfiguration
	Services  []*coreac.ServiceApplyConfiguration
	Budget    *policyac.PodDisruptionBudgetApplyConfiguration
	Set       *appsac.StatefulSetApplyConfiguration
}

// All are the objects in the order in which they are applied.
func (o *Objects) All() []any {
	all := []any{o.Secret, o.ConfigMap}
	for _, s := range o.Services {
		all = append(all, s)
	}
	return append(all, o.Budget, o.Set)
}

// Objects makes the objects. It is pure: the same design gives the same ones.
func (d *Design) Objects() Objects {
	return Objects{
		Secret: d.secret(), ConfigMap: d.configMap(), Services: d.services(), Budget: d.budget(), Set: d.set(),
	}
}

func (d *Design) labels() map[string]string { return objectLabels(d.Name, d.Spec.NodeTag) }

// selector is the one that the StatefulSet keeps, or ours.
func (d *Design) selector() map[string]string {
	if d.Kept.Selector != nil {
		return d.Kept.Selector
	}
	return selector(d.Name)
}

func (d *Design) secret() *coreac.SecretApplyConfiguration {
	p := d.Passwords
	// Data, not StringData, which the API server does not give back: a change of
	// that by others would go unseen.
	return coreac.Secret(serviceName(d.Name), d.Layout.Namespace).WithLabels(d.labels()).
		WithType(corev1.SecretTypeOpaque).WithData(map[string][]byte{
		passwordKey:     []byte(p.Deployment),
		peerKey:         []byte(p.Peer),
		redisAuthKey:    []byte(redisAuth(p)),
		sentinelAuthKey: []byte(sentinelAuth(p)),
		monitorAuthKey:  []byte(monitorAuth(p)),
	})
}

func (d *Design) configMap() *coreac.ConfigMapApplyConfiguration {
	id := sentinelID(d.Layout.Namespace, d.Name)
	return coreac.ConfigMap(serviceName(d.Name), d.Layout.Namespace).WithLabels(d.labels()).
		WithData(map[string]string{
			redisConfKey:     redisConf(&d.Spec),
			sentinelConfKey:  sentinelConf(),
			startSentinelKey: startSentinel(id, d.Layout.podDomain(d.Name)),
			readyKey:         ready(),
		})
}

// services: the headless one gives each pod its name, from the moment that it
// has an address; the others lead to those that are ready.
func (d *Design) services() []*coreac.ServiceApplyConfiguration {
	redis := []*coreac.ServicePortApplyConfiguration{port("redis", redisPort), port("redis-sentinel", sentinelPort)}
	headless := d.service(headlessName(d.Name), redis...)
	headless.Spec.WithClusterIP(corev1.ClusterIPNone).WithPublishNotReadyAddresses(true)
	all := []*coreac.ServiceApplyConfiguration{headless, d.service(serviceName(d.Name), redis...)}
	if d.Spec.EnableMetrics {
		all = append(all, d.service(metricsName(d.Name), port("metrics", metricsPort)))
	}
	return all
}

func (d *Design) service(name string, ports ...*coreac.ServicePortApplyConfiguration) *coreac.ServiceApplyConfiguration {
	return coreac.Service(name, d.Layout.Namespace).WithLabels(d.labels()).
		WithSpec(coreac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithSelector(d.selector()).WithPorts(ports...))
}

func port(name string, number int32) *coreac.ServicePortApplyConfiguration {
	return coreac.ServicePort().WithName(name).WithPort(number).WithProtocol(corev1.ProtocolTCP).
		WithTargetPort(intstr.FromString(name))
}

// budget lets one member at a time be moved away, and none while another has
// not copied everything yet.
func (d *Design) budget() *policyac.PodDisruptionBudgetApplyConfiguration {
	return policyac.PodDisruptionBudget(setName(d.Name), d.Layout.Namespace).WithLabels(d.labels()).
		WithSpec(policyac.PodDisruptionBudgetSpec().WithMaxUnavailable(intstr.FromInt32(1)).
			WithSelector(metaac.LabelSelector().WithMatchLabels(d.selector())))
}

// specJSON is what List reads.
func specJSON(spec wire.ClusterSpec) string {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(err) // strings, numbers and booleans always marshal
	}
	return string(b)
}
