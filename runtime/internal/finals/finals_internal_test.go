package finals

import (
	"strconv"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
)

func TestNumberOfFinalStatusesIsLimited(t *testing.T) {
	var c Cache
	for i := range maxFinals {
		c.Put(strconv.Itoa(i), backend.StatusFailed)
	}
	c.Get("0") // recently used, so the next one is removed
	c.Put("one more", backend.StatusSuccess)
	if len(c.byID) != maxFinals || c.used.Len() != maxFinals {
		t.Errorf("%d and %d are remembered", len(c.byID), c.used.Len())
	}
	for id, want := range map[string]bool{"0": true, "1": false, "2": true, "one more": true} {
		if _, ok := c.Get(id); ok != want {
			t.Errorf("%s is remembered: %v", id, ok)
		}
	}
	c.Put("0", backend.StatusSuccess) // a reused id
	c.Drop("2")
	c.Drop("2")
	if s, _ := c.Get("0"); s != backend.StatusSuccess {
		t.Errorf("0 is %s", s)
	}
	if _, ok := c.Get("2"); ok || c.used.Len() != maxFinals-1 {
		t.Errorf("2 is remembered: %v; %d are", ok, c.used.Len())
	}
}
