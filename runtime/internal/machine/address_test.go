package machine

import (
	"net"
	"testing"
)

func TestAddressNeedsNoRoute(t *testing.T) {
	for _, c := range []struct {
		name, routed string
		interfaces   []string
		want         string
	}{
		{"by the route", "192.0.2.7", []string{"198.51.100.1"}, "192.0.2.7"},
		{"no route", "", []string{"169.254.1.1", "fe80::1", "2001:db8::7", "198.51.100.1"}, "198.51.100.1"},
		{"a route to nowhere", "127.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"IPv6 only", "", []string{"fe80::1", "2001:db8::7", "2001:db8::8"}, "2001:db8::7"},
		{"no interface", "", nil, "127.0.0.1"},
		{"nothing but link-local", "", []string{"fe80::1"}, "127.0.0.1"},
	} {
		got := chooseIP(func() net.IP { return net.ParseIP(c.routed) }, func() (ips []net.IP) {
			for _, s := range c.interfaces {
				ips = append(ips, net.ParseIP(s))
			}
			return ips
		})
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// An address is found on any machine, and belongs to it.
func TestLocalIPIsOwnAddress(t *testing.T) {
	ip := net.ParseIP(LocalIP())
	if ip == nil {
		t.Fatalf("%q is no address", LocalIP())
	}
	l, err := net.ListenPacket("udp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatalf("%s is not this machine's: %v", ip, err)
	}
	_ = l.Close()
}
