package registry

import (
	"reflect"
	"testing"
	"time"
)

// A field that equal does not compare would not be announced when it changes.
func TestAnnouncementsDiffer(t *testing.T) {
	fill := func() Announcement {
		return Announcement{
			IP: "192.0.2.1", Version: "1", Node: "n", Host: "h", PID: 1, Started: time.Unix(1, 0), Draining: true,
			Services: []ServiceAnnouncement{{Name: "s"}}, Workers: []Worker{{Queue: "q", Running: 1}}, Degraded: []string{"d"},
		}
	}
	a, same := fill(), fill()
	if !a.equal(&same) {
		t.Error("the same announcement differs")
	}
	for i, f := range reflect.VisibleFields(reflect.TypeFor[Announcement]()) {
		if f.Tag.Get("json") == "-" {
			continue
		}
		other := fill()
		field := reflect.ValueOf(&other).Elem().Field(i)
		if field.IsZero() {
			t.Errorf("%s is not filled in", f.Name)
		}
		if field.SetZero(); a.equal(&other) {
			t.Errorf("without %s it is the same", f.Name)
		}
	}
	busier := fill()
	busier.Workers[0].Running++
	if a.equal(&busier) {
		t.Error("with another task it is the same")
	}
}
