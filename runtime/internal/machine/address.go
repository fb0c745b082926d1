package machine

import "net"

// LocalIP returns the address that this machine is reached at, as well as it can tell by itself: that from which it would
// reach others if it has a route to them; else the first of an interface that is up; else the loopback address. It sends
// nothing.
func LocalIP() string { return chooseIP(routedIP, interfaceIPs) }

// chooseIP is LocalIP on some machine.
func chooseIP(routed func() net.IP, interfaces func() []net.IP) string {
	if ip := routed(); ip.IsGlobalUnicast() {
		return ip.String()
	}
	var best net.IP
	for _, ip := range interfaces() {
		switch {
		case !ip.IsGlobalUnicast():
		case ip.To4() != nil:
			return ip.String()
		case best == nil:
			best = ip
		}
	}
	if best == nil {
		best = net.IPv4(127, 0, 0, 1)
	}
	return best.String()
}

// routedIP returns the source address of the default route; nil if there is none. To connect a UDP socket sends nothing;
// the addresses are those that documentation has.
func routedIP() net.IP {
	for _, to := range [][2]string{{"udp4", "192.0.2.1:9"}, {"udp6", "[2001:db8::1]:9"}} {
		c, err := net.Dial(to[0], to[1])
		if err != nil {
			continue
		}
		_ = c.Close() // nothing was sent
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok && a.IP.IsGlobalUnicast() {
			return a.IP
		}
	}
	return nil
}

// interfaceIPs returns the addresses of the interfaces that are up, loopback's left out.
func interfaceIPs() []net.IP {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var ips []net.IP
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ips = append(ips, n.IP)
			}
		}
	}
	return ips
}
