package apptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// Jobs tests the due times of jobs on the backends that open returns. Jobs are due every second by the store's clock,
// which the tests advance instead of waiting, so all tests take seconds. The process that runs it must call
// [JobChild] if it is a child process.
func Jobs(t *testing.T, open func(t *testing.T) af.Backend) {
	var all sync.WaitGroup
	for _, b := range []struct {
		name string
		do   func(w *jobs)
	}{
		{"missed_while_down", missedWithoutApp},           // the policy decides about missed due times
		{"missed_seconds", missedSeconds},                 // the scheduler is stopped; each second makes one task
		{"overlap_policies", overlaps},                    // while the last task runs, a due time is skipped, fired, or waits
		{"manual_run", runsManually},                      // counts as an earlier task; no policy delays it
		{"retried_fire", retriedFire},                     // counts as an earlier task
		{"disabled", disabled},                            // a disabled job doesn't fire, and nothing counts as missed
		{"replaced", replaced},                            // a job is replaced if it differs, and its time table too
		{"removed", removed},                              // a removed job loses its history, and can be added again
		{"lists", listed},                                 // jobs and fires are listed by filter, order and page
		{"scheduler_stops_and_starts", stoppedAndStarted}, // while the App runs
		{"two_leaders", twoLeaders},                       // they make one task per due time
		{"functions", functions},                          // they have arguments of their own type
		{"functions_in_child_process", childProcesses},
		{"metadata", metadataOfJobs}, // of the job and of a manual run
	} {
		all.Go(func() { // parallel regardless of -parallel, because they mostly wait
			t.Run(b.name, func(t *testing.T) {
				w := &jobs{do: map[string]func(context.Context, errand) error{}}
				w.world = &world{T: t, backend: clocked{open(t), w}}
				b.do(w)
			})
		})
	}
	all.Wait()
}

// jobs is an isolated backend with its clock and the runs of its jobs' tasks.
type jobs struct {
	*world
	ahead atomic.Int64 // of the store's clock, in nanoseconds
	alone atomic.Bool  // no App sees another

	mu   sync.Mutex
	do   map[string]func(context.Context, errand) error // by job
	runs []run
}

// An errand is the payload of the tests' jobs, with nested fields.
type errand struct {
	For  string
	N    int       `json:"n,omitempty"`
	List []float64 `json:"list,omitempty"`
	At   time.Time
}

// A run is a call of the handler.
type run struct {
	task, instance string
	errand         errand
}

var errandWorker = af.Worker{Name: "errands", Type: "Errands", Max: 16, Backoff: 100 * time.Millisecond, Weight: 1}

type errander struct{ w *jobs }

func (r *errander) Run(ctx context.Context, e errand) error {
	r.w.mu.Lock()
	r.w.runs = append(r.w.runs, run{af.TaskFrom(ctx).ID, af.InstanceFrom(ctx).ID, e})
	do := r.w.do[e.For]
	r.w.mu.Unlock()
	if do != nil {
		return do(ctx, e)
	}
	return nil
}

// on sets the handler of a job's tasks.
func (w *jobs) on(job string, do func(context.Context, errand) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do[job] = do
}

// app opens an App with the worker.
func (w *jobs) app(opts ...af.AppOption) (*af.App, af.VoidQueue[errand]) {
	w.Helper()
	app := w.open(func(a *af.App) { af.RegisterVoidWorker(a, errandWorker, &errander{w}) }, opts...)
	return app, af.NewVoidQueue[errand](app, errandWorker)
}

// operator opens an App that fires no jobs.
func (w *jobs) operator() *af.App {
	w.Helper()
	return w.open(nil, af.IP("192.0.2.2"), af.NoScheduler())
}

// latch returns a channel and a function that closes it. The end of the test closes it before its Apps shut down.
func (w *jobs) latch() (end chan struct{}, release func()) {
	end = make(chan struct{})
	release = sync.OnceFunc(func() { close(end) })
	w.Cleanup(release)
	return end, release
}

// schedule puts a job whose errands have its name.
func (w *jobs) schedule(q af.VoidQueue[errand], id, cron string, opts ...af.JobOption) {
	w.Helper()
	w.must(q.Schedule(w.Context(), id, cron, errand{For: id}, opts...))
}

func (w *jobs) job(app *af.App, id string) af.Job {
	w.Helper()
	return must(app.Job(w.Context(), id))(w.world)
}

// sees waits until a condition read from the store holds.
func (w *jobs) sees(what string, holds func() bool) {
	w.Helper()
	w.within(patience, what, func() bool {
		if holds() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
		return false
	})
}

// fires returns the whole history of a job, oldest first.
func (w *jobs) fires(app *af.App, id string) []af.Fire {
	w.Helper()
	page := must(app.Fires(w.Context(), af.FireQuery{Job: id, Limit: 1000}))(w.world)
	slices.Reverse(page.Fires)
	return page.Fires
}

// tasks returns the tasks of a job: the sorted due times, in seconds since from, and the ids of manual runs.
func (w *jobs) tasks(app *af.App, queue, job string, from time.Time) (due []int, manual []string) {
	w.Helper()
	for q := (af.TaskQuery{Queue: queue, Limit: 1000}); ; {
		page := must(app.Tasks(w.Context(), q))(w.world)
		for _, t := range page.Tasks {
			of, ok := strings.CutPrefix(t.ID, "job/"+job+"/")
			if !ok {
				continue
			}
			if t.Status == af.StatusStopped && t.Attempt == 0 {
				continue // prevents a fire from being submitted after its job was disabled
			}
			if at, err := strconv.ParseInt(of, 10, 64); err == nil {
				due = append(due, int(at-from.Unix()))
			} else {
				manual = append(manual, t.ID)
			}
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			slices.Sort(due)
			return due, manual
		}
	}
}

// ran returns the due times for which a job's tasks ran, in seconds since from, in order of their start.
func (w *jobs) ran(job string, from time.Time) (due []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.runs {
		if of, ok := strings.CutPrefix(r.task, "job/"+job+"/"); ok {
			if at, err := strconv.ParseInt(of, 10, 64); err == nil {
				due = append(due, int(at-from.Unix()))
			}
		}
	}
	return due
}

// awaitRuns waits until tasks of a job have run for n due times.
func (w *jobs) awaitRuns(job string, n int) {
	w.Helper()
	w.within(patience, fmt.Sprintf("%d runs of %q", n, job), func() bool { return len(w.ran(job, time.Time{})) >= n })
}

// pass waits for n more tasks of a job, so that schedulers have had time for other jobs.
func (w *jobs) pass(job string, n int) {
	w.Helper()
	w.awaitRuns(job, len(w.ran(job, time.Time{}))+n)
}

// seconds returns each second in [from, to].
func seconds(from, to int) (list []int) {
	for s := from; s <= to; s++ {
		list = append(list, s)
	}
	return list
}

// wantTasks checks that a job has tasks for exactly the due times want, in seconds since from, that each has run
// once, and that the history has these tasks only.
func (w *jobs) wantTasks(app *af.App, job string, from time.Time, want []int) {
	w.Helper()
	if got, _ := w.tasks(app, errandWorker.Name, job, from); !slices.Equal(got, want) {
		w.Errorf("%q has tasks for %v, want %v", job, got, want)
	}
	w.within(patience, fmt.Sprintf("%q has run for %d due times", job, len(want)),
		func() bool { return len(w.ran(job, from)) >= len(want) })
	if got := slices.Sorted(slices.Values(w.ran(job, from))); !slices.Equal(got, want) {
		w.Errorf("%q has run for %v, want %v", job, got, want)
	}
	var noted []int
	w.sees("the history of "+job, func() bool {
		noted = nil
		for _, f := range w.fires(app, job) {
			if f.TaskID != "" && !f.Due.IsZero() {
				noted = append(noted, int(f.Due.Unix()-from.Unix()))
			}
		}
		return len(noted) >= len(want)
	})
	if slices.Sort(noted); !slices.Equal(noted, want) {
		w.Errorf("the history of %q tells of %v, want %v", job, noted, want)
	}
}

// skipped counts the due times of a job that were skipped for a reason.
func (w *jobs) skipped(app *af.App, job, why string) (n int) {
	w.Helper()
	for _, f := range w.fires(app, job) {
		if f.Skipped == why {
			n += f.More + 1
		}
	}
	return n
}

// told counts the due times in a job's history.
func (w *jobs) told(app *af.App, job string) (n int) {
	w.Helper()
	for _, f := range w.fires(app, job) {
		if !f.Due.IsZero() {
			n += f.More + 1
		}
	}
	return n
}

// wantAllTold checks that the history of a job that is due every second, and was never disabled, contains each due
// time as a task or as skipped. There must be few enough for the history.
func (w *jobs) wantAllTold(app *af.App, j af.Job) {
	w.Helper()
	fires := w.fires(app, j.ID)
	due := int(fires[len(fires)-1].Due.Unix() - j.Created.Unix())
	if n := w.told(app, j.ID); n < due || n > due+1 { // one may have just been due
		w.Errorf("the history of %q has %d of %d due times", j.ID, n, due)
	}
}

// disable disables a job and returns it. Fires that have begun have ended.
func (w *jobs) disable(app *af.App, id string) af.Job {
	w.Helper()
	w.must(app.DisableJob(w.Context(), id))
	j := w.job(app, id)
	if !j.Disabled || !j.Next.IsZero() || j.Waiting != 0 {
		w.Errorf("disabled: %+v", j)
	}
	w.awaitLast(app, j)
	return j
}

// awaitLast waits for the task of a job's last fire, which may not be inserted yet.
func (w *jobs) awaitLast(app *af.App, j af.Job) {
	w.Helper()
	if !j.Fired.IsZero() {
		w.sees("the last task of "+j.ID, func() bool {
			_, err := app.GetTask(w.Context(), fmt.Sprintf("job/%s/%d", j.ID, j.Fired.Unix()))
			return err == nil
		})
	}
}

// clocked is a backend whose clock is ahead, or whose Apps don't see each other's schedulers.
type clocked struct {
	af.Backend
	w *jobs
}

func (c clocked) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := c.Backend.Open(ctx, env)
	if err == nil {
		ports.Store, ports.Coordinator = clockedStore{ports.Store, c.w}, lonely{ports.Coordinator, c.w}
	}
	return ports, err
}

type clockedStore struct {
	backend.Store
	w *jobs
}

func (s clockedStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Now(ctx)
	return now.Add(time.Duration(s.w.ahead.Load())), err
}

type lonely struct {
	backend.Coordinator
	w *jobs
}

func (l lonely) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	if kind == "scheduler" && l.w.alone.Load() {
		return nil, errors.New("members are hidden")
	}
	return l.Coordinator.Present(ctx, kind)
}
