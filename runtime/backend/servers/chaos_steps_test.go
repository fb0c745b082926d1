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

// Each row of the failure table in docs/servers.md, at least once and at the exact step. For races that chance would
// rarely hit, mongoproxy waits for a command and kills the process that sent it: either before the command reaches the
// server, or after it took effect but before its reply. Each fleet is audited at the end.
func TestFailuresOverTheServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"processes": testProcessFailures, "broker": testBrokerFailures, "store_and_redis": testStoreFailures,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// A rig is a fleet on a stack. Places 0 to 2 are workers, 3 and 4 clients.
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

// step runs a subtest on a healthy fleet and checks that the fleet is healthy again.
func (r *rig) step(name string, do func(r *rig)) {
	r.t.Run(name, func(t *testing.T) {
		within := *r
		within.t = t
		defer func() { r.tickets = within.tickets }()
		do(&within)
		within.checkWorks()
	})
}

// order returns a submission of one task of queue a with its own ID.
func (r *rig) order(how string, place int, o chaos.Order) chaos.Submit {
	r.tickets++
	o.Ticket = r.tickets
	for end := time.Now().Add(20 * time.Second); r.Instance(place) == "" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // it was just killed
	}
	return chaos.Submit{
		How: how, Place: place, Orders: []chaos.Order{o}, Submission: workload.Submission{ID: fmt.Sprint("task", o.Ticket)},
	}
}

// submit submits a task and returns its ID.
func (r *rig) submit(o chaos.Order) (id string) {
	r.t.Helper()
	u := r.order("submit", firstClient, o)
	if _, code := r.Submit(u); code != "" {
		r.t.Fatalf("submitting: %s", code)
	}
	return u.ID
}

// checkWorks waits until each client can submit again and its task runs.
func (r *rig) checkWorks() {
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

// killSender is the action of a trap: it kills the instance that sent the command and starts another in its place.
func (r *rig) killSender(c *mongoproxy.Command) {
	if place := r.KillInstance(instanceOf(c.Application)); place >= 0 {
		r.Go(func() { r.Boot(place) })
	}
}

// killAt sets a trap that kills, submits a task, and returns its ID and the time when the trap fired.
func (r *rig) killAt(when mongoproxy.Moment, match mongoproxy.Matcher, u chaos.Submit) (string, time.Time) {
	r.t.Helper()
	r.stack.mongoProxy.Spent()
	tr := r.stack.mongoProxy.Trap(when, mongoproxy.WithID(u.ID, match), r.killSender)
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

// rerunLimit returns how soon after a kill a task of the killed process must run again. Two heartbeats and a margin are
// waiting. The rest is about thirty sequential store operations, whose duration depends on the machine.
func (r *rig) rerunLimit() time.Duration {
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

func (r *rig) wantRerun(id string, runs int, killed time.Time) time.Duration {
	r.t.Helper()
	took := r.AwaitRuns(r.t, id, runs, 20*time.Second)[runs-1].At.Sub(killed)
	r.t.Logf("%v after the kill", took.Round(time.Millisecond))
	if most := r.rerunLimit(); took > most {
		r.t.Errorf("it ran again %v after the kill, want at most %v", took, most)
	}
	return took
}

// testProcessFailures kills processes of each kind before and after the commands that matter.
func testProcessFailures(t *testing.T) {
	r := newRig(t, lease)
	second := func(o chaos.Order) chaos.Submit { return r.order("submit", secondClient, o) }
	r.step("worker_before_claim", func(r *rig) {
		id, at := r.killAt(mongoproxy.Before, claims, second(chaos.Order{}))
		r.wantRerun(id, 1, at)
	})
	r.step("worker_after_claim", func(r *rig) {
		id, at := r.killAt(mongoproxy.After, claims, second(chaos.Order{}))
		r.wantRerun(id, 1, at)
	})
	r.step("worker_before_settle", func(r *rig) { // the handler has returned
		id, at := r.killAt(mongoproxy.Before, settles, second(chaos.Order{}))
		r.wantRerun(id, 2, at)
	})
	r.step("worker_before_ack", func(r *rig) { // it has settled
		id, _ := r.killAt(mongoproxy.After, settles, second(chaos.Order{}))
		r.checkWorks()
		if runs := r.Runs(id); len(runs) != 1 {
			r.t.Errorf("it ran %d times", len(runs))
		}
	})
	r.step("submitter_before_insert", func(r *rig) {
		u := r.order("submit", firstClient, chaos.Order{})
		r.killAt(mongoproxy.Before, inserts, u)
		r.wantOneTask(u)
	})
	r.step("submitter_before_hint", func(r *rig) {
		u := r.order("submit", firstClient, chaos.Order{})
		id, at := r.killAt(mongoproxy.After, inserts, u)
		run := r.AwaitRuns(r.t, id, 1, 20*time.Second)[0]
		if took := run.At.Sub(at); took > 7*time.Second {
			r.t.Errorf("ran after %v", took)
		}
		r.wantOneTask(u)
	})
	r.step("dispatcher_before_hint", func(r *rig) { // it has marked the hint as sent
		id, at := r.killAt(mongoproxy.After, hints, r.order("store", secondClient, chaos.Order{}))
		run := r.AwaitRuns(r.t, id, 1, 20*time.Second)[0]
		if took := run.At.Sub(at); took > 12*time.Second {
			r.t.Errorf("ran after %v", took)
		}
	})
	r.step("workers_killed_while_running", testKilledWhileRunning)
	r.step("worker_stopped_beyond_lease", testStoppedWhileRunning)
	r.Check()
}

// wantOneTask submits the same task again from another client, which must not create a second one.
func (r *rig) wantOneTask(u chaos.Submit) {
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

// runMany runs n tasks at once. It returns a place where some of them run, and the IDs of those.
func (r *rig) runMany(n int, each time.Duration) (place int, there []string) {
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

// testKilledWhileRunning measures how soon the first task of a killed worker runs again. Only the first counts, since a
// process runs one suspect at a time.
func testKilledWhileRunning(r *rig) {
	var all []time.Duration
	r.stack.mongoProxy.Spent()
	for range 3 {
		place, there := r.runMany(6, 2*time.Second)
		at := time.Now()
		r.Kill(place)
		var each []time.Duration
		for _, id := range there {
			each = append(each, r.AwaitRuns(r.t, id, 2, 40*time.Second)[1].At.Sub(at))
		}
		all = append(all, slices.Min(each))
		r.Boot(place)
		r.awaitAllEnded(20 * time.Second) // running tasks would occupy the workers for the next kill
	}
	slices.Sort(all)
	most := r.rerunLimit()
	r.t.Logf("SIGKILL to rerun: %d kills, p50 %v, max %v, limit %v", len(all),
		all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), most.Round(time.Millisecond))
	if all[len(all)-1] > most {
		r.t.Errorf("SIGKILL to rerun took %v", all)
	}
}

// testStoppedWhileRunning suspends a worker until its tasks run elsewhere. Its own results are then discarded.
func testStoppedWhileRunning(r *rig) {
	place, there := r.runMany(9, 6*time.Second)
	stopped := time.Now()
	r.Happen(chaos.Event{What: "stop long", Places: []int{place}, For: lease + 3*time.Second})
	for _, id := range there {
		again := r.AwaitRuns(r.t, id, 2, 20*time.Second)[1]
		// Its hint was not redelivered, so only the lease counts against the owner.
		if took := again.At.Sub(stopped); took < lease*8/10 {
			r.t.Errorf("%s ran again %v after its worker was stopped", id, took)
		}
	}
}
