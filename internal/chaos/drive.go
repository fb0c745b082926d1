//go:build unix

package chaos

import (
	"sync"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// Begin starts the processes of a scenario and returns when all are ready. They are killed when the test ends.
func Begin(t *testing.T, s Scenario, world World) *Fleet {
	t.Helper()
	f := newFleet(t, s, world)
	f.starved = watchHunger()
	t.Cleanup(func() { f.starved() })
	var booted sync.WaitGroup
	for place := range f.slots {
		booted.Go(func() { f.boot(place) })
	}
	booted.Wait()
	if len(f.book.broken) > 0 {
		t.Fatal(f.book.broken)
	}
	return f
}

// Check waits until every submitted task has ended, ends the processes, and fails the test if the log shows a broken
// promise.
func (f *Fleet) Check() {
	f.t.Helper()
	var all tally
	f.becalm()
	f.finish(tempDir(f.t), &all, f.t.Name())
	f.t.Log(all.String())
}

// becalm ends background events and waits for them.
func (f *Fleet) becalm() {
	close(f.calm)
	f.busy.Wait()
}

// Happen makes an event happen now and returns when it is over.
func (f *Fleet) Happen(e Event) { f.happen(e) }

// While causes one of the world's faults for d, or longer: it calls do a quarter of d after the beginning, and the
// fault lasts until do has returned. The fault is over when While returns.
func (f *Fleet) While(what string, d time.Duration, do func()) {
	begun, enough, over := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		f.disturb(Event{What: what, For: settleMost}, enough)
	}()
	defer func() { // even if do fails the test
		close(enough)
		<-over
	}()
	time.Sleep(d / 4)
	do()
	time.Sleep(time.Until(begun.Add(d)))
}

// Go runs do in the background; Check waits for it.
func (f *Fleet) Go(do func()) { f.busy.Go(do) }

// Submit submits in the process of a place and returns the ids, or the code of its error. It returns
// [af.ErrUnavailable] if the process exits before it answers.
func (f *Fleet) Submit(u Submit) ([]string, af.Code) {
	p := f.at(u.Place)
	if p == nil {
		return nil, af.ErrUnavailable
	}
	r, answered := p.ask(command{N: f.number(), Submit: u})
	switch {
	case !answered:
		return nil, af.ErrUnavailable
	case r.Code != "":
		f.book.note("%s in place %d: %s", u.How, u.Place, r.Text)
		return nil, r.Code
	}
	f.book.acks.Add(r.IDs...)
	return r.IDs, ""
}

// number returns an unused command number.
func (f *Fleet) number() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands++
	return f.commands
}

// Stop requests a task's stop in the process of a place.
func (f *Fleet) Stop(place int, id string) af.Code {
	p := f.at(place)
	if p == nil {
		return af.ErrUnavailable
	}
	f.book.stops(id)
	r, answered := p.ask(command{N: f.number(), Target: id, Submit: Submit{How: "stop"}})
	if !answered {
		return af.ErrUnavailable
	}
	return r.Code
}

// Kill kills the process of a place and waits for its exit. Boot fills the place again.
func (f *Fleet) Kill(place int) {
	if p := f.take(place); p != nil {
		p.kill()
	}
}

// KillInstance kills the process of an instance and returns its place, or -1 if there is none.
func (f *Fleet) KillInstance(instance string) int {
	for place := range f.slots {
		if p := f.at(place); p != nil && p.instance == instance {
			f.Kill(place)
			return place
		}
	}
	return -1
}

// Boot starts a process in an empty place.
func (f *Fleet) Boot(place int) { f.boot(place) }

// Instance returns the instance in a place.
func (f *Fleet) Instance(place int) string {
	if p := f.at(place); p != nil {
		return p.instance
	}
	return ""
}

// A Run is a handler that has started.
type Run struct {
	ID    string
	Fence int64
	Place int
	At    time.Time
}

// Runs returns the handlers that have started for a task, in order.
func (f *Fleet) Runs(id string) []Run {
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	var list []Run
	for _, r := range f.book.order {
		if r.ID == id {
			list = append(list, r)
		}
	}
	return list
}

// AwaitRuns waits until n handlers have started for a task and returns them. It fails the test after within.
func (f *Fleet) AwaitRuns(t *testing.T, id string, n int, within time.Duration) []Run {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(2 * time.Millisecond) {
		runs := f.Runs(id)
		switch {
		case len(runs) >= n:
			return runs
		case time.Now().After(end):
			t.Fatalf("task %s: after %v there are %d runs, want %d", id, within, len(runs), n)
		}
	}
}
