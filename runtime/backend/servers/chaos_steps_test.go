//go:build unix

package servers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/chaos"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/workload"
	af "github.com/afgen/afgen/runtime"
)

// The rows of the failure table (docs/servers.md) over the servers, each at least once and at the step that it is about: for
// what chance would seldom meet, mongoproxy waits for the command in question and the process that sent it is killed right
// before it reaches the server, or right after it had its effect and before its reply. Each fleet is checked in the end.
func TestFailuresOverTheServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"processes": processesFail, "broker": brokerFails, "store_and_redis": storeFails,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// A rig is a fleet over a stack. Places 0 to 2 work, 3 and 4 submit.
type rig struct {
	*chaos.Fleet
	t       *testing.T
	stack   *stack
	tickets int
}

const (
	firstClient  = 3
	secondClient = 4
)

func newRig(t *testing.T, lease time.Duration, own ...devstack.Kind) *rig {
	all := []int{0, 1, 2, chaos.Bulk}
	s := newStack(t, journal, own...)
	return &rig{t: t, stack: s, Fleet: chaos.Begin(t, chaos.Scenario{
		Workers: [][]int{all, all, all}, Clients: 2, Lease: lease, Drain: 5 * time.Second,
	}, s)}
}

// row is a subtest that begins when all is well, and after which all must be well again.
func (r *rig) row(name string, do func(r *rig)) {
	r.t.Run(name, func(t *testing.T) {
		within := *r
		within.t = t
		defer func() { r.tickets = within.tickets }()
		do(&within)
		within.works()
	})
}

// order is a task of queue a with an id of its own.
func (r *rig) order(how string, place int, o chaos.Order) chaos.Submit {
	r.tickets++
	o.Ticket = r.tickets
	for end := time.Now().Add(20 * time.Second); r.Instance(place) == "" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // it was killed just now
	}
	return chaos.Submit{
		How: how, Place: place, Orders: []chaos.Order{o}, Submission: workload.Submission{ID: fmt.Sprint("task", o.Ticket)},
	}
}

// submit submits a task, which must succeed.
func (r *rig) submit(o chaos.Order) (id string) {
	r.t.Helper()
	u := r.order("submit", firstClient, o)
	if _, code := r.Submit(u); code != "" {
		r.t.Fatalf("submitting: %s", code)
	}
	return u.ID
}

// works waits until each client can submit again, which looks for a server that was away once a second, and what it has
// submitted runs.
func (r *rig) works() {
	r.t.Helper()
	for _, place := range []int{firstClient, secondClient} {
		u := r.order("submit", place, chaos.Order{})
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			_, code := r.Submit(u)
			if code == "" {
				break
			}
			if code != af.ErrUnavailable || time.Now().After(end) {
				r.t.Fatalf("submitting from place %d: %s", place, code)
			}
		}
		r.AwaitRuns(r.t, u.ID, 1, 20*time.Second)
	}
}

// kill is what a trap does: it kills the instance that sent the command, and starts another in its place.
func (r *rig) kill(c *mongoproxy.Command) {
	if place := r.KillInstance(instanceOf(c.Application)); place >= 0 {
		r.Go(func() { r.Boot(place) })
	}
}

// killed sets a trap that kills, submits, and returns the task once the trap has sprung, and when that was.
func (r *rig) killed(when mongoproxy.Moment, match mongoproxy.Matcher, u chaos.Submit) (string, time.Time) {
	r.t.Helper()
	r.stack.mongoProxy.Spent()
	tr := r.stack.mongoProxy.Trap(when, mongoproxy.WithID(u.ID, match), r.kill)
	code := make(chan af.Code, 1)
	go func() {
		_, c := r.Submit(u)
		code <- c
	}()
	tr.Await(r.t, 20*time.Second)
	at := time.Now()
	if c := <-code; c != "" && u.Place != firstClient {
		r.t.Fatalf("submitting: %s", c)
	}
	return u.ID, at
}

const lease = 10 * time.Second

// soon is within how long what a killed process ran must run elsewhere, measured from the kill. Two beats and a bit of it are
// waiting; the rest is some thirty operations on the store, one after the other, which on a busy machine take what they take.
func (r *rig) soon() time.Duration {
	n, took := 0, time.Duration(0)
	for what, s := range r.stack.mongoProxy.Spent() {
		if what != "connection" {
			n, took = n+s.Commands, took+s.Took
		}
	}
	if n == 0 {
		return 4 * time.Second
	}
	return max(4*time.Second, 3500*time.Millisecond+40*took/time.Duration(n))
}

func (r *rig) again(id string, runs int, killed time.Time) time.Duration {
	r.t.Helper()
	took := r.AwaitRuns(r.t, id, runs, 20*time.Second)[runs-1].At.Sub(killed)
	r.t.Logf("%v after the kill", took.Round(time.Millisecond))
	if most := r.soon(); took > most {
		r.t.Errorf("it ran again %v after the kill, at most %v are allowed", took, most)
	}
	return took
}

// processesFail kills processes of each kind, before and after the commands that matter.
func processesFail(t *testing.T) {
	r := newRig(t, lease)
	second := func(o chaos.Order) chaos.Submit { return r.order("submit", secondClient, o) }
	r.row("worker_before_claim", func(r *rig) {
		id, at := r.killed(mongoproxy.Before, claims, second(chaos.Order{}))
		r.again(id, 1, at)
	})
	r.row("worker_after_claim", func(r *rig) {
		id, at := r.killed(mongoproxy.After, claims, second(chaos.Order{}))
		r.again(id, 1, at)
	})
	r.row("worker_before_settle", func(r *rig) { // the handler has returned
		id, at := r.killed(mongoproxy.Before, settles, second(chaos.Order{}))
		r.again(id, 2, at)
	})
	r.row("worker_before_ack", func(r *rig) { // it has settled
		id, _ := r.killed(mongoproxy.After, settles, second(chaos.Order{}))
		r.works()
		if runs := r.Runs(id); len(runs) != 1 {
			r.t.Errorf("it ran %d times", len(runs))
		}
	})
	r.row("submitter_before_insert", func(r *rig) {
		u := r.order("submit", firstClient, chaos.Order{})
		r.killed(mongoproxy.Before, inserts, u)
		r.repeated(u)
	})
	r.row("submitter_before_hint", func(r *rig) {
		u := r.order("submit", firstClient, chaos.Order{})
		id, at := r.killed(mongoproxy.After, inserts, u)
		run := r.AwaitRuns(r.t, id, 1, 20*time.Second)[0]
		if took := run.At.Sub(at); took > 7*time.Second {
			r.t.Errorf("it ran after %v", took)
		}
		r.repeated(u)
	})
	r.row("dispatcher_before_hint", func(r *rig) { // it has marked the hint as sent
		id, at := r.killed(mongoproxy.After, hints, r.order("store", secondClient, chaos.Order{}))
		run := r.AwaitRuns(r.t, id, 1, 20*time.Second)[0]
		if took := run.At.Sub(at); took > 12*time.Second {
			r.t.Errorf("it ran after %v", took)
		}
	})
	r.row("workers_killed_while_running", killedWhileRunning)
	r.row("worker_stopped_beyond_lease", stoppedWhileRunning)
	r.Check()
}

// repeated makes another client submit the same again: it is the task that is there, if one is.
func (r *rig) repeated(u chaos.Submit) {
	r.t.Helper()
	u.Place = secondClient
	ids, code := r.Submit(u)
	if code != "" || !slices.Equal(ids, []string{u.ID}) {
		r.t.Errorf("submitted again: %v, %s", ids, code)
	}
	if runs := r.AwaitRuns(r.t, u.ID, 1, 20*time.Second); len(runs) != 1 {
		r.t.Errorf("it ran %d times", len(runs))
	}
}

// spread has n tasks run at once, and returns a place in which some of them do, and those.
func (r *rig) spread(n int, each time.Duration) (place int, there []string) {
	r.t.Helper()
	u := chaos.Submit{How: "many", Place: firstClient}
	for range n {
		r.tickets++
		u.Orders = append(u.Orders, chaos.Order{Ticket: r.tickets, For: each})
	}
	ids, code := r.Submit(u)
	if code != "" {
		r.t.Fatalf("submitting: %s", code)
	}
	for i, id := range ids {
		at := r.AwaitRuns(r.t, id, 1, 20*time.Second)[0].Place
		if i == 0 {
			place = at
		}
		if at == place {
			there = append(there, id)
		}
	}
	return place, there
}

// killedWhileRunning measures how soon what a killed worker ran runs elsewhere: the first of it, since a process runs one suspect
// at a time.
func killedWhileRunning(r *rig) {
	var all []time.Duration
	r.stack.mongoProxy.Spent()
	for range 3 {
		place, there := r.spread(6, 2*time.Second)
		at := time.Now()
		r.Kill(place)
		var each []time.Duration
		for _, id := range there {
			each = append(each, r.AwaitRuns(r.t, id, 2, 40*time.Second)[1].At.Sub(at))
		}
		all = append(all, slices.Min(each))
		r.Boot(place)
		r.ended(20 * time.Second) // what still runs would leave nobody free for what is killed next
	}
	slices.Sort(all)
	most := r.soon() + time.Second // a suspect waits
	r.t.Logf("SIGKILL to running again: %d kills, p50 %v, max %v; at most %v are allowed", len(all),
		all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), most.Round(time.Millisecond))
	if all[len(all)-1] > most {
		r.t.Errorf("SIGKILL to running again took %v", all)
	}
}

// stoppedWhileRunning has a worker run tasks to their end that run elsewhere by then: what it says of them is void.
func stoppedWhileRunning(r *rig) {
	place, there := r.spread(9, 6*time.Second)
	stopped := time.Now()
	r.Happen(chaos.Event{What: "stop long", Places: []int{place}, For: lease + 3*time.Second})
	for _, id := range there {
		again := r.AwaitRuns(r.t, id, 2, 20*time.Second)[1]
		// Its hint has not come back: nothing but the lease speaks against who runs it, whatever was suspected before.
		if took := again.At.Sub(stopped); took < lease*8/10 {
			r.t.Errorf("%s ran again %v after its worker was stopped", id, took)
		}
	}
}
