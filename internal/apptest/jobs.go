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

// Jobs checks what becomes of the due times of jobs on the backends that open returns. Jobs are due every second, by the
// store's clock, which the behaviours put forward instead of waiting: so all of it takes seconds. The process that runs it
// calls [JobChild] where it is a child process.
func Jobs(t *testing.T, open func(t *testing.T) af.Backend) {
	var all sync.WaitGroup
	for _, b := range []struct {
		name string
		do   func(w *jobs)
	}{
		{"missed_while_down", missedWithoutApp},           // the policy decides how due times are made up for
		{"missed_seconds", missedSeconds},                 // the scheduler is stopped; each second becomes one task
		{"overlap_policies", overlaps},                    // a due time while the last task runs is skipped, fired, or waits
		{"manual_run", runsByHand},                        // it counts as an earlier task, and no policy delays it
		{"retried_fire", retriedFire},                     // it counts as an earlier task
		{"disabled", disabled},                            // a disabled job does not fire, across restarts, and nothing counts as missed
		{"replaced", replaced},                            // a job is replaced if it differs, and its timetable if the schedule differs
		{"removed", removed},                              // a removed job loses its history, and can be added again
		{"lists", listed},                                 // jobs and fires are listed by filter, order and page
		{"scheduler_stops_and_starts", stoppedAndStarted}, // while the App runs
		{"two_leaders", twoLeaders},                       // they make one task of a due time
		{"functions", functions},                          // they have arguments of their own type
		{"functions_in_child_process", childProcesses},
	} {
		all.Go(func() { // side by side whatever -parallel says, for they mostly wait
			t.Run(b.name, func(t *testing.T) {
				w := &jobs{do: map[string]func(context.Context, errand) error{}}
				w.world = &world{T: t, backend: clocked{open(t), w}}
				b.do(w)
			})
		})
	}
	all.Wait()
}

// jobs is a world of jobs: its store's clock, and what has become of their tasks.
type jobs struct {
	*world
	ahead atomic.Int64 // of the store's clock, in nanoseconds
	alone atomic.Bool  // no App knows of another

	mu   sync.Mutex
	do   map[string]func(context.Context, errand) error // by the job
	runs []run
}

// An errand is what the jobs of these tests are for: a payload with some depth.
type errand struct {
	For  string
	N    int       `json:"n,omitempty"`
	List []float64 `json:"list,omitempty"`
	At   time.Time
}

// A run is what a handler saw.
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

// on has the tasks of a job do something.
func (w *jobs) on(job string, do func(context.Context, errand) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do[job] = do
}

// app opens an App that works.
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

// latch returns a channel and what closes it: at the latest the end of the test, before its Apps shut down.
func (w *jobs) latch() (end chan struct{}, release func()) {
	end = make(chan struct{})
	release = sync.OnceFunc(func() { close(end) })
	w.Cleanup(release)
	return end, release
}

// schedule puts a job for errands of its name.
func (w *jobs) schedule(q af.VoidQueue[errand], id, cron string, opts ...af.JobOption) {
	w.Helper()
	w.must(q.Schedule(w.Context(), id, cron, errand{For: id}, opts...))
}

func (w *jobs) job(app *af.App, id string) af.Job {
	w.Helper()
	return must(app.Job(w.Context(), id))(w.world)
}

// sees waits until something that is read from the store holds.
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

// tasks returns the tasks of a job: those of due times, in seconds since from, sorted; and those by hand.
func (w *jobs) tasks(app *af.App, queue, job string, from time.Time) (due []int, byHand []string) {
	w.Helper()
	for q := (af.TaskQuery{Queue: queue, Limit: 1000}); ; {
		page := must(app.Tasks(w.Context(), q))(w.world)
		for _, t := range page.Tasks {
			of, ok := strings.CutPrefix(t.ID, "job/"+job+"/")
			if !ok {
				continue
			}
			if t.Status == af.StatusStopped && t.Attempt == 0 {
				continue // it keeps a fire from being submitted after its job was disabled
			}
			if at, err := strconv.ParseInt(of, 10, 64); err == nil {
				due = append(due, int(at-from.Unix()))
			} else {
				byHand = append(byHand, t.ID)
			}
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			slices.Sort(due)
			return due, byHand
		}
	}
}

// ran returns the due times that a job's tasks were run for, in seconds since from, in the order in which they began.
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

// awaitRuns waits until tasks of a job were run for n due times.
func (w *jobs) awaitRuns(job string, n int) {
	w.Helper()
	w.within(patience, fmt.Sprintf("%d runs of %q", n, job), func() bool { return len(w.ran(job, time.Time{})) >= n })
}

// pass waits until n more due times of a job have come to tasks, which shows that a scheduler had time for others.
func (w *jobs) pass(job string, n int) {
	w.Helper()
	w.awaitRuns(job, len(w.ran(job, time.Time{}))+n)
}

// seconds is each second from one to another.
func seconds(from, to int) (list []int) {
	for s := from; s <= to; s++ {
		list = append(list, s)
	}
	return list
}

// wantTasks checks for which due times a job has tasks, in seconds since from, that each has been run once, and that the
// history tells of them and of no other task.
func (w *jobs) wantTasks(app *af.App, job string, from time.Time, want []int) {
	w.Helper()
	if got, _ := w.tasks(app, errandWorker.Name, job, from); !slices.Equal(got, want) {
		w.Errorf("%q has tasks for %v, want %v", job, got, want)
	}
	w.within(patience, fmt.Sprintf("%q has run for %d due times", job, len(want)), func() bool { return len(w.ran(job, from)) >= len(want) })
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

// skipped counts the due times of a job that came to nothing for a reason.
func (w *jobs) skipped(app *af.App, job, why string) (n int) {
	w.Helper()
	for _, f := range w.fires(app, job) {
		if f.Skipped == why {
			n += f.More + 1
		}
	}
	return n
}

// told counts the due times of which a job's history tells.
func (w *jobs) told(app *af.App, job string) (n int) {
	w.Helper()
	for _, f := range w.fires(app, job) {
		if !f.Due.IsZero() {
			n += f.More + 1
		}
	}
	return n
}

// wantAllTold checks that the history of a job that is due every second, and was never disabled before, tells of each of
// them, as a task or as skipped. There must be few enough for it to keep.
func (w *jobs) wantAllTold(app *af.App, j af.Job) {
	w.Helper()
	fires := w.fires(app, j.ID)
	due := int(fires[len(fires)-1].Due.Unix() - j.Created.Unix())
	if n := w.told(app, j.ID); n < due || n > due+1 { // one may just have come
		w.Errorf("the history of %q tells of %d due times of %d", j.ID, n, due)
	}
}

// disable disables a job and returns it as it is then. What was begun before has ended.
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

// awaitLast waits for the task of a job's last fire, which is on its way as soon as the job says so.
func (w *jobs) awaitLast(app *af.App, j af.Job) {
	w.Helper()
	if !j.Fired.IsZero() {
		w.sees("the last task of "+j.ID, func() bool {
			_, err := app.GetTask(w.Context(), fmt.Sprintf("job/%s/%d", j.ID, j.Fired.Unix()))
			return err == nil
		})
	}
}

// clocked is a backend whose clock is ahead, or whose Apps don't know of each other's schedulers.
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
		return nil, errors.New("nobody knows")
	}
	return l.Coordinator.Present(ctx, kind)
}
