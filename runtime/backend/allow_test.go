package backend_test

import (
	"slices"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

func TestAllowance(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3", "10.1.2.3/16": "10.1.0.0/16", "fe80::1%eth0": "fe80::1",
		"FD00::1": "fd00::1", "fd00::1/8": "fd00::/8", "0.0.0.0/0": "0.0.0.0/0",
		"": "", "10.1.2": "", "10.1.2.3/33": "", "host": "", "10.1.2.3 ": "", "/8": "",
	} {
		got, ok := backend.Allowance(text)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, ok, want)
		}
		if ok && !slices.Contains(backend.AllowedBy("10.1.2.3"), got) && !slices.Contains(backend.AllowedBy("fd00::1"),
			got) && got != "fe80::1" {
			t.Errorf("%q is not in AllowedBy of either address", got)
		}
	}
	if n := backend.AllowedBy("nowhere"); n != nil {
		t.Error(n)
	}
}
