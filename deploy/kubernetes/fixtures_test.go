package kubernetes

import (
	"net"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
)

func podNamed(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "framedb", Labels: labels}}
}

func setNamed(t *testing.T, b *bed, name wire.ClusterName) *appsv1.StatefulSet {
	t.Helper()
	b.apply(name, spec(1))
	set, err := b.api.AppsV1().StatefulSets(b.cfg.Namespace).Get(b.ctx, setName(name), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// listen makes a socket; close leaves its file, as a killed process does.
func listen(t *testing.T, path string) (close func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return func() { l.Close() }
}
