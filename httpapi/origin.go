package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/framedb/framedb/client/wire"
)

// checkBrowser keeps web pages that a person looks at from using an agent that
// this person's machine reaches, behind the person's back. It looks at what
// only browsers send; nobody else is affected.
//
// A page may not change anything at another origin. And since a page's own name
// may be made to resolve to the agent's address at any time (DNS rebinding), a
// browser has to call the agent by a name that nobody else can give out.
func (s *Server) checkBrowser(r *http.Request) error {
	if s.origin.Check(r) != nil {
		return wire.Errorf(wire.CodeForbidden, "a web page of another origin may not change anything here")
	}
	if r.Header["Origin"] == nil && r.Header["Sec-Fetch-Site"] == nil || s.isOurs(r.Host) {
		return nil
	}
	return wire.Errorf(wire.CodeForbidden, "a browser asks for %q, which anybody may have named so: open the agent by its IP address, as localhost or as %q", clip(r.Host), s.cfg.Node)
}

// isOurs reports whether a Host header is an address, or a name that leads here
// and that no page can have: this machine's, this node's, or that of a service
// in a Kubernetes cluster, where only the cluster itself gives out names.
func (s *Server) isOurs(host string) bool {
	host = hostname(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, suffix := range []string{".localhost", ".svc", ".svc.cluster.local"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return host == "localhost" || host == strings.ToLower(string(s.cfg.Node)) || host == s.advertised()
}

// advertised is the host by which the other agents reach this one.
func (s *Server) advertised() string {
	for _, m := range s.cfg.Members() {
		if m.Name == s.cfg.Node {
			return hostname(m.Address)
		}
	}
	return ""
}

// hostname is a host, with or without a port, as names are compared.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
