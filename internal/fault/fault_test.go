package fault_test

import (
	"context"
	"errors"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"

	"github.com/afgen/afgen/internal/fault"
)

// A scenario keeps little memory and makes much garbage, so collect less often.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	goleak.VerifyTestMain(m)
}

// pair opens a process with faults and its world without them.
func pair(t *testing.T, plan fault.Plan) (*fault.World, *fault.Backend, backend.Store, backend.Store) {
	t.Helper()
	w := fault.Around(memory.New())
	b := fault.New(w, 1, plan)
	mine, err := b.Open(ctx, backend.Env{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := w.Open(ctx, backend.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return w, b, mine.Store, theirs.Store
}

func insert(s backend.Store, id string) error { return insertBy(ctx, s, id) }

func insertBy(ctx context.Context, s backend.Store, id string) error {
	_, err := s.Insert(ctx, []backend.NewTask{{Task: backend.Task{ID: id, Queue: "a", Status: backend.StatusPending}}})
	return err
}

func there(s backend.Store, id string) bool {
	_, err := s.Get(ctx, id)
	return err == nil
}

func TestEffectsOfRefusedRequestAndLostReply(t *testing.T) {
	for _, c := range []struct {
		plan    fault.Plan
		outcome backend.Outcome
		effect  bool
	}{{fault.Plan{Refuse: 1}, backend.OutcomeNotSent, false}, {fault.Plan{LoseReply: 1}, backend.OutcomeUnknown, true}} {
		_, _, mine, theirs := pair(t, c.plan)
		err := insert(mine, "t")
		e, ok := errors.AsType[*backend.Error](err)
		if !ok || e.Code != backend.ErrUnavailable || e.Outcome != c.outcome || there(theirs, "t") != c.effect {
			t.Errorf("%+v: %v, effect %v", c.plan, err, there(theirs, "t"))
		}
	}
}

func TestFailNextCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, b, mine, theirs := pair(t, fault.Plan{})
		b.Fail("Insert", 1, fault.Hung)
		b.Fail("Insert", 1, fault.ReplyLost)
		b.Fail("Insert", 1, fault.Refused)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		begun := time.Now()
		if err := insertBy(ctx, mine, "hung"); backend.CodeOf(err) != backend.ErrDeadlineExceeded ||
			time.Since(begun) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if err := insert(mine, "lost"); backend.CodeOf(err) != backend.ErrUnavailable || !there(theirs, "lost") {
			t.Errorf("%v, effect %v", err, there(theirs, "lost"))
		}
		if err := insert(mine, "refused"); backend.CodeOf(err) != backend.ErrUnavailable ||
			there(theirs, "refused") || there(theirs, "hung") {
			t.Errorf("%v, effect %v", err, there(theirs, "refused"))
		}
		if err := insert(mine, "fine"); err != nil || !there(mine, "fine") {
			t.Errorf("%v", err)
		}
	})
}

func TestRequestInFlightTakesEffect(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, _, mine, theirs := pair(t, fault.Plan{Delay: 1, MostDelay: time.Hour})
		for id := range 20 {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			if err := insertBy(ctx, mine, string(rune('a'+id))); backend.CodeOf(err) != backend.ErrDeadlineExceeded {
				t.Errorf("%v", err)
			}
			cancel()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for id := range 20 {
			if !there(theirs, string(rune('a'+id))) {
				t.Errorf("request %d never arrived", id)
			}
		}
	})
}

func TestFrozenProcessHangsUntilThawed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, b, mine, theirs := pair(t, fault.Plan{})
		b.Freeze()
		begun := time.Now()
		time.AfterFunc(time.Minute, b.Thaw)
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := insertBy(ctx, mine, "t")
		if took := time.Since(begun); took != time.Minute || err == nil || there(theirs, "t") {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestCallsOfDeadProcessFail(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, b, mine, theirs := pair(t, fault.Plan{})
		w.Down(true)
		failed := make(chan error, 1)
		go func() { failed <- insert(mine, "hanging") }()
		synctest.Wait()
		b.Crash()
		if err := <-failed; backend.CodeOf(err) != backend.ErrUnavailable {
			t.Errorf("a call that hung: %v", err)
		}
		w.Up()
		if err := insert(mine, "later"); backend.CodeOf(err) != backend.ErrUnavailable {
			t.Errorf("a call of a dead process: %v", err)
		}
		if there(theirs, "hanging") || there(theirs, "later") || insert(theirs, "other") != nil {
			t.Error("a dead process had an effect, or a living one none")
		}
	})
}

func TestOutageAndCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, b, mine, theirs := pair(t, fault.Plan{})
		w.Down(false)
		if insert(mine, "a") == nil || insert(theirs, "b") == nil {
			t.Error("the store answers in an outage")
		}
		w.Up()
		for d, effect := range map[fault.Direction]bool{fault.Requests: false, fault.Replies: true} {
			b.Cut(d)
			id := string(rune('c' + d))
			if insert(mine, id) == nil || there(theirs, id) != effect {
				t.Errorf("cut %d: effect %v", d, there(theirs, id))
			}
		}
		b.Cut(fault.Neither)
		if insert(mine, "z") != nil || insert(theirs, "y") != nil {
			t.Error("the store is still unavailable")
		}
	})
}

func TestLogAndCheck(t *testing.T) {
	w, _, mine, _ := pair(t, fault.Plan{Repeat: 1})
	if err := insert(mine, "t"); err != nil {
		t.Fatal(err)
	}
	log := w.Log()
	if len(log.Entries) != 1 || log.Tasks["t"].Status != backend.StatusPending || len(log.Check(limits)) != 0 {
		t.Errorf("%v, broken %v", log, log.Check(limits))
	}
	again := log.Entries[0]
	again.Op, again.Changes = "Settle", []fault.Change{{Before: log.Tasks["t"], After: log.Tasks["t"]}}
	again.Changes[0].After.Status = backend.StatusSuccess
	log.Entries = append(log.Entries, again, again)
	if broken := log.Check(limits); len(broken) != 3 {
		t.Errorf("broken %v", broken)
	}
	if left := w.Log().CheckEnd([]backend.Task{w.Log().Tasks["t"]}); len(left) != 1 || left[0].Rule != "I1" {
		t.Errorf("left %v", left)
	}
}
