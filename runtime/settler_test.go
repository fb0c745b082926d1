package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// rejecting is a memory backend whose store rejects some settlements and claims permanently. Like a store with one item
// that is too large, it rejects the whole call.
func rejecting(b af.Backend, settle func(backend.Settle) error, claim func(backend.Claim) error) af.Backend {
	return altered{b, func(p *backend.Ports) { p.Store = rejectingStore{p.Store, settle, claim} }}
}

type rejectingStore struct {
	backend.Store
	settle func(backend.Settle) error
	claim  func(backend.Claim) error
}

func (s rejectingStore) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	for _, e := range settles {
		if s.settle == nil {
			break
		}
		if err := s.settle(e); err != nil {
			return nil, err
		}
	}
	return s.Store.Settle(ctx, settles)
}

func (s rejectingStore) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	if s.claim != nil {
		if err := s.claim(c); err != nil {
			return nil, 0, err
		}
	}
	return s.Store.Claim(ctx, c)
}

var errTooLarge = backend.Errorf(backend.ErrResourceExhausted, "too large").With(backend.OutcomeNotSent)

// A result that the store rejects fails alone. The other results of its batch are written.
func TestRejectedResultFailsAlone(t *testing.T) {
	for name, code := range map[string]backend.Code{"too_large": af.ErrResourceExhausted, "invalid": af.ErrInvalidArgument,
		"odd": af.ErrInternal} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := jobWorker
				w.Max = 300
				b := rejecting(memory.New(), func(e backend.Settle) error {
					if bytes.Equal(e.Result, []byte("7")) {
						return backend.NewError(code, "not that one")
					}
					return nil
				}, nil)
				app, q := work(t, b, w, func(_ context.Context, n int) (int, error) { time.Sleep(time.Second); return n, nil })
				var ids []string
				for n := range 300 {
					ids = append(ids, must(q.Submit(t.Context(), n))(t))
				}
				time.Sleep(1500 * time.Millisecond)
				for n, id := range ids {
					task := must(q.Get(t.Context(), id))(t)
					want := backend.StatusSuccess
					if n == 7 {
						want = backend.StatusRunning
					}
					if task.Status != want {
						t.Fatalf("task %d is %s, want %s", n, task.Status, want)
					}
				}
				if h := app.Health(); h.Unwritten != 1 || time.Since(h.UnwrittenSince) != 500*time.Millisecond || !h.Ready {
					t.Errorf("%+v", h)
				}
				time.Sleep(3 * time.Second)
				_, err := q.Result(t.Context(), ids[7])
				wantError(t, err, code, af.OutcomeAnswered, "store refused the result of attempt 1: not that one")
				if h := app.Health(); h.Unwritten != 0 || !h.UnwrittenSince.IsZero() || !h.Ready {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

// The parts of an error or a log that can't be written are omitted, and the task is retried as usual.
func TestRejectedErrorIsShortened(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Retries = 1
		b := rejecting(memory.New(), func(e backend.Settle) error {
			if e.Log != nil || e.Error != nil && len(e.Error.Message) > 2000 {
				return errTooLarge
			}
			return nil
		}, nil)
		_, q := work(t, b, w, func(ctx context.Context, n int) (int, error) {
			af.LoggerFrom(ctx).Info("a line")
			return 0, af.NewError(af.ErrDataLoss, strings.Repeat("ö", 3000))
		})
		id := must(q.Submit(t.Context(), 1))(t)
		_, err := q.Wait(t.Context(), id)
		wantError(t, err, af.ErrDataLoss, af.OutcomeAnswered, "ööö")
		if task := must(q.Get(t.Context(), id))(t); task.Attempt != 2 || len(task.Error.Message) > 1100 {
			t.Errorf("%+v", task)
		}
	})
}

// A result that the store rejects in any form does not keep others from being written, and is visible in Health.
func TestUnwritableResultIsInHealth(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var poison atomic.Value
		poison.Store("")
		b := rejecting(memory.New(), func(e backend.Settle) error {
			if e.ID == poison.Load() {
				return errTooLarge
			}
			return nil
		}, nil)
		app, q := work(t, b, jobWorker,
			func(_ context.Context, n int) (int, error) { time.Sleep(time.Second); return n, nil })
		id := must(q.Submit(t.Context(), 1))(t)
		poison.Store(id)
		time.Sleep(10 * time.Second)
		if err := app.Ready(); err != nil {
			t.Errorf("too early: %v", err)
		}
		time.Sleep(3 * time.Second)
		err := app.Ready()
		if h := app.Health(); !errors.Is(err, af.ErrUnavailable) ||
			!strings.Contains(err.Error(), "results-unwritten: 1 results") || h.Ready ||
			h.Unwritten != 1 || !slices.Contains(h.Degraded, "results-unwritten") {
			t.Errorf("Ready: %v, health %+v", err, h)
		}
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 2))(t)))(t)
		begun := time.Now()
		if err := app.Shutdown(t.Context()); err == nil || time.Since(begun) > time.Second {
			t.Errorf("shutdown after %v: %v", time.Since(begun), err)
		}
	})
}

// No result is lost if the store rejects everything for a while.
func TestResultsSurviveRejectingStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		b := rejecting(memory.New(), func(backend.Settle) error {
			if ill.Load() {
				return backend.NewError(backend.ErrInternal, "unexpected")
			}
			return nil
		}, nil)
		app, q := work(t, b, jobWorker,
			func(_ context.Context, n int) (int, error) { time.Sleep(time.Second); return n, nil })
		var ids []string
		for n := range 5 {
			ids = append(ids, must(q.Submit(t.Context(), n))(t))
		}
		ill.Store(true)
		time.Sleep(20 * time.Second)
		if err := app.Ready(); err == nil {
			t.Error("the App is ready")
		}
		ill.Store(false)
		time.Sleep(15 * time.Second)
		for n, id := range ids {
			if task := must(q.Get(t.Context(), id))(t); task.Status != backend.StatusSuccess || task.Attempt != 1 ||
				string(task.Result) != fmt.Sprint(n) {
				t.Errorf("%+v", task)
			}
		}
		if err := app.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// The size of progress is checked before it is sent.
func TestProgressIsLimited(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, q := work(t, memory.New(), jobWorker, func(ctx context.Context, n int) (int, error) {
			return n, af.TaskFrom(ctx).Progress(ctx, strings.Repeat("x", n))
		})
		must(q.Wait(t.Context(), must(q.Submit(t.Context(), 64<<10-2))(t)))(t)
		_, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 64<<10-1))(t))
		wantError(t, err, af.ErrResourceExhausted, af.OutcomeAnswered, "at most 65536")
	})
}

// All texts of a task that are stored are valid UTF-8 of limited length, whatever a handler returns, logs or panics
// with.
func TestTextsOfATaskAreValid(t *testing.T) {
	long := strings.Repeat("x", 16<<10-4) + strings.Repeat("€", 10)
	for _, text := range []string{"a\xffb", long, "x" + long, "xx" + long, strings.Repeat("\xff", 20<<10)} {
		for name, fail := range map[string]func() error{
			"error":  func() error { return errors.New(text) },
			"coded":  func() error { return af.NewError(af.ErrDataLoss, text) },
			"panics": func() error { panic(text) },
		} {
			bubble.Test(t, func(t *testing.T) {
				check := func(what, s string) error {
					if !utf8.ValidString(s) || len(s) > 64<<10 {
						t.Errorf("%s of %d bytes, valid %v", what, len(s), utf8.ValidString(s))
					}
					return nil
				}
				b := rejecting(memory.New(), func(e backend.Settle) error {
					for _, line := range e.Log {
						_ = check("line", line)
					}
					return check(name, e.Error.Message)
				}, nil)
				_, q := work(t, b, jobWorker, func(ctx context.Context, _ int) (int, error) {
					af.LoggerFrom(ctx).Info(text, text, text)
					return 0, fail()
				})
				if _, err := q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)); err == nil {
					t.Error("no error")
				}
			})
		}
	}
}

// Hints with invalid ids are dropped and do not delay the others.
func TestBadHintsAreDropped(t *testing.T) {
	bad := []string{"", "a\xffb", "a\x00b", strings.Repeat("x", backend.MaxID+1)}
	for name, ids := range map[string][]string{"one": bad[:1], "all": bad, "many": slices.Repeat(bad, 100)} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				world := memory.New(memory.HintIDs(4096))
				b := rejecting(world, nil, func(c backend.Claim) error {
					for _, id := range c.IDs {
						if !backend.ValidID(id) {
							return backend.NewError(backend.ErrInvalidArgument, "no such id")
						}
					}
					return nil
				})
				_, q := work(t, b, jobWorker, same)
				hint(t, world, ids...)
				begun := time.Now()
				must(q.Wait(t.Context(), must(q.Submit(t.Context(), 1))(t)))(t)
				if took := time.Since(begun); took > 100*time.Millisecond {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func hint(t *testing.T, world af.Backend, ids ...string) {
	t.Helper()
	ports := must(world.Open(t.Context(), backend.Env{}))(t)
	must(ports.Transport.Hint(t.Context(), jobWorker.Name, ids))(t)
	if err := ports.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A hint for which the store rejects the claim is dropped. The tasks of other hints in the same claim run.
func TestRejectedHintIsDropped(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := memory.New(memory.HintIDs(4096))
		var refusals atomic.Int64
		b := rejecting(world, nil, func(c backend.Claim) error {
			if slices.Contains(c.IDs, "poison") {
				refusals.Add(1)
				return errTooLarge
			}
			return nil
		})
		client := af.NewQueue[int, int](openStarted(t, world), jobWorker)
		var ids []string
		for n := range 6 {
			ids = append(ids, must(client.Submit(t.Context(), n))(t))
			hint(t, world, "poison")
		}
		_, _ = work(t, b, jobWorker, same)
		begun := time.Now()
		for _, id := range ids {
			must(client.Wait(t.Context(), id))(t)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		synctest.Wait() // the tasks may end before all hints are handled
		before := refusals.Load()
		time.Sleep(time.Minute)
		if n := refusals.Load(); n != before || n == 0 {
			t.Errorf("%d rejections, then %d more", before, n-before)
		}
	})
}

// A store that rejects claims is visible in Health.
func TestRejectedClaimIsInHealth(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		ill.Store(true)
		b := rejecting(memory.New(), nil, func(backend.Claim) error {
			if ill.Load() {
				return errTooLarge
			}
			return nil
		})
		app, q := work(t, b, jobWorker, same)
		id := must(q.Submit(t.Context(), 1))(t)
		time.Sleep(time.Second)
		if err := app.Ready(); err == nil || !strings.Contains(err.Error(), "claims-refused") {
			t.Errorf("Ready: %v", err)
		}
		var h af.Health
		if err := json.Unmarshal(must(json.Marshal(app.Health()))(t), &h); err != nil ||
			!slices.Contains(h.Degraded, "claims-refused") {
			t.Errorf("%+v, %v", h, err)
		}
		ill.Store(false)
		must(q.Wait(t.Context(), id))(t)
		synctest.Wait() // the task may end before its claim has returned
		if err := app.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// slowSettle is a memory backend whose first Settle takes 1.5 s, so that it ends between two heartbeats.
type slowSettle struct {
	af.Backend
	largest *atomic.Int64 // number of results in the largest Settle
}

func newSlowSettle() slowSettle {
	largest := new(atomic.Int64)
	return slowSettle{altered{memory.New(), func(p *backend.Ports) {
		p.Store = &slowSettleStore{Store: p.Store, largest: largest}
	}}, largest}
}

type slowSettleStore struct {
	backend.Store
	largest *atomic.Int64
	once    sync.Once
}

func (s *slowSettleStore) Settle(ctx context.Context, settles []backend.Settle) ([]backend.Settled, error) {
	s.once.Do(func() { time.Sleep(1500 * time.Millisecond) })
	s.largest.Store(max(s.largest.Load(), int64(len(settles))))
	return s.Store.Settle(ctx, settles)
}

// Pools claim nothing while too many results are unwritten, and continue as soon as they are written.
func TestPoolsWaitForUnwrittenResults(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := jobWorker
		w.Max = 100
		var runs atomic.Int32
		slow := newSlowSettle()
		_, q := work(t, slow, w, func(_ context.Context, n int) (int, error) {
			runs.Add(1)
			return n, nil
		})
		begun := time.Now()
		ids := must(q.SubmitMany(t.Context(), make([]int, 5000)))(t)
		synctest.Wait()
		if n := runs.Load(); n < 2000 || n > 2200 {
			t.Errorf("%d tasks ran while no results could be written", n)
		}
		for _, id := range ids {
			must(q.Wait(t.Context(), id))(t)
		}
		if took := time.Since(begun); took != 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if n := slow.largest.Load(); n != 200 {
			t.Errorf("%d results were written at once", n)
		}
	})
}
