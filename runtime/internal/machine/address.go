package machine

import "net"

// LocalIP returns the address at which other machines most likely reach this one. It is the source address of the
// default route, or else the address of the first interface that is up, or else the loopback address. LocalIP sends
// nothing.
func LocalIP() string { return chooseIP(routedIP, interfaceIPs) }

// chooseIP is LocalIP with injected sources.
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

// routedIP returns the source address of the default route, or nil. Connecting a UDP socket sends nothing. The
// addresses are from the documentation ranges.
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

// interfaceIPs returns the addresses of the interfaces that are up, except loopback.
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
			continue // the interface has just disappeared
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ips = append(ips, n.IP)
			}
		}
	}
	return ips
}
