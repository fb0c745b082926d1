package runtime

import (
	"strconv"
	"testing"
)

func TestFinalStatusesAreForgottenWhenThereAreTooMany(t *testing.T) {
	var f finals
	for i := range maxFinals {
		f.put(strconv.Itoa(i), StatusFailed)
	}
	f.get("0") // used: the next one goes
	f.put("one more", StatusSuccess)
	if len(f.byID) != maxFinals || f.used.Len() != maxFinals {
		t.Errorf("%d and %d are remembered", len(f.byID), f.used.Len())
	}
	for id, want := range map[string]bool{"0": true, "1": false, "2": true, "one more": true} {
		if _, ok := f.get(id); ok != want {
			t.Errorf("%s is remembered: %v", id, ok)
		}
	}
}
