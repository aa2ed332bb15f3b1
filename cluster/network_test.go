package cluster

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestReachable(t *testing.T) {
	for _, c := range []struct {
		own  string
		v6   bool
		want string
	}{
		{"127.0.0.1 ::1", true, "127.0.0.1"},
		{"", false, "127.0.0.1"},
		{"127.0.0.1 192.0.2.7 10.1.2.3 172.17.0.1", false, "10.1.2.3"},
		{"127.0.0.1 169.254.1.1 192.0.2.7", false, "192.0.2.7"},
		{"fe80::1 2001:db8::1 fd00::1", false, "127.0.0.1"},
		{"fe80::1 2001:db8::1 fd00::1", true, "fd00::1"},
		{"fe80::1 2001:db8::1", true, "2001:db8::1"},
		{"2001:db8::1 192.0.2.7", true, "192.0.2.7"},
	} {
		var own []netip.Addr
		for a := range strings.FieldsSeq(c.own) {
			own = append(own, netip.MustParseAddr(a))
		}
		if got := reachable(own, c.v6); got.String() != c.want {
			t.Errorf("%q, IPv6 %v: got %v, want %s", c.own, c.v6, got, c.want)
		}
	}
}

func TestAdvertised(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7946}
	for advertise, want := range map[string]string{
		"":                 "10.0.0.1:7946",
		"192.0.2.7:1234":   "192.0.2.7:1234",
		"192.0.2.7:0":      "192.0.2.7:7946",
		"[2001:db8::1]:42": "[2001:db8::1]:42",
	} {
		if got, err := advertised(advertise, bound); err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v, want %s", advertise, got, err, want)
		}
	}
	told, err := advertised("", &net.TCPAddr{IP: net.IPv4zero, Port: 7946})
	if err != nil || told.IP.IsUnspecified() || told.Port != 7946 {
		t.Errorf("on all addresses: got %v, %v", told, err)
	}
}

// TestAllAddressesAreBound has an agent on all addresses meet one by another of
// them than it tells.
func TestAllAddressesAreBound(t *testing.T) {
	t.Parallel()
	cfg := config("a")
	cfg.Bind, cfg.Advertise = ":0", "127.0.0.2:0"
	a := open(t, cfg)
	host, port, err := net.SplitHostPort(a.Addr())
	if err != nil || host != "127.0.0.2" || port == "0" {
		t.Fatalf("a is at %s, %v", a.Addr(), err)
	}
	b := open(t, config("b", "127.0.0.1:"+port))
	eventually(t, b, 5*tcpTimeout, "b sees a", func(all []Member) bool {
		m, _ := find(all, "a")
		return m.Alive && m.Addr == a.Addr()
	})
}
