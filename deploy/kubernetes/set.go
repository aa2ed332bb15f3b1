package kubernetes

import (
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/framedb/framedb/deploy/redisconf"
)

// Names of containers and volumes.
const (
	redisContainer    = "redis"
	sentinelContainer = "sentinel"
	metricsContainer  = "metrics"

	dataVolume   = "redis-data"
	confVolume   = "framedb"
	socketVolume = "sockets"
)

// redisUser is the user and the group that the servers run as; the Redis images
// have no other claim on it.
const redisUser = 999

// endGrace is what a server has to end, in seconds: more than Redis'
// shutdown-timeout.
const endGrace = 15

// set is the StatefulSet. Its template holds only what a pod has to be made anew
// for: what Redis and Sentinel can be told while they run is in the ConfigMap,
// where a change restarts nobody. OnDelete: the driver restarts members, when
// it is safe.
func (d *Design) set() *appsac.StatefulSetApplyConfiguration {
	policy := appsv1.ParallelPodManagement
	if d.Kept.Ordered {
		policy = appsv1.OrderedReadyPodManagement
	}
	spec := appsac.StatefulSetSpec().
		WithReplicas(int32(d.Members)).
		WithServiceName(headlessName(d.Name)).
		WithPodManagementPolicy(policy).
		WithUpdateStrategy(appsac.StatefulSetUpdateStrategy().WithType(appsv1.OnDeleteStatefulSetStrategyType)).
		WithRevisionHistoryLimit(2).
		WithSelector(metaac.LabelSelector().WithMatchLabels(d.selector())).
		WithTemplate(coreac.PodTemplateSpec().WithLabels(with(d.labels(), d.selector())).WithSpec(d.pod()))
	if d.Spec.Backup {
		spec.WithVolumeClaimTemplates(d.claim()).
			WithPersistentVolumeClaimRetentionPolicy(appsac.StatefulSetPersistentVolumeClaimRetentionPolicy().
				WithWhenDeleted(appsv1.DeletePersistentVolumeClaimRetentionPolicyType).
				WithWhenScaled(appsv1.DeletePersistentVolumeClaimRetentionPolicyType))
	}
	return appsac.StatefulSet(setName(d.Name), d.Layout.Namespace).WithLabels(d.labels()).
		WithAnnotations(map[string]string{specAnnotation: specJSON(d.Spec)}).WithSpec(spec)
}

func (d *Design) claim() *coreac.PersistentVolumeClaimApplyConfiguration {
	spec := coreac.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce).
		WithResources(coreac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{
			corev1.ResourceStorage: resource.MustParse(d.Layout.StorageSize), // Complete has parsed it
		}))
	if d.Layout.StorageClass != "" {
		spec.WithStorageClassName(d.Layout.StorageClass)
	}
	return coreac.PersistentVolumeClaim(dataVolume, "").WithLabels(d.labels()).WithSpec(spec)
}

func (d *Design) pod() *coreac.PodSpecApplyConfiguration {
	pod := coreac.PodSpec().
		WithNodeSelector(map[string]string{tagLabel: string(d.Spec.NodeTag)}).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(endGrace).
		WithSecurityContext(coreac.PodSecurityContext().WithRunAsNonRoot(true).
			WithRunAsUser(redisUser).WithRunAsGroup(redisUser).WithFSGroup(redisUser).
			WithSeccompProfile(coreac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		// Apart from each other where the tag is on several nodes, and together
		// where it is on one.
		WithTopologySpreadConstraints(coreac.TopologySpreadConstraint().
			WithMaxSkew(1).WithTopologyKey(corev1.LabelHostname).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithLabelSelector(metaac.LabelSelector().WithMatchLabels(d.selector()))).
		WithContainers(d.redisContainer(), d.sentinelContainer()).
		WithVolumes(d.volumes()...)
	if d.Spec.EnableMetrics {
		pod.WithContainers(d.metricsContainer())
	}
	for _, name := range d.Layout.PullSecrets {
		pod.WithImagePullSecrets(coreac.LocalObjectReference().WithName(name))
	}
	return pod
}

func (d *Design) volumes() []*coreac.VolumeApplyConfiguration {
	name := serviceName(d.Name)
	conf := coreac.ProjectedVolumeSource().WithDefaultMode(0o440).WithSources(
		coreac.VolumeProjection().WithConfigMap(coreac.ConfigMapProjection().WithName(name)),
		coreac.VolumeProjection().WithSecret(coreac.SecretProjection().WithName(name)))
	all := []*coreac.VolumeApplyConfiguration{
		coreac.Volume().WithName(confVolume).WithProjected(conf),
		coreac.Volume().WithName(socketVolume).WithHostPath(coreac.HostPathVolumeSource().
			WithPath(d.Layout.SocketDir).WithType(corev1.HostPathDirectoryOrCreate)),
	}
	if !d.Spec.Backup {
		all = append(all, coreac.Volume().WithName(dataVolume).WithEmptyDir(coreac.EmptyDirVolumeSource()))
	}
	return all
}

func (d *Design) container(name, image string) *coreac.ContainerApplyConfiguration {
	c := coreac.Container().WithName(name).WithImage(image).
		WithSecurityContext(coreac.SecurityContext().WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
			WithCapabilities(coreac.Capabilities().WithDrop("ALL"))).
		WithEnv(coreac.EnvVar().WithName("POD_NAME").WithValueFrom(coreac.EnvVarSource().
			WithFieldRef(coreac.ObjectFieldSelector().WithFieldPath("metadata.name"))))
	if d.Layout.PullPolicy != "" {
		c.WithImagePullPolicy(corev1.PullPolicy(d.Layout.PullPolicy))
	}
	return c
}

func (d *Design) redisContainer() *coreac.ContainerApplyConfiguration {
	return d.container(redisContainer, d.Layout.RedisImage).
		WithCommand("redis-server").
		WithArgs(confDir+"/"+redisConfKey,
			"--replica-announce-ip", "$(POD_NAME)."+d.Layout.podDomain(d.Name),
			"--unixsocket", filepath.Join(socketDir, "$(POD_NAME).sock")).
		WithPorts(containerPort("redis", redisPort)).
		WithVolumeMounts(mount(dataVolume, dataDir, false), mount(confVolume, confDir, true), mount(socketVolume, socketDir, false)).
		WithResources(d.redisResources()).
		// A full copy may take as long as it likes: what has not begun is not
		// killed, and what has begun is killed only when it does not answer.
		WithStartupProbe(probe(2, 43200, "sh", confDir+"/"+readyKey)).
		WithReadinessProbe(probe(10, 2, "sh", confDir+"/"+readyKey)).
		WithLivenessProbe(probe(30, 3, "redis-cli", "ping")) // any answer will do
}

func (d *Design) sentinelContainer() *coreac.ContainerApplyConfiguration {
	return d.container(sentinelContainer, d.Layout.RedisImage).
		WithCommand("sh", confDir+"/"+startSentinelKey).
		WithPorts(containerPort("redis-sentinel", sentinelPort)).
		WithVolumeMounts(mount(dataVolume, dataDir, false), mount(confVolume, confDir, true)).
		WithResources(requests("20m", 32<<20)).
		WithReadinessProbe(coreac.Probe().WithPeriodSeconds(10).WithTCPSocket(coreac.TCPSocketAction().WithPort(intstr.FromInt32(sentinelPort)))).
		WithLivenessProbe(probe(30, 3, "redis-cli", "-p", "26379", "ping"))
}

func (d *Design) metricsContainer() *coreac.ContainerApplyConfiguration {
	return d.container(metricsContainer, d.Layout.ExporterImage).
		WithEnv(
			coreac.EnvVar().WithName("REDIS_ADDR").WithValue("redis://127.0.0.1:6379"),
			coreac.EnvVar().WithName("REDIS_USER").WithValue(probeUser),
			coreac.EnvVar().WithName("REDIS_PASSWORD").WithValueFrom(coreac.EnvVarSource().
				WithSecretKeyRef(coreac.SecretKeySelector().WithName(serviceName(d.Name)).WithKey(peerKey))),
			// CONFIG would tell the passwords.
			coreac.EnvVar().WithName("REDIS_EXPORTER_CONFIG_COMMAND").WithValue("-")).
		WithPorts(containerPort("metrics", metricsPort)).
		WithResources(requests("10m", 32<<20))
}

// redisResources: with max_memory a limit that Redis keeps clear of by itself:
// frames, half as much again for fragmentation and a backup's fork, and what it
// may hold for one slow replica. Without max_memory nobody knows one, and Redis
// killed for memory loses its frames. Never a limit on CPU, which would stall it.
func (d *Design) redisResources() *coreac.ResourceRequirementsApplyConfiguration {
	const base = 64 << 20
	frames := d.Spec.MaxMemory
	r := requests("50m", base+frames)
	if frames > 0 {
		limit := base + frames + frames/2 + redisconf.DefaultReplicaBuffer
		r.WithLimits(corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(limit, resource.BinarySI)})
	}
	return r
}

func requests(cpu string, memory int64) *coreac.ResourceRequirementsApplyConfiguration {
	return coreac.ResourceRequirements().WithRequests(corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	})
}

func probe(period, failures int32, command ...string) *coreac.ProbeApplyConfiguration {
	return coreac.Probe().WithPeriodSeconds(period).WithFailureThreshold(failures).WithTimeoutSeconds(5).
		WithExec(coreac.ExecAction().WithCommand(command...))
}

func containerPort(name string, number int32) *coreac.ContainerPortApplyConfiguration {
	return coreac.ContainerPort().WithName(name).WithContainerPort(number).WithProtocol(corev1.ProtocolTCP)
}

func mount(volume, path string, readOnly bool) *coreac.VolumeMountApplyConfiguration {
	m := coreac.VolumeMount().WithName(volume).WithMountPath(path)
	if readOnly {
		m.WithReadOnly(true)
	}
	return m
}
