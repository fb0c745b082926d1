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

func (w *waiter) Assign(in *instance) { w.got = in }

func TestSlotsRoundRobinAndFIFO(t *testing.T) {
	all := slots.Services[*instance, *waiter]{}
	a, b := &instance{slots.Slots{Max: 1}, "a"}, &instance{slots.Slots{Max: 3}, "b"}
	all.Add("s", a)
	all.Add("s", b)
	svc := all["s"]
	var taken []string
	for in := svc.Acquire(); in != nil; in = svc.Acquire() {
		taken = append(taken, in.name)
	}
	if want := []string{"a", "b", "b", "b"}; !slices.Equal(taken, want) {
		t.Errorf("acquired from %v, want %v", taken, want)
	}
	first, gone, second, third := &waiter{}, &waiter{}, &waiter{}, &waiter{}
	svc.Enqueue(first)
	element := svc.Enqueue(gone)
	svc.Enqueue(second)
	svc.Enqueue(third)
	svc.Dequeue(element)
	svc.Dequeue(element) // removed already
	a.InUse--
	svc.Dispatch()
	c := &instance{slots.Slots{Max: 1}, "c"}
	all.Add("s", c)
	if first.got != a || gone.got != nil || second.got != c || third.got != nil || svc.Waiting() != 1 {
		t.Errorf("assigned %v, %v, %v, %v; %d waiting", first.got, gone.got, second.got, third.got, svc.Waiting())
	}
	for i, in := range []*instance{a, b, c} {
		rest := all.Remove("s", in)
		if last := i == 2; last != slices.Equal(rest, []*waiter{third}) || last != (all["s"] == nil) {
			t.Errorf("removing %s returns %v", in.name, rest)
		}
	}
}
