package kubernetes

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// objectKey names one object of the namespace.
type objectKey struct{ kind, name string }

// mark tells whether an object was changed since it was applied.
type mark struct {
	uid types.UID
	// generation counts the changes of a spec; objects without one have their
	// resource version counted instead, which also grows with the status.
	generation int64
	version    uint64
}

func markOf(o metav1.Object) mark {
	m := mark{uid: o.GetUID(), generation: o.GetGeneration()}
	if m.generation == 0 {
		m.version, _ = strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	}
	return m
}

// newer says that m is a later state than applied. What is watched may be
// behind, which is no change.
func (m mark) newer(applied mark) bool {
	if m.uid != applied.uid {
		return true
	}
	return m.generation > applied.generation || m.version > applied.version
}
