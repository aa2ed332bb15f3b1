package httpapi

import (
	"context"
	"net"
	"net/http"
	"os"
)

// peer is who stands at the other end of a unix socket.
type peer struct{ uid uint32 }

type peerKey struct{}

// withPeer notes who connected, once a connection. On TCP there is nobody to
// note, and nothing that a request says of itself can change that.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if b, ok := c.(*boundedConn); ok {
		c = b.Conn
	}
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(unix)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer{uid})
}

// trusted reports whether the caller is root or the agent's own user, on the
// unix socket.
func trusted(r *http.Request) bool {
	p, ok := r.Context().Value(peerKey{}).(peer)
	return ok && (p.uid == 0 || int(p.uid) == os.Getuid())
}
