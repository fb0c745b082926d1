package backend

import (
	"net/netip"
	"slices"
	"strings"
)

// Allowance returns the canonical form of an address, or of a network such as 10.1.0.0/16, as used in [Task].Allow and
// returned by [AllowedBy]. It returns false if text is neither.
func Allowance(text string) (string, bool) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked().String(), err == nil
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap().WithZone("").String(), err == nil
}

// AllowedBy returns all allowances that include the address ip: the address itself and every network that contains it.
// It returns nil if ip is not an address.
func AllowedBy(ip string) []string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	all := []string{a.String()}
	for n := range a.BitLen() + 1 {
		p, _ := a.Prefix(n) // n is one of its lengths
		all = append(all, p.String())
	}
	return all
}

// Allowed reports whether a claimer may run the task, given the result of [AllowedBy] for its address.
func (t *Task) Allowed(networks []string) bool {
	return len(t.Allow) == 0 || slices.ContainsFunc(t.Allow, func(a string) bool { return slices.Contains(networks, a) })
}
