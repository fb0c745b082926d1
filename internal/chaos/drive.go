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

// Check waits until every submitted task has ended, ends the processes, and fails the test if the log shows a broken promise.
func (f *Fleet) Check() {
	f.t.Helper()
	var all tally
	f.becalm()
	f.finish(tempFolder(f.t), &all, f.t.Name())
	f.t.Log(all.String())
}

// becalm ends what goes on in the background, and waits for it.
func (f *Fleet) becalm() {
	close(f.calm)
	f.busy.Wait()
}

// Happen makes an event happen, whenever it was planned, and returns when it is over.
func (f *Fleet) Happen(e Event) { f.happen(e) }

// While makes one of the world's faults happen for d, or longer: do is called a quarter of d after it was told to begin, and
// it lasts until do has returned. All is well again, as far as the world is concerned, when While returns.
func (f *Fleet) While(what string, d time.Duration, do func()) {
	begun, enough, over := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		f.disturb(Event{What: what, For: settleMost}, enough)
	}()
	defer func() { // also where do fails the test
		close(enough)
		<-over
	}()
	time.Sleep(d / 4)
	do()
	time.Sleep(time.Until(begun.Add(d)))
}

// Go does something in the background; Check waits for it.
func (f *Fleet) Go(do func()) { f.busy.Go(do) }

// Submit makes the process in a place submit, and returns the ids; a code where it answers with an error, and
// [af.ErrUnavailable] where it ends before it answers.
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

// number is one that no command has had.
func (f *Fleet) number() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands++
	return f.commands
}

// Stop asks for a task to be stopped, by the process in a place.
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

// Kill kills the process in a place; what it was is gone when it returns. Boot fills the place again.
func (f *Fleet) Kill(place int) {
	if p := f.take(place); p != nil {
		p.kill()
	}
}

// KillInstance kills a process by its instance, wherever it is, and says in which place that was; -1 where there is none.
func (f *Fleet) KillInstance(instance string) int {
	for place := range f.slots {
		if p := f.at(place); p != nil && p.instance == instance {
			f.Kill(place)
			return place
		}
	}
	return -1
}

// Boot fills a place that is empty.
func (f *Fleet) Boot(place int) { f.boot(place) }

// Instance is who is in a place.
func (f *Fleet) Instance(place int) string {
	if p := f.at(place); p != nil {
		return p.instance
	}
	return ""
}

// A Run is a handler that has begun.
type Run struct {
	ID    string
	Fence int64
	Place int
	At    time.Time
}

// Runs returns the handlers that have begun for a task, in order.
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

// AwaitRuns waits until n handlers have begun for a task and returns them; it fails the test after a while.
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
