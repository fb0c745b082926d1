package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend/internal/groupcommit"
)

// A server commits batches: items, which are their own sizes in bytes times 100, become results.
type server struct {
	*groupcommit.Group[string, string]
	mu      sync.Mutex
	batches [][]string
	causes  []error       // of contexts that ended
	ended   int           // contexts of batches that ended
	reply   chan struct{} // a batch takes one; nil: batches don't wait
	check   func(ctx context.Context)
}

const timeout, slow = 10 * time.Second, time.Second

// newServer returns a server that is closed when the test ends. Each batch waits for reply, unless that is closed.
func newServer(t *testing.T, inFlight int) *server {
	t.Helper()
	s := &server{reply: make(chan struct{})}
	s.Group = groupcommit.New(groupcommit.Config[string, string]{
		Commit: s.commit, Size: func(item string) groupcommit.Size { return groupcommit.Size{Count: 1, Bytes: len(item)} },
		Max: groupcommit.Size{Count: 4, Bytes: 10}, InFlight: inFlight, Timeout: timeout, Slow: slow,
	})
	t.Cleanup(s.Close)
	return s
}

func (s *server) commit(ctx context.Context, batch []string) []string {
	s.mu.Lock()
	s.batches = append(s.batches, batch)
	check := s.check
	s.mu.Unlock()
	if check != nil {
		check(ctx)
	}
	select {
	case <-s.reply:
	case <-ctx.Done():
		s.mu.Lock()
		s.causes = append(s.causes, context.Cause(ctx))
		if groupcommit.Ended(ctx) {
			s.ended++
		}
		s.mu.Unlock()
	}
	results := make([]string, len(batch))
	for i, item := range batch {
		results[i] = strings.ToUpper(item)
	}
	return results
}

// checkWith calls f in each batch from now on.
func (s *server) checkWith(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = f
}

// answer answers one batch that waits.
func (s *server) answer() {
	s.reply <- struct{}{}
	synctest.Wait()
}

// sent returns the batches that were sent since the last call.
func (s *server) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.batches = nil }()
	return fmt.Sprint(s.batches)
}

func (s *server) wantSent(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := s.sent(); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

// A call is a call of Do on its own goroutine.
type call struct {
	item   string
	cancel context.CancelFunc
	done   chan struct{}
	result string
	err    error
}

// do starts calls, one after the other.
func (s *server) do(items ...string) []*call {
	var calls []*call
	for _, item := range items {
		ctx, cancel := context.WithCancel(context.WithValue(context.Background(), callerKey{}, item))
		c := &call{item: item, cancel: cancel, done: make(chan struct{})}
		go func() {
			defer close(c.done)
			defer cancel()
			c.result, c.err = s.Do(ctx, item)
		}()
		synctest.Wait()
		calls = append(calls, c)
	}
	return calls
}

type callerKey struct{}

// want checks how a call has ended.
func (c *call) want(t *testing.T, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
	default:
		t.Errorf("%s still waits, want %v", c.item, err)
		return
	}
	if !errors.Is(c.err, err) || err == nil && c.result != strings.ToUpper(c.item) {
		t.Errorf("%s: %q, %v, want %v", c.item, c.result, c.err, err)
	}
}

func (c *call) wantWaiting(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
		t.Errorf("%s has ended: %q, %v", c.item, c.result, c.err)
	default:
	}
}

func withServer(t *testing.T, inFlight int, test func(t *testing.T, s *server)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) { test(t, newServer(t, inFlight)) })
}

func TestItemsThatMeetShareBatch(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c", "d")
		s.wantSent(t, "[[a]]")
		s.answer()
		calls[0].want(t, nil)
		s.wantSent(t, "[[b c d]]")
		later := s.do("e")
		s.answer()
		for _, c := range calls {
			c.want(t, nil)
		}
		s.wantSent(t, "[[e]]")
		later[0].wantWaiting(t)
		s.answer()
		later[0].want(t, nil)
	})
}

// A lone caller waits neither for others nor for time, and sends its item with its own context.
func TestLoneItemIsSentAtOnce(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("a")
		s.wantSent(t, "[[a]]")
		calls[0].cancel()
		calls[0].want(t, nil) // with the result that Commit makes of its ended context
		if len(s.causes) != 1 || s.ended != 0 {
			t.Errorf("ended by %v", s.causes)
		}
		close(s.reply)
		ctx, begun := context.WithValue(t.Context(), callerKey{}, "b"), time.Now()
		s.checkWith(func(ctx context.Context) {
			if v := ctx.Value(callerKey{}); v != "b" || groupcommit.Queued(ctx) {
				t.Errorf("the context has the value %v, want the caller's", v)
			}
		})
		for range 3 {
			if r, err := s.Do(ctx, "b"); r != "B" || err != nil {
				t.Errorf("%q, %v", r, err)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
		s.wantSent(t, "[[b] [b] [b]]")
	})
}

func TestBatchesInFlightAreBounded(t *testing.T) {
	withServer(t, 3, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c", "d", "e")
		s.wantSent(t, "[[a] [b] [c]]")
		s.answer()
		s.wantSent(t, "[[d e]]")
		for range 3 {
			s.answer()
		}
		for _, c := range calls {
			c.want(t, nil)
		}
		s.wantSent(t, "[]")
	})
}

func TestBatchIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		items []string // after a first one
		want  string
	}{
		{"count", []string{"1", "2", "3", "4", "5"}, "[[1 2 3 4] [5]]"},
		{"bytes", []string{"55555", "4444", "22", "1"}, "[[55555 4444] [22 1]]"},
		{"exactly", []string{"55555", "54321", "1"}, "[[55555 54321] [1]]"},
		{"too_large", []string{"1", "larger than allowed", "2", "3"}, "[[1] [larger than allowed] [2 3]]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withServer(t, 1, func(t *testing.T, s *server) {
				calls := s.do(append([]string{"first"}, tt.items...)...)
				s.wantSent(t, "[[first]]")
				close(s.reply)
				for _, c := range calls {
					c.want(t, nil)
				}
				s.wantSent(t, tt.want)
			})
		})
	}
}

// A caller that leaves takes its item along if that was not sent, and leaves its batch alone otherwise.
func TestCancelEndsOnlyOwnWaiting(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c", "d")
		calls[2].cancel()
		calls[2].want(t, groupcommit.ErrNotSent)
		s.answer()
		s.wantSent(t, "[[a] [b d]]")
		calls[1].cancel()
		calls[1].want(t, groupcommit.ErrSent)
		calls[3].wantWaiting(t)
		if len(s.causes) > 0 {
			t.Errorf("the batch was cancelled: %v", s.causes)
		}
		s.answer()
		calls[3].want(t, nil)

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Do(ended, "e"); !errors.Is(err, groupcommit.ErrNotSent) {
			t.Errorf("with an ended context: %v", err)
		}
		s.wantSent(t, "[]")
	})
}

// All callers of a queue may leave. Then nothing is sent.
func TestWithdrawnItemsAreNotSent(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c")
		for _, c := range calls[1:] {
			c.cancel()
			c.want(t, groupcommit.ErrNotSent)
		}
		s.answer()
		calls[0].want(t, nil)
		s.wantSent(t, "[[a]]")
		close(s.reply)
		if _, err := s.Do(t.Context(), "d"); err != nil {
			t.Error(err)
		}
	})
}

// A batch of one item has its caller's values, and still its own end.
func TestBatchOfOneHasItsCallersValues(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("first", "a")
		var value any
		s.checkWith(func(ctx context.Context) {
			value = ctx.Value(callerKey{})
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != timeout || !groupcommit.Queued(ctx) {
				t.Errorf("the batch ends after %v", time.Until(d))
			}
		})
		s.answer()
		calls[0].want(t, nil)
		if value != "a" {
			t.Errorf("the batch has the value %v, want the caller's", value)
		}
		calls[1].cancel()
		calls[1].want(t, groupcommit.ErrSent)
		if len(s.causes) != 0 {
			t.Errorf("the batch ended with its caller: %v", s.causes)
		}
		s.answer()
	})
}

// The context of a batch has no caller's values and deadline. It ends by its own time-out.
func TestBatchHasOwnContext(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		calls := s.do("first", "a", "b")
		s.checkWith(func(ctx context.Context) {
			if v := ctx.Value(callerKey{}); v != nil || !groupcommit.Queued(ctx) {
				t.Errorf("the batch has the value %v of a caller", v)
			}
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != timeout {
				t.Errorf("the batch ends after %v", time.Until(d))
			}
		})
		s.answer()
		calls[0].want(t, nil)
		time.Sleep(timeout - time.Nanosecond)
		calls[1].wantWaiting(t)
		time.Sleep(time.Nanosecond)
		for _, c := range calls[1:] {
			c.want(t, nil) // with the result that Commit makes of the time-out
		}
		if s.ended != 1 {
			t.Errorf("ended by %v", s.causes)
		}
	})
}

// A batch that hangs delays only its own items for more than a moment, and the number of such batches is bounded.
func TestSlowBatchDoesNotDelayOthers(t *testing.T) {
	withServer(t, 2, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c", "d")
		s.wantSent(t, "[[a] [b]]")
		time.Sleep(slow - time.Nanosecond)
		s.wantSent(t, "[]")
		time.Sleep(time.Nanosecond)
		s.wantSent(t, "[[c d]]")
		calls = append(calls, s.do("e")...)
		s.wantSent(t, "[[e]]")
		more := s.do("f")
		s.answer() // a slow one, which takes nothing from the queue
		s.wantSent(t, "[]")
		more[0].cancel()
		for range 3 {
			s.answer()
		}
		for _, c := range calls {
			c.want(t, nil)
		}
		most, running := 0, 0
		var mu sync.Mutex
		s.checkWith(func(ctx context.Context) {
			mu.Lock()
			defer mu.Unlock()
			if _, isBatch := ctx.Deadline(); !isBatch {
				return // a caller's own
			}
			running++
			most = max(most, running)
			context.AfterFunc(ctx, func() {
				mu.Lock()
				defer mu.Unlock()
				running--
			})
		})
		for begun := time.Now(); time.Since(begun) < 3*timeout; time.Sleep(slow / 4) {
			calls = append(calls, s.do("x")...)
		}
		synctest.Wait()
		if bound := 2 * int(1+timeout/slow); most > bound || most < bound/2 {
			t.Errorf("%d batches were under way, want at most %d", most, bound)
		}
		close(s.reply)
		for _, c := range calls {
			c.want(t, nil)
		}
	})
}

func TestCloseAnswersAll(t *testing.T) {
	withServer(t, 2, func(t *testing.T, s *server) {
		calls := s.do("a", "b", "c", "d")
		s.answer()
		calls = append(calls, s.do("e", "f")...)
		s.wantSent(t, "[[a] [b] [c d]]")
		s.Close()
		calls[1].wantWaiting(t) // its own context lives
		for _, c := range calls[2:4] {
			c.want(t, nil) // with the result that Commit makes of its ended context
		}
		for _, c := range calls[4:] {
			c.want(t, groupcommit.ErrClosed)
		}
		if len(s.causes) != 1 || s.ended != 1 {
			t.Errorf("the batch ended by %v", s.causes)
		}
		if _, err := s.Do(t.Context(), "g"); !errors.Is(err, groupcommit.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		s.answer()
		calls[1].want(t, nil)
		s.wantSent(t, "[]")
		s.Close()
	})
}

// A Commit that panics in its caller's goroutine, which may recover, blocks the group only for a moment.
func TestPanicInLoneCommit(t *testing.T) {
	withServer(t, 1, func(t *testing.T, s *server) {
		s.checkWith(func(context.Context) { panic("broken") })
		func() {
			defer func() { _ = recover() }()
			_, _ = s.Do(t.Context(), "a")
		}()
		s.checkWith(nil)
		calls := s.do("b")
		calls[0].wantWaiting(t)
		close(s.reply)
		time.Sleep(slow)
		calls[0].want(t, nil)
	})
}

// Callers that submit again as soon as they are answered share the next batch, too. Without the yield, the first of
// them would be sent alone and the others wait for it.
func TestCallersInLoopStayTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // otherwise the schedule depends on the machine
	withServer(t, 1, func(t *testing.T, s *server) {
		s.checkWith(func(context.Context) { time.Sleep(time.Millisecond) })
		close(s.reply)
		const rounds = 100
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range rounds {
					if _, err := s.Do(t.Context(), "a"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(s.batches); n > rounds*5/4 {
			t.Errorf("%d batches for %d rounds of four callers", n, rounds)
		}
	})
}

// Under concurrency, each caller gets the result of its own item, once.
func TestConcurrentCallersGetOwnResults(t *testing.T) {
	s := newServer(t, 2)
	close(s.reply)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%3 == 0 {
					go cancel()
				}
				item := fmt.Sprintf("i%d-%d", i, n)
				r, err := s.Do(ctx, item)
				cancel()
				if err == nil && r != strings.ToUpper(item) || err != nil && n%3 != 0 {
					t.Errorf("%s: %q, %v", item, r, err)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	all := slices.Concat(s.batches...)
	slices.Sort(all)
	if len(slices.Compact(all)) != len(all) {
		t.Error("an item was sent twice")
	}
}
