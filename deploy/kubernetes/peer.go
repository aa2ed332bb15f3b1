package kubernetes

import (
	"context"
	"crypto/rand"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/framedb/framedb/client/wire"
)

// peerOf is the cluster's own password: that of its Secret; if the Secret is
// gone the one that is remembered, or that a member which runs tells. Empty when
// there is none.
func (d *Driver) peerOf(ctx context.Context, k *knowledge, name wire.ClusterName, s *sight, pods []pod) (string, error) {
	if s.secret == nil {
		secret, err := d.cfg.Client.CoreV1().Secrets(d.cfg.Namespace).Get(ctx, serviceName(name), metav1.GetOptions{})
		switch {
		case err == nil:
			s.secret = secret
		case !apierrors.IsNotFound(err):
			return "", apiError("read the Secret of cluster "+string(name), err)
		}
	}
	if s.secret != nil {
		if peer := string(s.secret.Data[peerKey]); peer != "" {
			k.peer = peer
		}
	}
	for _, p := range pods {
		if k.peer != "" {
			break
		}
		if !p.redis.running {
			continue
		}
		// By name: an address alone may be another cluster's by now.
		peer, err := d.servers.peerPassword(ctx, d.cfg.host(name, p.ordinal), d.cfg.Password)
		if err != nil {
			d.log.Debug("a member does not tell the cluster's password", "member", p.name, "error", err)
		}
		k.peer = peer
	}
	return k.peer, nil
}

// newPeer makes a password for a cluster that has none.
func newPeer() string { return rand.Text() }
