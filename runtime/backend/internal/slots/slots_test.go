package slots_test

import (
	"slices"
	"testing"

	"github.com/afgen/afgen/runtime/backend/internal/slots"
)

type instance struct {
	slots.Slots
	name string
}

type waiter struct{ got *instance }

func (w *waiter) Give(in *instance) { w.got = in }

func TestSlotsAreTakenInTurnAndTheLineIsServedInOrder(t *testing.T) {
	all := slots.Services[*instance, *waiter]{}
	a, b := &instance{slots.Slots{Most: 1}, "a"}, &instance{slots.Slots{Most: 3}, "b"}
	all.Join("s", a)
	all.Join("s", b)
	svc := all["s"]
	var taken []string
	for in := svc.Take(); in != nil; in = svc.Take() {
		taken = append(taken, in.name)
	}
	if want := []string{"a", "b", "b", "b"}; !slices.Equal(taken, want) {
		t.Errorf("taken of %v, want %v", taken, want)
	}
	first, gone, second, third := &waiter{}, &waiter{}, &waiter{}, &waiter{}
	svc.Wait(first)
	place := svc.Wait(gone)
	svc.Wait(second)
	svc.Wait(third)
	svc.Withdraw(place)
	svc.Withdraw(place) // it is there no more
	a.Taken--
	svc.Serve()
	c := &instance{slots.Slots{Most: 1}, "c"}
	all.Join("s", c)
	if first.got != a || gone.got != nil || second.got != c || third.got != nil || svc.Waiting() != 1 {
		t.Errorf("given %v, %v, %v, %v; %d wait", first.got, gone.got, second.got, third.got, svc.Waiting())
	}
	for i, in := range []*instance{a, b, c} {
		rest := all.Leave("s", in)
		if last := i == 2; last != slices.Equal(rest, []*waiter{third}) || last != (all["s"] == nil) {
			t.Errorf("with %s leave %v", in.name, rest)
		}
	}
}
