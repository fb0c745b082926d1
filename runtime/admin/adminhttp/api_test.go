package adminhttp_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// The same calls have the same results and errors on an App, through a Guard, and over HTTP, whatever the backend.
func TestAPI(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testWrapped(t, func(*testing.T) af.Backend { return memory.New() }) })
	t.Run("embedded", func(t *testing.T) {
		testWrapped(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
	})
}

func testWrapped(t *testing.T, open func(*testing.T) af.Backend) {
	for name, wrap := range map[string]func(*testing.T, admin.API) admin.API{
		"direct": func(_ *testing.T, api admin.API) admin.API { return api },
		"guard": func(_ *testing.T, api admin.API) admin.API {
			return admin.Guard(api, admin.User{Name: "ann", Rights: admin.AllRights()})
		},
		"http": func(t *testing.T, api admin.API) admin.API {
			client, _ := serve(t, api, adminhttp.Options{Authorize: adminhttp.Anyone})
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := startOn(t, open(t))
			testAPI(t, app, wrap(t, admin.New(app)))
		})
	}
}

func testAPI(t *testing.T, app *af.App, api admin.API) {
	ctx := t.Context()
	act := admin.Action{By: "ann", Reason: "a test"}
	code := func(what string, err error, want af.Code, outcome af.Outcome) {
		t.Helper()
		var e *af.Error
		if !errors.As(err, &e) || e.Code != want || e.Outcome != outcome || e.Message == "" {
			t.Errorf("%s: got %#v, want %s, %v", what, err, want, outcome)
		}
	}
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	dry, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), ID: "a/b ?"},
		admin.Action{DryRun: true})
	if err != nil || dry.Created || dry.ID != "a/b ?" {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	for _, created := range []bool{true, false} {
		got, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), ID: "a/b ?",
			Metadata: af.Metadata{"tenant": "x"}}, act)
		if err != nil || got.ID != "a/b ?" || got.Created != created {
			t.Errorf("submitted %+v, %v", got, err)
		}
	}
	if _, err := app.WaitTask(ctx, "a/b ?"); err != nil {
		t.Fatal(err)
	}
	task, err := api.Task(ctx, "a/b ?")
	if err != nil || task.Status != af.StatusSuccess || task.Metadata["tenant"] != "x" || string(task.Payload) != "1" {
		t.Errorf("%+v, %v", task, err)
	}
	_, err = api.Task(ctx, "none")
	code("Task", err, af.ErrNotFound, af.OutcomeUnknown)
	_, err = api.Submit(ctx, admin.Submission{Payload: []byte("1")}, act)
	code("Submit", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	_, err = api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("1"), Delay: -1}, act)
	code("Submit", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	code("RunNow", api.RunNow(ctx, "a/b ?", admin.Action{DryRun: true}), af.ErrFailedPrecondition, af.OutcomeNotSent)

	bad, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("-1")}, act)
	ok("Submit", err)
	if _, err := app.WaitTask(ctx, bad.ID); err != nil {
		t.Fatal(err)
	}
	q := af.TaskQuery{Queue: "numbers", Statuses: []af.Status{af.StatusFailed, af.StatusStopped}, Limit: 10,
		After: time.Now().Add(-time.Hour), Sort: af.TasksByEnd}
	page, err := api.Tasks(ctx, q)
	if err != nil || len(page.Tasks) != 1 || page.Tasks[0].ID != bad.ID || page.Tasks[0].Error.Code != af.ErrOutOfRange {
		t.Errorf("%+v, %v", page, err)
	}
	want, err := app.Tasks(ctx, q)
	if err != nil || !reflect.DeepEqual(page, want) {
		t.Errorf("got %+v, want %+v, %v", page, want, err)
	}
	_, err = api.Tasks(ctx, af.TaskQuery{Limit: -1})
	code("Tasks", err, af.ErrInvalidArgument, af.OutcomeNotSent)
	id, err := api.Retry(ctx, admin.Retry{ID: bad.ID, Payload: []byte("2")}, act)
	if err != nil || id == "" {
		t.Errorf("%q, %v", id, err)
	}
	if retried, err := app.WaitTask(ctx, id); err != nil || string(retried.Payload) != "2" {
		t.Errorf("%v, %v", retried, err)
	}

	later, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("3"), Delay: time.Hour}, act)
	ok("Submit", err)
	ok("Reweigh", api.Reweigh(ctx, later.ID, 7, act))
	if task, err := app.GetTask(ctx, later.ID); err != nil || task.Weight != 7 {
		t.Errorf("weight %d, %v", task.Weight, err)
	}
	bulk, err := api.StopTasks(ctx, af.TaskQuery{Queue: "numbers", Statuses: []af.Status{af.StatusPending,
		af.StatusWaiting}}, admin.Action{By: "ann", DryRun: true})
	if err != nil || bulk.Matched != 1 || bulk.Changed != 1 {
		t.Errorf("%+v, %v", bulk, err)
	}
	ok("Stop", api.Stop(ctx, later.ID, act))
	if task, err := app.WaitTask(ctx, later.ID); err != nil || task.Status != af.StatusStopped {
		t.Errorf("%v, %v", task, err)
	}
	code("Stop", api.Stop(ctx, "none", act), af.ErrNotFound, outcomeOf(app.StopTask(ctx, "none")))
	ok("Delete", api.Delete(ctx, later.ID, act))

	ok("Pause", api.Pause(ctx, "numbers", act))
	code("Pause", api.Pause(ctx, "next", act), af.ErrNotFound, af.OutcomeNotSent)
	next := act
	next.Create = true
	ok("Pause", api.Pause(ctx, "next", admin.Action{DryRun: true, Create: true}))
	code("Pause", api.Pause(ctx, "next", act), af.ErrNotFound, af.OutcomeNotSent) // the dry run has changed nothing
	ok("Pause", api.Pause(ctx, "next", next))
	ok("Resume", api.Resume(ctx, "next", act))
	ok("SetMax", api.SetMax(ctx, admin.Limit{Queue: "numbers", Max: 1}, act))
	limits, err := app.QueueLimits(ctx, "numbers")
	if err != nil || !limits.Paused || limits.Max == nil || *limits.Max != 1 {
		t.Errorf("%+v, %v", limits, err)
	}
	ok("Resume", api.Resume(ctx, "numbers", act))
	ok("ResetMax", api.ResetMax(ctx, "numbers", "", act))

	ok("PutJob", api.PutJob(ctx, admin.Job{ID: "j", Cron: "0 0 * * *", Queue: "numbers", Payload: []byte("1"),
		Zone: "Europe/Berlin", Overlap: af.OverlapSkip}, act))
	ok("DisableJob", api.DisableJob(ctx, "j", act))
	job, err := api.Job(ctx, "j")
	wantJob, werr := app.Job(ctx, "j")
	if err != nil || werr != nil || !reflect.DeepEqual(job, wantJob) || !job.Disabled {
		t.Errorf("got %+v, %v, want %+v, %v", job, err, wantJob, werr)
	}
	disabled := true
	if jobs, err := api.Jobs(ctx, af.JobQuery{Prefix: "j", Disabled: &disabled}); err != nil || len(jobs.Jobs) != 1 {
		t.Errorf("%+v, %v", jobs, err)
	}
	ok("EnableJob", api.EnableJob(ctx, "j", act))
	if id, err := api.RunJob(ctx, "j", act); err != nil || id == "" {
		t.Errorf("%q, %v", id, err)
	}
	if fires, err := api.Fires(ctx, af.FireQuery{Job: "j"}); err != nil || len(fires.Fires) != 1 {
		t.Errorf("%+v, %v", fires, err)
	}
	for name, j := range map[string]admin.Job{
		"cron": {Cron: "0 25 * * *"}, "zone": {Cron: "@daily", Zone: "Mars/Olympus"},
		"allow":  {Cron: "@daily", Allow: []string{"x"}},
		"window": {Cron: "@daily", Window: -time.Hour}, "id": {Cron: "@daily", ID: "a\nb"},
	} {
		if j.ID == "" {
			j.ID = "j"
		}
		j.Queue, j.Payload = "numbers", []byte("1")
		dry := api.PutJob(ctx, j, admin.Action{DryRun: true})
		code("dry run with a wrong "+name, dry, af.ErrInvalidArgument, af.OutcomeNotSent)
		if err := api.PutJob(ctx, j, act); dry == nil || err == nil || err.Error() != dry.Error() {
			t.Errorf("wrong %s: dry run %v, but %v", name, dry, err)
		}
	}
	ok("dry run of PutJob", api.PutJob(ctx, admin.Job{ID: "dry", Cron: "@daily", Queue: "numbers", Payload: []byte("1")},
		admin.Action{DryRun: true}))
	_, err = api.Job(ctx, "dry")
	_, werr = app.Job(ctx, "dry")
	code("Job after a dry run", err, af.ErrNotFound, outcomeOf(werr))
	ok("RemoveJob", api.RemoveJob(ctx, "j", act))
	code("Job", func() error { _, err := api.Job(ctx, "j"); return err }(), af.ErrNotFound,
		outcomeOf(func() error { _, err := app.Job(ctx, "j"); return err }()))

	_, err = api.Call(ctx, admin.Call{Service: "none", Method: "None"}, act)
	code("Call", err, af.ErrUnavailable, af.OutcomeNotSent)
	if workers, err := api.Workers(ctx, af.WorkerQuery{Queue: "numbers"}); err != nil || len(workers.Workers) != 1 {
		t.Errorf("%+v, %v", workers, err)
	}
	audit, err := api.Audit(ctx, af.AuditQuery{Action: "task.stop"})
	if err != nil || len(audit.Entries) == 0 || audit.Entries[0].Reason != "a test" {
		t.Errorf("%+v, %v", audit, err)
	}
	testAudited(t, api, act)
	if o, err := api.Overview(ctx); err != nil || !o.Health.Ready || o.Instances != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	testTree(t, app, api)
	testWatch(t, app, api)
}

func testTree(t *testing.T, app *af.App, api admin.API) {
	t.Helper()
	ctx := t.Context()
	q := af.NewVoidQueue[int](app, af.Worker{Name: "unserved", Weight: 1})
	root, err := q.Submit(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	children, err := q.Subtasks(ctx, root, make([]int, 3), af.RunNow(), af.Batch("b"))
	if err != nil {
		t.Fatal(err)
	}
	for i, child := range children {
		want = append(want, "1 "+child)
		if i > 0 { // also below the last one
			below, err := q.Subtasks(ctx, child, make([]int, 2), af.RunNow(), af.Batch("b"))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, "2 "+below[0], "2 "+below[1])
		}
	}
	for _, limit := range []int{1, 2, 100} {
		var got []string
		for tq := (admin.TreeQuery{ID: root, Limit: limit}); ; {
			page, err := api.Tree(ctx, tq)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range page.Nodes {
				got = append(got, fmt.Sprint(n.Depth, " ", n.Task.ID))
				if n.Counts != nil && n.Counts[af.StatusPending].N+n.Counts[af.StatusWaiting].N != 2 {
					t.Errorf("%+v", n.Counts)
				}
			}
			if tq.Cursor = page.Cursor; tq.Cursor == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pages of %d: got %q, want %q", limit, got, want)
		}
	}
}

func testWatch(t *testing.T, app *af.App, api admin.API) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ids := map[string]bool{}
	id := ""
	for tick, err := range api.Watch(ctx, admin.WatchQuery{Kinds: []admin.Kind{admin.KindTasks}}) {
		if err != nil {
			t.Fatal(err)
		}
		if tick.Kind == admin.KindStart {
			if id, err = af.NewVoidQueue[int](app, numbers).Submit(ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range tick.IDs {
			ids[i] = true
		}
		if ids[id] {
			break
		}
	}
	if id == "" || !ids[id] {
		t.Errorf("no tick for %q", id)
	}
	for _, err := range api.Watch(ctx, admin.WatchQuery{Kinds: []admin.Kind{"x"}}) {
		if af.CodeOf(err) != af.ErrInvalidArgument {
			t.Errorf("unknown kind: %v", err)
		}
	}
}

// Submissions and calls are in the audit log, without payloads, arguments, and messages that may repeat these.
func testAudited(t *testing.T, api admin.API, act admin.Action) {
	t.Helper()
	ctx := t.Context()
	entries := func(action string) []af.AuditEntry {
		page, err := api.Audit(ctx, af.AuditQuery{Action: action})
		if err != nil {
			t.Fatal(err)
		}
		return page.Entries
	}
	before := len(entries("task.submit"))
	for range 2 { // the second one creates nothing
		_, err := api.Submit(ctx, admin.Submission{Queue: "numbers", Payload: []byte("4711"), ID: "audited"}, act)
		if err != nil {
			t.Fatal(err)
		}
	}
	got := entries("task.submit")
	if e := got[0]; len(got) != before+1 || e.Target != "audited" || e.Detail != "numbers" || e.Reason != act.Reason ||
		e.Error != "" {
		t.Errorf("%+v", e)
	}
	if _, err := api.Call(ctx, admin.Call{Service: "echo", Method: "Fail", Args: []byte(`{"text":"secret"}`)}, act); err ==
		nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("Fail: %v", err)
	}
	say := admin.Call{Service: "echo", Method: "Say", Args: []byte(`{"text":"secret"}`)}
	if _, err := api.Call(ctx, say, act); err != nil {
		t.Error(err)
	}
	calls := entries("service.call")
	if len(calls) != 2 || calls[0].Target != "echo.Say" || calls[0].Error != "" || calls[1].Target != "echo.Fail" ||
		!strings.Contains(calls[1].Error, "out_of_range") || strings.Contains(fmt.Sprint(calls), "secret") {
		t.Errorf("%+v", calls)
	}
}

func outcomeOf(err error) af.Outcome {
	if e, ok := errors.AsType[*af.Error](err); ok {
		return e.Outcome
	}
	return af.OutcomeUnknown
}
