package apptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	af "github.com/afgen/afgen/runtime"
)

const hour = 3600

// missedWithoutApp makes jobs miss ten hours, and restarts five minutes after the last due time.
func missedWithoutApp(w *jobs) {
	first, q := w.app()
	policies := map[string]struct {
		opts    []af.JobOption
		fired   []int
		skipped int
	}{
		"skip": {[]af.JobOption{af.Missed(af.MissedSkip)}, nil, 10},
		"once": {nil, []int{10 * hour}, 9},
		"all": {[]af.JobOption{af.Missed(af.MissedAll)},
			[]int{hour, 2 * hour, 3 * hour, 4 * hour, 5 * hour, 6 * hour, 7 * hour, 8 * hour, 9 * hour, 10 * hour}, 0},
		"window": {[]af.JobOption{af.MissedWindow(3*time.Hour + 30*time.Minute)},
			[]int{7 * hour, 8 * hour, 9 * hour, 10 * hour}, 6},
	}
	for id, p := range policies {
		w.schedule(q, id, "@every 1h", p.opts...)
	}
	w.close(first)
	w.ahead.Store(int64(10*time.Hour + 5*time.Minute))
	second, _ := w.app()
	for id, p := range policies {
		w.sees("the ten due times of "+id, func() bool { return w.told(second, id) >= 10 })
		j := w.job(second, id)
		w.wantTasks(second, id, j.Created, p.fired)
		if n := w.skipped(second, id, af.SkippedMissed); n != p.skipped {
			w.Errorf("%s: %d skipped, want %d", id, n, p.skipped)
		}
		if n := len(p.fired); n > 0 && j.Fired.Unix() != j.Created.Unix()+int64(p.fired[n-1]) ||
			n == 0 && !j.Fired.IsZero() ||
			j.Next.Unix() != j.Created.Unix()+11*hour {
			w.Errorf("%s: %+v", id, j)
		}
	}
}

// missedSeconds makes jobs miss a hundred seconds. A delay of up to 30 s is not missed.
func missedSeconds(w *jobs) {
	app, q := w.app()
	w.schedule(q, "all", "* * * * * *", af.Missed(af.MissedAll))
	w.schedule(q, "once", "* * * * * *")
	w.awaitRuns("all", 1)
	w.awaitRuns("once", 1)
	w.must(app.StopScheduler(w.Context()))
	before := w.job(app, "once").Fired
	w.ahead.Store(int64(100 * time.Second))
	w.must(app.StartScheduler(w.Context()))
	for _, id := range []string{"all", "once"} {
		w.within(patience, "due times after the break", func() bool {
			ran := w.ran(id, before)
			return len(ran) > 0 && slices.Max(ran) > 102
		})
	}
	all := w.disable(app, "all")
	w.wantTasks(app, "all", all.Created, seconds(1, int(all.Fired.Unix()-all.Created.Unix())))
	if n := w.skipped(app, "all", af.SkippedMissed); n != 0 {
		w.Errorf("%d skipped, want 0", n)
	}
	w.wantAllTold(app, all)
	once := w.disable(app, "once")
	w.wantAllTold(app, once)
	fired, _ := w.tasks(app, errandWorker.Name, "once", before)
	last := int(once.Fired.Unix() - before.Unix())
	late := slices.IndexFunc(fired, func(s int) bool { return s > 0 }) // the first on time
	if late < 0 || fired[late] <= 60 || !slices.Equal(fired[late:], seconds(fired[late], last)) {
		w.Errorf("after the break tasks for %v", fired)
	} else if n := w.skipped(app, "once", af.SkippedMissed); n != fired[late]-1 {
		w.Errorf("%d skipped, want %d", n, fired[late]-1)
	}
}

// overlaps blocks the tasks of jobs that are due every second.
func overlaps(w *jobs) {
	app, q := w.app()
	hold := func(id string, policy af.OverlapPolicy) (began chan string, end chan struct{}, all func()) {
		began = make(chan string, 1000)
		end, all = w.latch()
		w.on(id, func(ctx context.Context, _ errand) error {
			began <- af.TaskFrom(ctx).ID
			select {
			case <-end:
			case <-ctx.Done():
			}
			return nil
		})
		w.schedule(q, id, "@every 1s", af.Overlap(policy))
		return began, end, all
	}
	skip, _, endSkip := hold("skip", af.OverlapSkip)
	allow, _, endAllow := hold("allow", af.OverlapAllow)
	queue, endOne, endQueue := hold("queue", af.OverlapQueue)
	next := func(began chan string) string {
		w.Helper()
		select {
		case id := <-began:
			return id
		case <-time.After(patience):
			w.Fatal("no task began")
			return ""
		}
	}

	next(allow)
	next(allow) // while the first has not ended
	endAllow()

	next(skip)
	w.sees("three due times that are skipped", func() bool { return w.skipped(app, "skip", af.SkippedOverlap) >= 3 })
	if due, _ := w.tasks(app, errandWorker.Name, "skip", time.Time{}); len(due) != 1 {
		w.Errorf("skip: %d tasks at once", len(due))
	}
	endSkip()
	next(skip)
	j := w.disable(app, "skip")
	w.wantAllTold(app, j)

	first := next(queue)
	w.sees("due times that wait", func() bool { return w.job(app, "queue").Waiting >= 3 })
	if due, _ := w.tasks(app, errandWorker.Name, "queue", time.Time{}); len(due) != 1 {
		w.Errorf("queue: %d tasks at once", len(due))
	}
	j = w.job(app, "queue")
	for n := 1; n <= 3; n++ {
		if want := fmt.Sprint("job/queue/", j.Created.Unix()+int64(n)); first != want {
			w.Errorf("queue: %s began, want %s", first, want)
		}
		if len(queue) != 0 {
			w.Error("queue: two tasks at once")
		}
		endOne <- struct{}{}
		first = next(queue)
	}
	w.sees("the fourth fire, and no later one", func() bool {
		return w.job(app,
			"queue").Fired.Unix() == j.Created.Unix()+4
	})
	w.disable(app, "queue") // waiting ones are dropped
	endQueue()
	w.pass("allow", 3)
	if due, _ := w.tasks(app, errandWorker.Name, "queue", j.Created); !slices.Equal(due, seconds(1, 4)) {
		w.Errorf("queue: tasks for %v after it was disabled", due)
	}
}

// runsManually makes the task of a manual run overlap with due times.
func runsManually(w *jobs) {
	app, q := w.app()
	client := w.operator()
	end, all := w.latch()
	var runs atomic.Int32
	w.on("j", func(ctx context.Context, _ errand) error {
		runs.Add(1)
		select {
		case <-end:
		case <-ctx.Done():
		}
		return nil
	})
	w.schedule(q, "j", "@every 1s", af.Overlap(af.OverlapSkip), af.Disabled())
	hand := []string{must(client.RunJob(w.Context(), "j"))(w.world), must(client.RunJob(w.Context(), "j"))(w.world)}
	w.within(patience, "both run", func() bool { return runs.Load() == 2 })
	w.must(client.EnableJob(w.Context(), "j"))
	w.sees("due times that are skipped", func() bool { return w.skipped(client, "j", af.SkippedOverlap) >= 2 })
	if due, manual := w.tasks(client, errandWorker.Name, "j", time.Time{}); len(due) != 0 ||
		len(manual) != 2 || hand[0] == hand[1] {
		w.Errorf("tasks for %v, and manual %v", due, manual)
	}
	all()
	w.awaitRuns("j", 1)
	var noted []string
	for _, f := range w.fires(app, "j") {
		if f.TaskID != "" && f.Due.IsZero() && f.Job == "j" && f.Skipped == "" {
			noted = append(noted, f.TaskID)
		}
	}
	if !slices.Equal(noted, hand) {
		w.Errorf("the history has manual runs %v, want %v", noted, hand)
	}
}

// retriedFire retries failed tasks of a job. A retry counts as an earlier task.
func retriedFire(w *jobs) {
	app, q := w.app()
	client := w.operator()
	end, all := w.latch()
	var hold atomic.Bool
	var running, most, runs atomic.Int32
	w.on("j", func(ctx context.Context, _ errand) error {
		if !hold.Load() {
			return af.Permanent(errors.New("not now"))
		}
		most.Store(max(most.Load(), running.Add(1)))
		runs.Add(1)
		defer running.Add(-1)
		select {
		case <-end:
		case <-ctx.Done():
		}
		return nil
	})
	w.schedule(q, "j", "@every 1s", af.Overlap(af.OverlapSkip), af.AllowIPs("192.0.2.1"))
	var failed []string
	w.sees("two fires that failed", func() bool {
		failed = nil
		for _, t := range must(app.Tasks(w.Context(),
			af.TaskQuery{Queue: errandWorker.Name, Statuses: []af.Status{af.StatusFailed}}))(w.world).Tasks {
			failed = append(failed, t.ID)
		}
		return len(failed) >= 2
	})
	w.disable(app, "j")
	w.sees("no fire is live", func() bool {
		page := must(app.Tasks(w.Context(), af.TaskQuery{
			Queue:    errandWorker.Name,
			Statuses: []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying},
		}))(w.world)
		return page.Total == 0 && len(must(app.Fires(w.Context(), af.FireQuery{Job: "j"}))(w.world).Fires) > 0
	})
	hold.Store(true)
	retry := must(client.RetryTask(w.Context(), failed[0]))(w.world)
	w.within(patience, "the retry runs", func() bool { return runs.Load() == 1 })
	if t := must(q.Get(w.Context(), retry))(w.world); t.RetryOf != failed[0] ||
		!slices.Equal(t.Allow, []string{"192.0.2.1"}) {
		w.Errorf("the retry of a fire: %+v", t)
	}
	if again, err := client.RetryTask(w.Context(), failed[0]); again != retry || err != nil {
		w.Errorf("retried again it is %s, %v; want %s", again, err, retry)
	}
	if _, err := client.RetryTask(w.Context(), failed[1]); !errors.Is(err, af.ErrFailedPrecondition) {
		w.Errorf("a concurrent second retry: %v", err)
	}
	w.must(client.EnableJob(w.Context(), "j"))
	w.sees("due times that are skipped", func() bool { return w.skipped(client, "j", af.SkippedOverlap) >= 2 })
	if runs.Load() != 1 || most.Load() != 1 {
		w.Errorf("%d runs, %d at once", runs.Load(), most.Load())
	}
	w.must(client.DisableJob(w.Context(), "j"))
	all()
	w.within(patience, "the retry has ended", func() bool {
		return must(app.TaskStatus(w.Context(),
			retry))(w.world).Final()
	})
	w.within(patience, "the other one is retried", func() bool {
		_, err := client.RetryTask(w.Context(), failed[1])
		return err == nil
	})
}
