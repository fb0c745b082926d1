package runtime

import (
	"strconv"
	"testing"
)

func TestNumberOfFinalStatusesIsLimited(t *testing.T) {
	var f finals
	for i := range maxFinals {
		f.put(strconv.Itoa(i), StatusFailed)
	}
	f.get("0") // recently used, so the next one is removed
	f.put("one more", StatusSuccess)
	if len(f.byID) != maxFinals || f.used.Len() != maxFinals {
		t.Errorf("%d and %d are remembered", len(f.byID), f.used.Len())
	}
	for id, want := range map[string]bool{"0": true, "1": false, "2": true, "one more": true} {
		if _, ok := f.get(id); ok != want {
			t.Errorf("%s is remembered: %v", id, ok)
		}
	}
	f.put("0", StatusSuccess) // a reused id
	f.drop("2")
	f.drop("2")
	if s, _ := f.get("0"); s != StatusSuccess {
		t.Errorf("0 is %s", s)
	}
	if _, ok := f.get("2"); ok || f.used.Len() != maxFinals-1 {
		t.Errorf("2 is remembered: %v; %d are", ok, f.used.Len())
	}
}
