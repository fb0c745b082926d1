package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// deployJobs starts a program that declares these jobs with its worker.
func deployJobs(t *testing.T, b af.Backend, jobs ...af.DeclaredJob) *af.App {
	t.Helper()
	w := jobWorker
	w.Jobs = jobs
	app, _ := work(t, b, w, same)
	return app
}

func TestDeclaredJobsFollowTheProgram(t *testing.T) {
	testkit.Long(t, "takes seconds with the race detector")
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		ports := must(b.Open(t.Context(), backend.Env{}))(t)
		defer func() { _ = ports.Close(t.Context()) }()
		revision := func(id string) int64 { return must(ports.Docs.Get(t.Context(), "jobs/"+id))(t).Revision }
		ctx := t.Context()

		a, gone := af.DeclaredJob{ID: "a", Cron: "0 * * * * *"}, af.DeclaredJob{ID: "gone", Cron: "@daily"}
		first := deployJobs(t, b, a, gone)
		must(0, af.NewQueue[int, int](first, jobWorker).Schedule(ctx, "own", "@hourly", 3))(t)
		must(0, first.DisableJob(ctx, "a"))(t)
		before := revision("a")
		time.Sleep(time.Hour)
		deployJobs(t, b, a, gone)
		if revision("a") != before {
			t.Error("an unchanged job was written again")
		}
		if j := must(first.Job(ctx, "a"))(t); !j.Disabled || !j.Declared || string(j.Payload) != "0" {
			t.Errorf("%+v", j)
		}

		a.Cron, a.Zone, a.Allow = "0 30 * * * *", "Europe/Berlin", []string{"192.0.2.0/24"}
		second := deployJobs(t, b, a)
		page := must(second.Jobs(ctx, af.JobQuery{}))(t)
		var ids []string
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
		if !slices.Equal(ids, []string{"a", "own"}) {
			t.Errorf("jobs %v: want only declared and scheduled ones", ids)
		}
		if j := page.Jobs[0]; !j.Disabled || j.Cron != a.Cron || j.Zone != a.Zone || j.Allow[0] != "192.0.2.0/24" {
			t.Errorf("%+v", j)
		}
		must(0, second.EnableJob(ctx, "a"))(t)
		last, writes := revision("a"), 0
		for range 61 { // while both versions run, they do not overwrite each other in turn
			time.Sleep(time.Minute)
			if now := revision("a"); now != last {
				last, writes = now, writes+1
			}
		}
		if n := len(jobTasks(t, b, "job")); n != 3 {
			t.Errorf("%d tasks, want one of a and two of own", n)
		}
		if writes > 20 {
			t.Errorf("written %d times", writes)
		}
	})
}

func TestStartReturnsErrorsOfDeclaredJobs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		app := open(t, memory.New())
		w := jobWorker
		w.Jobs = []af.DeclaredJob{{ID: "a", Cron: "@never"}, {ID: "b", Cron: "@daily"}, {ID: "b", Cron: "@hourly"}}
		af.RegisterWorker(app, w, &job{})
		af.HandleJob[int](app, "nil", "@daily", nil)
		af.HandleJob[int](app, "nil", "@daily", nil)
		af.HandleJob(app, "text", "@daily", func(context.Context, int) error { return nil }, af.Arguments("text"))
		af.HandleJob(app, "text", "@daily", func(context.Context, int) error { return nil })
		af.HandleJob(app, "chan", "@daily", func(context.Context, chan int) error { return nil },
			af.Arguments(make(chan int)))
		err := app.Start(t.Context())
		for _, says := range []string{
			"function is nil", "the function takes int, but Arguments is string", "encoding the arguments",
			"unknown descriptor @never",
			testPackage + `.RegisterJob: job "a"`,
			`job "b" is declared twice: by ` + testPackage + `.Job and ` + testPackage + ".Job",
			`queue "job.nil" is registered twice: by HandleJob "nil" and HandleJob "nil"`,
			`queue "job.text" is registered twice: by HandleJob "text" in ` + testPackage,
		} { // all errors are returned together
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want text %q", err, says)
			}
		}
	})
}

// A function can be a job. It has arguments of its type, and runs once for each due time in the cluster.
func TestHandleJob(t *testing.T) {
	type report struct{ Day, Kind string }
	bubble.Test(t, func(t *testing.T) {
		b := memory.New()
		from := time.Now()
		var mu sync.Mutex
		var got []string
		for range 2 {
			app := open(t, b)
			af.HandleJob(app, "reports", "*/20 * * * * *", func(ctx context.Context, r report) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(int64(time.Since(from)/time.Second), r, af.TaskFrom(ctx).ID))
				if len(got) == 2 {
					return af.Permanent(af.Errorf(af.ErrDataLoss, "this day is lost"))
				}
				return nil
			}, af.Arguments(report{"monday", "short"}), af.Overlap(af.OverlapSkip))
			start(t, app)
		}
		time.Sleep(61 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		var want []string
		for _, s := range []int64{20, 40, 60} {
			want = append(want, fmt.Sprint(s, report{"monday", "short"}, "job/reports/", from.Unix()+s))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if task := jobTasks(t, b, "job.reports")[fmt.Sprint("job/reports/",
			from.Unix()+40)]; task.Status != af.StatusFailed || task.Error.Code != af.ErrDataLoss {
			t.Errorf("%+v", task)
		}
	})
}

// A scheduler that hangs after its decision reads the job again before it submits tasks: another one may have submitted
// them, and they may have been deleted.
func TestSchedulerThatHungReadsAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		world := fault.Around(memory.New())
		var hung hanging
		leader := open(t, altered{fault.New(world, 1, fault.Plan{}), func(p *backend.Ports) {
			p.Docs, p.Store = hangingDocs{p.Docs, &hung}, hangingStore{p.Store, &hung}
		}})
		start(t, leader)
		from := time.Now()
		q := followLeader(t, leader, fault.New(world, 2, fault.Plan{}))
		must(0, q.Schedule(t.Context(), "j", "@every 1m", 1))(t)
		time.Sleep(50 * time.Second)
		hung.mu.Lock()
		hung.next = true
		hung.mu.Unlock()
		time.Sleep(40 * time.Second)
		wantFires(t, jobTasks(t, world, "job"), "j", from, 60)
		hung.mu.Lock()
		defer hung.mu.Unlock()
		if hung.hung != 1 || len(hung.inserted) > 0 {
			t.Errorf("it hung %d times and submitted %v", hung.hung, hung.inserted)
		}
	})
}

// hanging is a backend that blocks for 7 s after the next write of a job.
type hanging struct {
	mu       sync.Mutex
	next     bool
	hung     int
	inserted []string
}

type hangingDocs struct {
	backend.Docs
	h *hanging
}

func (d hangingDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	puts, err := d.Docs.PutAll(ctx, docs)
	d.h.mu.Lock()
	hang := d.h.next && strings.HasPrefix(docs[0].Name, "jobs/")
	d.h.next = d.h.next && !hang
	if hang {
		d.h.hung++
	}
	d.h.mu.Unlock()
	if hang {
		time.Sleep(7 * time.Second)
	}
	return puts, err
}

type hangingStore struct {
	backend.Store
	h *hanging
}

func (s hangingStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	s.h.mu.Lock()
	for _, n := range tasks {
		s.h.inserted = append(s.h.inserted, n.Task.ID)
	}
	s.h.mu.Unlock()
	return s.Store.Insert(ctx, tasks)
}

type registrar struct{ workers []af.WorkerSpec }

func (*registrar) AddService(af.ServiceSpec)      {}
func (r *registrar) AddWorker(spec af.WorkerSpec) { r.workers = append(r.workers, spec) }

func TestHandleJobInChildProcess(t *testing.T) {
	var r registrar
	af.HandleJob(&r, "j", "@daily", func(context.Context, int) error { return nil }, af.ChildProcess())
	af.HandleJob(&r, "k", "@daily", func(context.Context, int) error { return nil })
	if r.workers[0].Isolation != "process" || r.workers[1].Isolation != "" || r.workers[0].Name != "job.j" ||
		len(r.workers[0].Jobs) != 1 {
		t.Errorf("%+v", r.workers)
	}
}

// An App that starts while the document store is unavailable declares its jobs when it is available again.
func TestDeclaredJobsArePutOnceDocsAreAvailable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		app := deployJobs(t, unreadable(memory.New(), &down), af.DeclaredJob{ID: "a", Cron: "@every 10s"})
		time.Sleep(time.Minute)
		down.Store(false)
		time.Sleep(time.Minute)
		if page := must(app.Fires(t.Context(), af.FireQuery{Job: "a"}))(t); page.Total < 4 {
			t.Errorf("fires: %+v", page)
		}
	})
}
