package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Two versions of a program have different payload types: oldWorker takes a number, newWorker a string.

var oldWorker, newWorker = func() (af.Worker, af.Worker) {
	o, n := jobWorker, jobWorker
	o.Payload, n.Payload = "0ld000000000", "new000000000"
	return o, n
}()

type textJob struct {
	run  func(ctx context.Context, s string) (int, error)
	done func()
}

func (j *textJob) Run(ctx context.Context, s string) (int, error) { return j.run(ctx, s) }

func (j *textJob) SubtasksDone(context.Context, string, af.Subtasks) error {
	if j.done != nil {
		j.done()
	}
	return nil
}

// versionRuns records what each version has run.
type versionRuns struct {
	mu    sync.Mutex
	order []string
}

func (r *versionRuns) add(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = append(r.order, what)
}

func (r *versionRuns) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

// workOld and workNew each start an App of one version.
func (r *versionRuns) workOld(t *testing.T, b af.Backend, opts ...af.AppOption) *af.App {
	app, _ := work(t, b, oldWorker, func(_ context.Context, n int) (int, error) {
		time.Sleep(5 * time.Millisecond)
		r.add(fmt.Sprint(n))
		return n, nil
	}, opts...)
	return app
}

func (r *versionRuns) workNew(t *testing.T, b af.Backend, w af.Worker, opts ...af.AppOption) *af.App {
	app := open(t, b, opts...)
	af.RegisterWorker(app, w, &textJob{run: func(_ context.Context, s string) (int, error) {
		time.Sleep(5 * time.Millisecond)
		r.add(s)
		return len(s), nil
	}})
	start(t, app)
	return app
}

// queues returns the queue for clients of each version.
func queues(app *af.App) (af.Queue[int, int], af.Queue[string, int]) {
	return af.NewQueue[int, int](app, oldWorker), af.NewQueue[string, int](app, newWorker)
}

func eachTransport(t *testing.T, test func(t *testing.T, b af.Backend)) {
	for name, open := range map[string]func() *memory.Backend{
		"wakeups": func() *memory.Backend { return memory.New() },
		"hints":   func() *memory.Backend { return memory.New(memory.HintIDs(4096)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { test(t, open()) })
		})
	}
}

// In a rolling deploy and a rollback, each task runs once, with a worker of its version.
func TestRollingDeployLosesNoTask(t *testing.T) {
	eachTransport(t, func(t *testing.T, b af.Backend) {
		var r versionRuns
		client := openStarted(t, b)
		oldQ, newQ := queues(client)
		var ids []string
		submit := func(n int) {
			for i := range n {
				ids = append(ids, must(oldQ.Submit(t.Context(), i))(t), must(newQ.Submit(t.Context(), fmt.Sprint("text", i)))(t))
			}
		}
		first := r.workOld(t, b)
		second := r.workNew(t, b, newWorker)
		submit(150)
		r.workNew(t, b, newWorker)
		submit(50)
		time.Sleep(100 * time.Millisecond)
		must(0, second.Shutdown(t.Context()))(t)
		submit(50)
		r.workOld(t, b)
		must(0, first.Shutdown(t.Context()))(t)
		submit(50)
		twice := 0
		for _, id := range ids {
			if _, err := oldQ.Wait(t.Context(), id); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			task := must(oldQ.Get(t.Context(), id))(t)
			if task.Attempt != 1 {
				t.Errorf("%s: attempt %d, error %v", id, task.Attempt, task.Error)
			}
			if task.Fence > 1 {
				twice++
			}
		}
		if most := 4 * oldWorker.Max; twice > most { // for each change, until it is known
			t.Errorf("%d tasks were claimed more than once, want at most %d", twice, most)
		}
		if n := len(r.all()); n != len(ids) {
			t.Errorf("%d runs of %d tasks", n, len(ids))
		}
	})
}

// A hint may reach a worker of the other version first. A matching worker still claims the task well within a second.
func TestMatchingWorkerGetsItsTaskSoon(t *testing.T) {
	eachTransport(t, func(t *testing.T, b af.Backend) {
		var r versionRuns
		for range 2 {
			r.workOld(t, b)
		}
		oldQ, newQ := queues(r.workNew(t, b, newWorker))
		time.Sleep(time.Minute)
		for i := range 40 {
			begun := time.Now()
			must(newQ.Wait(t.Context(), must(newQ.Submit(t.Context(), "text"))(t)))(t)
			if took := time.Since(begun); took > 200*time.Millisecond {
				t.Errorf("text %d after %v", i, took)
			}
			begun = time.Now()
			must(oldQ.Wait(t.Context(), must(oldQ.Submit(t.Context(), i))(t)))(t)
			if took := time.Since(begun); took > 200*time.Millisecond {
				t.Errorf("number %d after %v", i, took)
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// A backlog of one version does not delay tasks of the other.
func TestBacklogOfOneVersionDoesNotDelayTheOther(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New(memory.HintIDs(64))
		var r versionRuns
		client := openStarted(t, b)
		oldQ, newQ := queues(client)
		r.workNew(t, b, newWorker)
		slow := make(chan struct{})
		defer close(slow)
		work(t, b, oldWorker, func(ctx context.Context, n int) (int, error) {
			select {
			case <-slow:
			case <-ctx.Done():
			}
			return 0, ctx.Err()
		})
		must(oldQ.SubmitMany(t.Context(), make([]int, 500), af.Weight(9)))(t)
		time.Sleep(10 * time.Second)
		begun := time.Now()
		for _, id := range must(newQ.SubmitMany(t.Context(), slices.Repeat([]string{"text"}, 200)))(t) {
			must(newQ.Wait(t.Context(), id))(t)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("200 tasks took %v", took)
		}
	})
}

func TestTaskWaitsForMatchingWorker(t *testing.T) {
	testkit.Long(t, "takes seconds with the race detector")
	eachTransport(t, func(t *testing.T, b af.Backend) {
		var r versionRuns
		app := r.workNew(t, b, newWorker)
		oldQ, newQ := queues(app)
		id := must(oldQ.Submit(t.Context(), 7))(t)
		submitted := time.Now()
		var claims []time.Duration
		for fence := int64(0); time.Since(submitted) < time.Hour; time.Sleep(500 * time.Millisecond) {
			task := must(oldQ.Get(t.Context(), id))(t)
			if task.Fence == fence {
				continue
			}
			fence = task.Fence
			claims = append(claims, time.Since(submitted))
			if task.Status.Final() || task.Attempt != 0 || task.Error == nil || task.Error.Code != af.ErrFailedPrecondition ||
				!strings.Contains(task.Error.Message, oldWorker.Payload) ||
				!strings.Contains(task.Error.Message, newWorker.Payload) ||
				task.WrongVersionSince.IsZero() {
				t.Fatalf("the task does not wait: %+v, error %+v", task, task.Error)
			}
		}
		for i := range claims[1:] {
			pause, want := claims[i+1]-claims[i], min(time.Second+claims[i], 5*time.Minute)
			if pause < want*7/10-time.Second || pause > want*12/10+time.Second {
				t.Errorf("claimed again after %v, want %v ± 20 %%", pause, want)
			}
		}
		if n := len(claims); n < 17 || n > 25 {
			t.Errorf("%d claims in an hour", n)
		}
		must(newQ.Wait(t.Context(), must(newQ.Submit(t.Context(), "text"))(t)))(t)

		r.workOld(t, b)
		begun := time.Now()
		must(oldQ.Wait(t.Context(), id))(t)
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("claimed by its worker after %v", took)
		}
		if task := must(oldQ.Get(t.Context(), id))(t); task.Attempt != 1 || !task.WrongVersionSince.IsZero() {
			t.Errorf("%+v", task)
		}
	})
}

func TestTaskWithoutMatchingWorkerFails(t *testing.T) {
	for after, opts := range map[time.Duration][]af.AppOption{24 * time.Hour: nil,
		time.Hour: {af.WrongVersionAfter(time.Hour)}} {
		t.Run(after.String(), func(t *testing.T) {
			if after > time.Hour {
				testkit.Long(t, "a day has many beats")
			}
			bubble.Test(t, func(t *testing.T) {
				var r versionRuns
				app := r.workNew(t, memory.New(), newWorker, opts...)
				oldQ, _ := queues(app)
				begun := time.Now()
				id := must(oldQ.Submit(t.Context(), 7))(t)
				_, err := oldQ.Wait(t.Context(), id)
				wantError(t, err, af.ErrFailedPrecondition, af.OutcomeAnswered, "no worker of that version")
				if took := time.Since(begun); took < after || took > after+7*time.Minute {
					t.Errorf("failed after %v", took)
				}
				if task := must(oldQ.Get(t.Context(), id))(t); string(task.Payload) != "7" {
					t.Errorf("%+v", task)
				}
			})
		})
	}
}

// A payload of the same or an unknown version that can't be decoded fails at once.
func TestUndecodablePayloadOfSameVersionFails(t *testing.T) {
	for _, print := range []string{newWorker.Payload, ""} {
		bubble.Test(t, func(t *testing.T) {
			var r versionRuns
			app := r.workNew(t, memory.New(), newWorker)
			w := oldWorker
			w.Payload = print
			q := af.NewQueue[int, int](app, w)
			id := must(q.Submit(t.Context(), 7))(t)
			_, err := q.Wait(t.Context(), id)
			wantError(t, err, af.ErrInvalidArgument, af.OutcomeAnswered, "decoding a payload")
			if task := must(q.Get(t.Context(), id))(t); task.Attempt != 1 || !task.WrongVersionSince.IsZero() {
				t.Errorf("%+v", task)
			}
		})
	}
}

// No tasks are left to a worker that claims nothing because it is paused or has ended.
func TestTasksAreNotLeftToWorkerThatClaimsNothing(t *testing.T) {
	compatible := newWorker
	compatible.Payload = "new000000001" // both can decode it
	for name, cease := range map[string]func(t *testing.T, app *af.App){
		"paused": func(t *testing.T, app *af.App) { must(0, app.UpdateMaxWorkers(t.Context(), "job", "192.0.2.7", 0))(t) },
		"gone":   func(t *testing.T, app *af.App) { must(0, app.Shutdown(t.Context()))(t) },
	} {
		t.Run(name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, b af.Backend) {
				var fitting, other versionRuns
				first := fitting.workNew(t, b, newWorker, af.IP("192.0.2.7"))
				_, newQ := queues(other.workNew(t, b, compatible))
				time.Sleep(time.Minute)
				must(newQ.Wait(t.Context(), must(newQ.Submit(t.Context(), "left to it"))(t)))(t)
				cease(t, first)
				synctest.Wait()
				begun := time.Now()
				must(newQ.Wait(t.Context(), must(newQ.Submit(t.Context(), "taken"))(t)))(t)
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("after %v", took)
				}
				if got := other.all(); !slices.Equal(got, []string{"taken"}) ||
					!slices.Equal(fitting.all(), []string{"left to it"}) {
					t.Errorf("the matching worker ran %v, the other %v", fitting.all(), got)
				}
			})
		})
	}
}

// Tasks of a version run by weight. If hints carry ids, the order is that of the hints.
func TestTasksOfAVersionRunByWeight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		one := newWorker
		one.Max = 1
		var r, other versionRuns
		app := r.workNew(t, b, one)
		other.workOld(t, b)
		oldQ, newQ := queues(app)
		must(0, app.PauseQueue(t.Context(), "job"))(t)
		time.Sleep(time.Minute)
		var ids, want []string
		for i := range 60 {
			text := fmt.Sprintf("%02d", i%10)
			ids = append(ids, must(newQ.Submit(t.Context(), text, af.Weight(i%10)))(t))
			ids = append(ids, must(oldQ.Submit(t.Context(), i, af.Weight(i%7)))(t))
			want = append(want, text)
			time.Sleep(time.Millisecond)
		}
		slices.Sort(want)
		slices.Reverse(want)
		must(0, app.ResumeQueue(t.Context(), "job"))(t)
		for _, id := range ids {
			must(oldQ.Wait(t.Context(), id))(t)
		}
		if got := r.all(); !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
	})
}

// SubtasksDone decodes the payload of the source, so it is left to its version, too, also by a worker without
// SubtasksDone.
func TestSubtasksDoneRunsAtItsVersion(t *testing.T) {
	testkit.Long(t, "takes seconds with the race detector")
	never := func(context.Context, int, af.Subtasks) error { return nil }
	for name, register := range map[string]func(*af.App){
		"with":    func(app *af.App) { af.RegisterWorker(app, oldWorker, &fanJob{job{same}, never}) },
		"without": func(app *af.App) { af.RegisterWorker(app, oldWorker, &job{same}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b, done := memory.New(), 0
				fan := func() *af.App {
					app := open(t, b)
					af.RegisterWorker(app, newWorker, &textJob{run: func(ctx context.Context, s string) (int, error) {
						if err := app.PauseQueue(ctx, "job"); err != nil {
							return 0, err
						}
						time.Sleep(time.Second) // until the limit is applied
						return 0, nil
					}, done: func() { done++ }})
					start(t, app)
					return app
				}
				first := fan()
				_, newQ := queues(first)
				source := must(newQ.Submit(t.Context(), "text"))(t)
				must(newQ.Subtasks(t.Context(), source, nil))(t)
				must(newQ.Wait(t.Context(), source))(t)
				must(0, first.Shutdown(t.Context()))(t)
				other := open(t, b)
				register(other)
				start(t, other)
				must(0, other.ResumeQueue(t.Context(), "job"))(t)
				time.Sleep(time.Hour)
				oldQ, _ := queues(other)
				if task := must(oldQ.Get(t.Context(), source+"/done"))(t); task.Status.Final() || task.Attempt != 0 ||
					task.Fence == 0 || done != 0 {
					t.Fatalf("%+v, error %+v", task, task.Error)
				}
				fan()
				must(0, af.NewVoidQueue[string](other, newWorker).Wait(t.Context(), source+"/done"))(t)
				if done != 1 {
					t.Errorf("SubtasksDone ran %d times", done)
				}
			})
		})
	}
}
