package runtime

import "testing"

func TestInstanceReportsWhatItIsGiven(t *testing.T) {
	in := newInstance(settings{ip: "192.0.2.9", version: "v7"})
	if in.IP != "192.0.2.9" || in.Version != "v7" || in.ID == newInstance(settings{}).ID {
		t.Errorf("instance %+v", in)
	}
}
