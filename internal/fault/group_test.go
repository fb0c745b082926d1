package fault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A try is one Insert of one task and its result.
type try struct {
	id  string
	err error
}

// notSent reports whether the caller was told that its task was not stored.
func (r try) notSent() bool {
	return r.err != nil && backend.Coded(r.err).Outcome == backend.OutcomeNotSent
}

// unknown reports whether the caller was told that its task may be stored.
func (r try) unknown() bool {
	return r.err != nil && backend.Coded(r.err).Outcome == backend.OutcomeUnknown
}

// A groupTally counts what happened in all simulations of grouped inserts: one without it proves nothing.
type groupTally struct {
	groups  int // inserts that stored tasks of several callers
	killed  int // callers whose process died between their insert and its reply, and whose task is stored
	unknown int // callers of the same groups that learned nothing
	notSent int
}

// Several submitters of a process share inserts. Whatever happens to a group between send and reply, each of them gets
// an answer that is right for its own task: an acknowledged task is stored, one that was not sent is not, and none is
// stored twice, even if its submitter repeats it with the same id.
func TestGroupedInsertsInStorm(t *testing.T) {
	var seen groupTally
	for seed := range uint64(testkit.Fewer(400, 100)) {
		bubble.Test(t, func(t *testing.T) { simulateGroups(t, seed, &seen) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%+v", seen)
	if seen.groups < 100 || seen.killed < 10 || seen.unknown < 100 || seen.notSent < 100 {
		t.Errorf("too little happened: %+v", seen)
	}
}

func simulateGroups(t *testing.T, seed uint64, seen *groupTally) {
	r := rand.New(rand.NewPCG(seed, 7))
	rate := func(most float64) float64 { return most * r.Float64() * float64(r.IntN(2)) }
	w := fault.Around(memory.New())
	b := fault.New(w, seed, fault.Plan{Refuse: rate(0.2), LoseReply: rate(0.3), Repeat: rate(0.2), Delay: 0.7,
		MostDelay: time.Duration(1+r.IntN(3000)) * time.Millisecond})
	ports, err := memory.Grouped(b).Open(ctx, backend.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	tries := make([][]try, 4+r.IntN(12))
	for i := range tries {
		r := rand.New(rand.NewPCG(seed, 100+uint64(i)))
		all.Go(func() { tries[i] = submitGrouped(ports.Store, r, i) })
	}
	dies := r.IntN(3) == 0
	time.Sleep(time.Duration(r.IntN(6000)) * time.Millisecond)
	switch {
	case dies:
		b.Crash()
	case r.IntN(2) == 0:
		b.Cut(fault.Direction(1 + r.IntN(3)))
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		b.Cut(fault.Neither)
	case r.IntN(2) == 0:
		w.Down(r.IntN(2) == 0)
		time.Sleep(time.Duration(r.IntN(15000)) * time.Millisecond)
		w.Up()
	default: // closing answers all
		if err := ports.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	time.Sleep(time.Minute) // requests in flight arrive
	_ = ports.Close(ctx)
	synctest.Wait()
	checkGroups(t, w, slices.Concat(tries...), dies, seen)
}

// submitGrouped inserts some tasks, one after the other. Some ids are those of other submitters.
func submitGrouped(s backend.Store, r *rand.Rand, i int) (tries []try) {
	for n := range 1 + r.IntN(8) {
		id := fmt.Sprintf("own-%d-%d", i, n)
		if r.IntN(5) == 0 {
			id = fmt.Sprintf("shared-%d", r.IntN(4))
		}
		for range 1 + r.IntN(3) {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(4000))*time.Millisecond)
			err := insertBy(ctx, s, id)
			cancel()
			tries = append(tries, try{id, err})
			if err == nil {
				break
			}
		}
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
	}
	return tries
}

// checkGroups compares what submitters were told with what the store has.
func checkGroups(t *testing.T, w *fault.World, tries []try, dies bool, seen *groupTally) {
	log := w.Log()
	for _, e := range log.Entries {
		if len(e.Changes) > 1 {
			seen.groups++
		}
	}
	mayExist := map[string]bool{} // by a try that succeeded, or whose outcome is unknown
	for _, r := range tries {
		mayExist[r.id] = mayExist[r.id] || !r.notSent()
	}
	for _, r := range tries {
		births := w.Births(r.id)
		_, exists := log.Tasks[r.id]
		switch {
		case births > 1:
			t.Errorf("%s was stored %d times", r.id, births)
		case r.err == nil && !exists:
			t.Errorf("%s was acknowledged and is lost", r.id)
		case exists && !mayExist[r.id]:
			t.Errorf("%s is stored: %v", r.id, r.err)
		case r.err != nil && backend.Coded(r.err).Outcome == backend.OutcomeAnswered:
			t.Errorf("%s: %v", r.id, r.err)
		case r.err != nil && !knownCode(r.err):
			t.Errorf("%s: %v", r.id, r.err)
		}
		if r.notSent() {
			seen.notSent++
		}
		if r.unknown() {
			seen.unknown++
			if dies && exists {
				seen.killed++
			}
		}
	}
}

// knownCode reports whether err is one that the faults of the simulation cause.
func knownCode(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrDeadlineExceeded)
}
