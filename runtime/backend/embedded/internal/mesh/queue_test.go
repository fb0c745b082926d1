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

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
)

// One of two instances is stuck. Whatever the balance prefers, the other one runs all calls and none waits.
func TestStuckInstanceHoldsNoCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b"})
		c := unstarted(t, Options{ID: "c", Resolve: always("a", "b")})
		connectPair(t, c, a)
		connectPair(t, c, b)
		_, started, release := hold(a, 1)
		stuck := startCall(t.Context(), a, "stuck")
		<-started
		serve(b, 4, echo)
		startTime := time.Now()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if r := <-startCall(t.Context(), c, strconv.Itoa(i)); r.err != nil {
					t.Error(r.err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(startTime); d != 0 {
			t.Errorf("the calls took %v", d)
		}
		close(release)
		<-stuck
		if len(started) > 0 {
			t.Errorf("the stuck instance started %s, which had run elsewhere", <-started)
		}
	})
}

func TestQueueIsFIFOForLocalAndRemoteCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a := unstarted(t, Options{ID: "a"})
		b, c := unstarted(t, Options{ID: "b", Resolve: always("a")}), unstarted(t, Options{ID: "c", Resolve: always("a")})
		connectPair(t, b, a)
		connectPair(t, c, a)
		_, started, release := hold(a, 1)
		from := []*Mesh{a, b, c, c, a, b, a, c}
		var want []string
		var done []chan result
		for i, m := range from {
			want = append(want, strconv.Itoa(i))
			done = append(done, startCall(t.Context(), m, want[i]))
			synctest.Wait()
		}
		var got []string
		for range from {
			got = append(got, <-started)
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

// reservedCall returns a fakePeer for whose call 1 the only slot is reserved. Another call is queued behind it.
func reservedCall(t *testing.T) (s *fakePeer, started chan string, release chan struct{}, last chan result) {
	t.Helper()
	m := unstarted(t, Options{ID: "m"})
	_, started, release = hold(m, 1)
	first := startCall(t.Context(), m, "first")
	<-started
	s = connectFake(t, m, "s")
	s.sendRequest("1")
	s.want(kindBusy, "1")
	last = startCall(t.Context(), m, "last")
	synctest.Wait()
	release <- struct{}{}
	<-first
	s.want(kindFree, "1")
	return s, started, release, last
}

// A slot that is reserved for a call is given to the next one if the caller doesn't answer.
func TestReservationExpires(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, started, release, last := reservedCall(t)
		startTime := time.Now()
		if id := <-started; id != "last" || time.Since(startTime) != reservation {
			t.Errorf("%s started after %v", id, time.Since(startTime))
		}
		s.sendRequest("1") // too late: this is a new call, and is queued
		s.want(kindBusy, "1")
		close(release)
		<-last
		s.want(kindFree, "1")
		s.sendRequest("1")
		s.want(kindReply, "1")
	})
}

func TestReleasedReservationGoesToNextCall(t *testing.T) {
	for how, giveBack := range map[string]func(s *fakePeer){
		"pass":   func(s *fakePeer) { s.send(&header{Kind: kindPass, CorrelationID: "1"}, nil) },
		"cancel": func(s *fakePeer) { s.send(&header{Kind: kindCancel, CorrelationID: "1"}, nil) },
		"death":  func(s *fakePeer) { _ = s.conn.Close() },
	} {
		t.Run(how, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, started, release, last := reservedCall(t)
				startTime := time.Now()
				giveBack(s)
				if id := <-started; id != "last" || time.Since(startTime) != 0 {
					t.Errorf("%s started after %v", id, time.Since(startTime))
				}
				close(release)
				<-last
			})
		})
	}
}

// A queuedTwice is two instances with one slot each, used by calls one and two, and a call three from elsewhere that is
// queued at both.
type queuedTwice struct {
	a, b               *Mesh
	startedA, startedB chan string
	releaseA, releaseB chan struct{}
	one, two, three    chan result
}

func inTwoQueues(t *testing.T) (r queuedTwice) {
	t.Helper()
	r.a, r.b = unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b"})
	c := unstarted(t, Options{ID: "c", Resolve: always("a", "b")})
	connectPair(t, c, r.a)
	connectPair(t, c, r.b)
	_, r.startedA, r.releaseA = hold(r.a, 1)
	_, r.startedB, r.releaseB = hold(r.b, 1)
	r.one, r.two = startCall(t.Context(), r.a, "one"), startCall(t.Context(), r.b, "two")
	<-r.startedA
	<-r.startedB
	r.three = startCall(t.Context(), c, "three")
	synctest.Wait()
	return r
}

// Of two slots offered, the caller uses one and releases the other.
func TestCallerUsesOneOfTwoOffers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := inTwoQueues(t)
		close(r.releaseA)
		close(r.releaseB)
		for _, d := range []chan result{r.one, r.two, r.three} {
			if r := <-d; r.err != nil {
				t.Error(r.err)
			}
		}
		synctest.Wait()
		if n := len(r.startedA) + len(r.startedB); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		wantIdle(t, r.a)
		wantIdle(t, r.b)
	})
}

// A slot offered to a call that already runs on another instance goes to the next queued call at once.
func TestLateOfferIsReleasedAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b"})
		c := unstarted(t, Options{ID: "c", Resolve: always("b", "a")}) // a is tried first
		connectPair(t, c, a)
		connectPair(t, c, b)
		_, startedA, releaseA := hold(a, 1)
		_, startedB, releaseB := hold(b, 1)
		first := startCall(t.Context(), a, "first")
		<-startedA
		there := startCall(t.Context(), c, "there")
		<-startedB
		if n := queuedAt(a); n != 1 {
			t.Fatalf("%d queued", n)
		}
		next := startCall(t.Context(), a, "next")
		synctest.Wait()
		startTime := time.Now()
		close(releaseA)
		<-first
		<-next
		if d := time.Since(startTime); d != 0 {
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
	bubble.Test(t, func(t *testing.T) {
		r := inTwoQueues(t)
		r.releaseA <- struct{}{}
		<-r.one
		<-r.startedA
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
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		_, started, release := hold(m, 1)
		first := startCall(t.Context(), m, "first")
		<-started
		s := connectFake(t, m, "s")
		for i := range maxWaiting {
			s.sendRequest(strconv.Itoa(i))
			s.want(kindBusy, strconv.Itoa(i))
		}
		s.sendRequest("too many")
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
	bubble.Test(t, func(t *testing.T) {
		a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b"})
		var both atomic.Bool
		c := unstarted(t, Options{ID: "c", Resolve: func(context.Context, string, bool) ([]string, error) {
			if both.Load() {
				return []string{"a", "b"}, nil
			}
			return []string{"a"}, nil
		}})
		connectPair(t, c, a)
		connectPair(t, c, b)
		_, started, release := hold(a, 1)
		first := startCall(t.Context(), c, "first")
		<-started
		second := startCall(t.Context(), c, "second")
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
	bubble.Test(t, func(t *testing.T) {
		a, b := unstarted(t, Options{ID: "a"}), unstarted(t, Options{ID: "b", Resolve: always("a")})
		connectPair(t, b, a)
		s, started, release := hold(a, 1)
		runs := startCall(t.Context(), b, "runs")
		<-started
		waits := []chan result{startCall(t.Context(), b, "far"), startCall(t.Context(), a, "near")}
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
	bubble.Test(t, func(t *testing.T) {
		a := unstarted(t, Options{ID: "a"})
		_, started, release := hold(a, 1)
		first := startCall(t.Context(), a, "first")
		<-started
		req := request()
		req.Timeout = 3 * time.Second // shorter than the context's
		startTime := time.Now()
		_, err := a.Call(t.Context(), req)
		wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeNotSent)
		if d := time.Since(startTime); d != req.Timeout {
			t.Errorf("after %v", d)
		}
		close(release)
		<-first
		wantIdle(t, a)
	})
}
