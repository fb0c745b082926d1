package mesh

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// One of two instances is stuck. Whatever the balance prefers, the other one runs all calls and none waits.
func TestStuckInstanceHoldsNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := bare(t, Options{ID: "a"}), bare(t, Options{ID: "b"})
		c := bare(t, Options{ID: "c", Resolve: always("a", "b")})
		join(t, c, a)
		join(t, c, b)
		_, began, release := hold(a, 1)
		stuck := calling(t.Context(), a, "stuck")
		<-began
		serve(b, 4, echo)
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if r := <-calling(t.Context(), c, strconv.Itoa(i)); r.err != nil {
					t.Error(r.err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(begun); d != 0 {
			t.Errorf("the calls took %v", d)
		}
		close(release)
		<-stuck
		if len(began) > 0 {
			t.Errorf("the stuck instance started %s, which had run elsewhere", <-began)
		}
	})
}

func TestQueueIsFIFOForLocalAndRemoteCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := bare(t, Options{ID: "a"})
		b, c := bare(t, Options{ID: "b", Resolve: always("a")}), bare(t, Options{ID: "c", Resolve: always("a")})
		join(t, b, a)
		join(t, c, a)
		_, began, release := hold(a, 1)
		from := []*Mesh{a, b, c, c, a, b, a, c}
		var want []string
		var done []chan result
		for i, m := range from {
			want = append(want, strconv.Itoa(i))
			done = append(done, calling(t.Context(), m, want[i]))
			synctest.Wait()
		}
		var got []string
		for range from {
			got = append(got, <-began)
			release <- struct{}{}
		}
		for _, d := range done {
			if r := <-d; r.err != nil {
				t.Error(r.err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
	})
}

// reserved returns a fakePeer for whose call 1 the only slot is reserved. Another call is queued behind it.
func reserved(t *testing.T) (s *fakePeer, began chan string, release chan struct{}, last chan result) {
	t.Helper()
	m := bare(t, Options{ID: "m"})
	_, began, release = hold(m, 1)
	first := calling(t.Context(), m, "first")
	<-began
	s = meet(t, m, "s")
	s.ask("1")
	s.want(kindBusy, "1")
	last = calling(t.Context(), m, "last")
	synctest.Wait()
	release <- struct{}{}
	<-first
	s.want(kindFree, "1")
	return s, began, release, last
}

// A slot that is reserved for a call is given to the next one if the caller doesn't answer.
func TestReservationExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began, release, last := reserved(t)
		begun := time.Now()
		if id := <-began; id != "last" || time.Since(begun) != reservation {
			t.Errorf("%s started after %v", id, time.Since(begun))
		}
		s.ask("1") // too late: this is a new call, and is queued
		s.want(kindBusy, "1")
		close(release)
		<-last
		s.want(kindFree, "1")
		s.ask("1")
		s.want(kindReply, "1")
	})
}

func TestReleasedReservationGoesToNextCall(t *testing.T) {
	for how, giveBack := range map[string]func(s *fakePeer){
		"pass":   func(s *fakePeer) { s.say(&header{Kind: kindPass, CorrelationID: "1"}, nil) },
		"cancel": func(s *fakePeer) { s.say(&header{Kind: kindCancel, CorrelationID: "1"}, nil) },
		"death":  func(s *fakePeer) { _ = s.conn.Close() },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, began, release, last := reserved(t)
				begun := time.Now()
				giveBack(s)
				if id := <-began; id != "last" || time.Since(begun) != 0 {
					t.Errorf("%s began after %v", id, time.Since(begun))
				}
				close(release)
				<-last
			})
		})
	}
}

// A rendezvous is two instances with one slot each, used by calls one and two, and a call three from elsewhere that is
// queued at both.
type rendezvous struct {
	a, b               *Mesh
	beganA, beganB     chan string
	releaseA, releaseB chan struct{}
	one, two, three    chan result
}

func inTwoQueues(t *testing.T) (r rendezvous) {
	t.Helper()
	r.a, r.b = bare(t, Options{ID: "a"}), bare(t, Options{ID: "b"})
	c := bare(t, Options{ID: "c", Resolve: always("a", "b")})
	join(t, c, r.a)
	join(t, c, r.b)
	_, r.beganA, r.releaseA = hold(r.a, 1)
	_, r.beganB, r.releaseB = hold(r.b, 1)
	r.one, r.two = calling(t.Context(), r.a, "one"), calling(t.Context(), r.b, "two")
	<-r.beganA
	<-r.beganB
	r.three = calling(t.Context(), c, "three")
	synctest.Wait()
	return r
}

// Of two slots offered, the caller uses one and releases the other.
func TestCallerUsesOneOfTwoOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := inTwoQueues(t)
		close(r.releaseA)
		close(r.releaseB)
		for _, d := range []chan result{r.one, r.two, r.three} {
			if r := <-d; r.err != nil {
				t.Error(r.err)
			}
		}
		synctest.Wait()
		if n := len(r.beganA) + len(r.beganB); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		wantIdle(t, r.a)
		wantIdle(t, r.b)
	})
}

// A slot offered to a call that already runs on another instance goes to the next queued call at once.
func TestLateOfferIsReleasedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := bare(t, Options{ID: "a"}), bare(t, Options{ID: "b"})
		c := bare(t, Options{ID: "c", Resolve: always("b", "a")}) // a is tried first
		join(t, c, a)
		join(t, c, b)
		_, beganA, releaseA := hold(a, 1)
		_, beganB, releaseB := hold(b, 1)
		first := calling(t.Context(), a, "first")
		<-beganA
		there := calling(t.Context(), c, "there")
		<-beganB
		if n := queuedAt(a); n != 1 {
			t.Fatalf("%d queued", n)
		}
		next := calling(t.Context(), a, "next")
		synctest.Wait()
		begun := time.Now()
		close(releaseA)
		<-first
		<-next
		if d := time.Since(begun); d != 0 {
			t.Errorf("the next call waited for %v", d)
		}
		close(releaseB)
		<-there
	})
}

func queuedAt(m *Mesh) int {
	m.dispatcher.mu.Lock()
	defer m.dispatcher.mu.Unlock()
	return m.dispatcher.services["s"].Waiting()
}

// A call that starts on one instance leaves the queues of the others.
func TestStartedCallLeavesOtherQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := inTwoQueues(t)
		r.releaseA <- struct{}{}
		<-r.one
		<-r.beganA
		synctest.Wait()
		if n := queuedAt(r.b); n > 0 {
			t.Errorf("%d in the other queue", n)
		}
		close(r.releaseA)
		close(r.releaseB)
		<-r.two
		<-r.three
	})
}

// wantIdle checks that all slots of the service are free and no call is queued.
func wantIdle(t *testing.T, m *Mesh) {
	t.Helper()
	synctest.Wait() // a slot is released after its reply
	m.dispatcher.mu.Lock()
	defer m.dispatcher.mu.Unlock()
	svc := m.dispatcher.services["s"]
	running := 0
	for _, in := range svc.Instances() {
		running += in.InUse
	}
	if running > 0 || svc.Waiting() > 0 || len(m.local.calls.calls) > 0 {
		t.Errorf("%d slots in use, %d calls queued, %d local calls", running, svc.Waiting(), len(m.local.calls.calls))
	}
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bare(t, Options{ID: "m"})
		_, began, release := hold(m, 1)
		first := calling(t.Context(), m, "first")
		<-began
		s := meet(t, m, "s")
		for i := range maxWaiting {
			s.ask(strconv.Itoa(i))
			s.want(kindBusy, strconv.Itoa(i))
		}
		s.ask("too many")
		h := s.want(kindRefuse, "too many")
		if h.error().Code != backend.ErrResourceExhausted {
			t.Errorf("refused: %v", h.error())
		}
		_, err := m.Call(t.Context(), request())
		wantError(t, err, backend.ErrResourceExhausted, backend.OutcomeNotSent)
		_ = s.conn.Close()
		synctest.Wait()
		close(release)
		<-first
		wantIdle(t, m)
	})
}

func TestNewInstanceTakesQueuedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := bare(t, Options{ID: "a"}), bare(t, Options{ID: "b"})
		var both atomic.Bool
		c := bare(t, Options{ID: "c", Resolve: func(context.Context, string, bool) ([]string, error) {
			if both.Load() {
				return []string{"a", "b"}, nil
			}
			return []string{"a"}, nil
		}})
		join(t, c, a)
		join(t, c, b)
		_, began, release := hold(a, 1)
		first := calling(t.Context(), c, "first")
		<-began
		second := calling(t.Context(), c, "second")
		synctest.Wait()
		serve(b, 1, echo)
		both.Store(true)
		if r := <-second; r.err != nil || r.reply.Server != "a" {
			t.Errorf("%v", r)
		}
		close(release)
		<-first
		wantIdle(t, a)
	})
}

func TestLastInstanceToDrainFailsQueuedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := bare(t, Options{ID: "a"}), bare(t, Options{ID: "b", Resolve: always("a")})
		join(t, b, a)
		s, began, release := hold(a, 1)
		runs := calling(t.Context(), b, "runs")
		<-began
		waits := []chan result{calling(t.Context(), b, "far"), calling(t.Context(), a, "near")}
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(t.Context()) }()
		for _, w := range waits {
			r := <-w
			wantError(t, r.err, backend.ErrUnavailable, backend.OutcomeNotSent)
			if !errors.Is(r.err, backend.ErrNoInstance) {
				t.Errorf("%v", r.err)
			}
		}
		close(release)
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if r := <-runs; r.err != nil {
			t.Error(r.err)
		}
	})
}

func TestTimeoutInQueueIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := bare(t, Options{ID: "a"})
		_, began, release := hold(a, 1)
		first := calling(t.Context(), a, "first")
		<-began
		req := request()
		req.Timeout = 3 * time.Second // shorter than the context's
		begun := time.Now()
		_, err := a.Call(t.Context(), req)
		wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeNotSent)
		if d := time.Since(begun); d != req.Timeout {
			t.Errorf("after %v", d)
		}
		close(release)
		<-first
		wantIdle(t, a)
	})
}
