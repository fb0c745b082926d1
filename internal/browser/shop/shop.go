// Package shop is the system of a shop that does not exist: its queues, tasks, jobs, services and machines, as an
// admin.API. Nothing runs. All of it, and the time, is fixed, so pages that show it are always the same.
//
//	h := dashboard.HandlerOf(shop.New(), dashboard.Clock(shop.Clock), dashboard.Authorize(adminhttp.Anyone))
package shop

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend"
)

// now is a Thursday, shortly after lunch in Berlin.
var now = time.Date(2026, 3, 12, 13, 42, 10, 0, time.UTC)

// Clock returns the time at which the shop is seen.
func Clock() time.Time { return now }

// before returns a time before now.
func before(d time.Duration) time.Time { return now.Add(-d) }

// Tasks that have pages worth seeing.
var (
	Invoice = id("invoice 7001")             // has failed three times, and is tried again
	Import  = id("import spring-collection") // runs, with subtasks of two levels, progress and a log
	Mail    = id("mail")                     // waits in a paused queue
)

// Names of other things that have pages worth seeing.
const (
	Queue   = "thumbnails"
	Job     = "stock-sync"
	Service = "pricing"
	Method  = "Quote"
)

// id returns an id like that of a task, from a name.
func id(name string) string {
	return "3OCQ" + hash(name)[:22]
}

func hash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base32.StdEncoding.EncodeToString(sum[:])
}

// New returns the shop. It can be read, not changed: methods of admin.Writer panic, except Call of [Method].
func New() admin.API { return &system{} }

type system struct{ admin.Writer }

func health() af.Health {
	h := af.Health{State: "running", Ready: true, Backend: "servers", Degraded: []string{}}
	for _, name := range []string{"mongodb", "redis", "rabbitmq"} {
		h.Conditions = append(h.Conditions, af.Condition{Name: name, Up: true, Since: before(9 * 24 * time.Hour)})
	}
	return h
}

func (*system) Health(context.Context) (af.Health, error) { return health(), nil }

func (*system) Overview(context.Context) (admin.Overview, error) {
	o := admin.Overview{Queues: queues(), Hour: history(now, time.Minute, 60, ""), Counts: map[af.Status]af.Count{},
		Instances: len(fleet), Nodes: len(nodes()), Jobs: len(jobs()), Oldest: before(26 * time.Minute)}
	o.Health = health()
	for _, q := range o.Queues {
		for s, n := range q.Counts {
			o.Counts[s] = af.Count{N: o.Counts[s].N + n.N}
		}
	}
	return o, nil
}

func (*system) Queues(context.Context) ([]af.QueueInfo, error) { return queues(), nil }

// queues returns the queues, sorted.
func queues() []af.QueueInfo {
	queue := func(name string, workers, slots, running, waiting, retrying, success, failed int) af.QueueInfo {
		return af.QueueInfo{Name: name, Workers: workers, Slots: slots, Running: running, Served: now,
			Counts: map[af.Status]af.Count{af.StatusRunning: {N: running}, af.StatusPending: {N: waiting},
				af.StatusRetrying: {N: retrying}, af.StatusSuccess: {N: success}, af.StatusFailed: {N: failed}}}
	}
	six := 6
	all := []af.QueueInfo{
		queue("emails", 3, 0, 0, 1863, 0, 48_211, 12),
		queue("exports", 0, 0, 0, 4, 0, 310, 0),
		queue("import-rows", 2, 32, 32, 184, 0, 121_406, 57),
		queue("imports", 2, 4, 1, 0, 0, 412, 2),
		queue("invoices", 3, 12, 2, 0, 14, 9_820, 9),
		queue("receipts", 3, 24, 5, 0, 1, 30_774, 3),
		queue("search-index", 2, 8, 0, 0, 0, 15_102, 0),
		queue(Queue, 3, 18, 18, 97, 3, 61_870, 31),
	}
	all[0].Oldest = before(26 * time.Minute)
	all[0].Limits = af.Limits{Paused: true, Changed: before(26 * time.Minute), By: "ann@shop.example",
		Reason: "the provider answers 421 until 15:00"}
	all[1].Oldest, all[1].Served = before(3*time.Minute), before(3*time.Hour)
	all[2].Oldest, all[7].Oldest = before(8*time.Second), before(11*time.Second)
	all[7].Limits = af.Limits{Max: &six, Changed: before(50 * time.Minute), By: "bob@shop.example",
		Reason: "the bucket answers 503 above 18"}
	return all
}

func (*system) History(_ context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error) {
	if q.Step == time.Hour {
		return history(now, time.Hour, 24, q.Queue), nil
	}
	return history(now, time.Minute, 60, q.Queue), nil
}

func (*system) Logs(ctx context.Context, task string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		if task == Import && !yield(importLog, nil) {
			return
		}
		<-ctx.Done()
	}
}

// Watch yields that pages must be read, once: nothing changes here.
func (*system) Watch(ctx context.Context, _ admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	return func(yield func(admin.Tick, error) bool) {
		if yield(admin.Tick{Kind: admin.KindStart}, nil) {
			<-ctx.Done()
		}
	}
}

// Call answers [Method].
func (*system) Call(context.Context, admin.Call, admin.Action) (json.RawMessage, error) {
	return json.RawMessage(`{"total":{"cents":28880,"currency":"EUR"},"until":"2026-03-12T14:00:00Z"}`), nil
}

func (*system) Tasks(_ context.Context, q af.TaskQuery) (af.TaskPage, error) {
	all := slices.DeleteFunc(tasks(), func(t af.Task) bool {
		return q.Queue != "" && t.Queue != q.Queue || len(q.Statuses) > 0 && !slices.Contains(q.Statuses, t.Status)
	})
	if q.Sort == af.TasksByEnd {
		slices.SortStableFunc(all, func(a, b af.Task) int { return b.Ended.Compare(a.Ended) })
	}
	total := 10_000
	if q.Limit > 0 && len(all) > q.Limit {
		all = all[:q.Limit]
	}
	return af.TaskPage{Tasks: all, Total: total, AtLeast: true, Cursor: "next"}, nil
}

func (*system) Task(_ context.Context, task string) (admin.Task, error) {
	switch task {
	case Invoice:
		return invoice(), nil
	case Import:
		return importTask(), nil
	case Mail:
		return mail(), nil
	}
	all := tasks()
	if at := slices.IndexFunc(all, func(t af.Task) bool { return t.ID == task }); at >= 0 {
		return admin.Task{Task: all[at], Why: &admin.Explanation{Rules: []admin.Finding{{Rule: admin.RuleEnded,
			Text: "It ended."}}}}, nil
	}
	return admin.Task{}, af.Errorf(af.ErrNotFound, "no task %q", task)
}

func (s *system) Why(ctx context.Context, task string) (admin.Explanation, error) {
	t, err := s.Task(ctx, task)
	if err != nil {
		return admin.Explanation{}, err
	}
	return *t.Why, nil
}

func (*system) Tree(_ context.Context, q admin.TreeQuery) (admin.TreePage, error) {
	if q.ID != Import {
		return admin.TreePage{}, nil
	}
	return admin.TreePage{Nodes: tree(), Cursor: "more"}, nil
}

func (*system) Jobs(context.Context, af.JobQuery) (af.JobPage, error) {
	return af.JobPage{Jobs: jobs(), Total: len(jobs())}, nil
}

func (*system) Job(_ context.Context, job string) (af.Job, error) {
	for _, j := range jobs() {
		if j.ID == job {
			return j, nil
		}
	}
	return af.Job{}, af.Errorf(af.ErrNotFound, "no job %q", job)
}

func (*system) Services(_ context.Context, q af.ServiceQuery) (af.ServicePage, error) {
	all := slices.DeleteFunc(services(), func(s af.ServiceInfo) bool { return q.Name != "" && s.Name != q.Name })
	return af.ServicePage{Services: all, Total: len(all)}, nil
}

func (*system) Workers(_ context.Context, q af.WorkerQuery) (af.WorkerPage, error) {
	all := slices.DeleteFunc(workers(), func(w af.WorkerInfo) bool { return q.Queue != "" && w.Queue != q.Queue })
	return af.WorkerPage{Workers: all, Total: len(all)}, nil
}

func (*system) Instances(context.Context, af.InstanceQuery) (af.InstancePage, error) {
	return af.InstancePage{Instances: fleet, Total: len(fleet)}, nil
}

func (*system) Nodes(_ context.Context, q af.NodeQuery) (af.NodePage, error) {
	all := nodes()
	if q.Gone {
		all = append(all, gone)
	}
	return af.NodePage{Nodes: all, Total: len(all)}, nil
}

// at returns an attempt of an instance that has ended.
func at(n int, on af.InstanceInfo, started time.Time, took time.Duration, code af.Code, message string) af.Attempt {
	a := af.Attempt{Attempt: n, Fence: int64(n), Instance: on.ID, IP: on.IP, Started: started, Ended: started.Add(took),
		Outcome: backend.AttemptSucceeded, Code: code, Message: message}
	if code != "" {
		a.Outcome = backend.AttemptFailed
	}
	return a
}

// line returns a line of a log.
func line(at time.Time, level, text string) string {
	return "time=" + at.Format("2006-01-02T15:04:05.000Z") + " level=" + level + " " + strings.TrimSpace(text)
}
