package apptest

import (
	"errors"
	"slices"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// disabled disables and enables a job while another job keeps firing, which shows that time passes.
func disabled(w *jobs) {
	app, q := w.app()
	client := w.operator()
	w.schedule(q, "continuous", "@every 1s")
	w.schedule(q, "j", "@every 1s", af.Missed(af.MissedAll))
	w.schedule(q, "never", "@every 1s", af.Disabled())
	w.awaitRuns("j", 1)
	j := w.disable(client, "j")
	last := int(j.Fired.Unix() - j.Created.Unix())
	w.pass("continuous", 2)
	w.close(app)
	app, q = w.app()
	w.schedule(q, "j", "@every 1s", af.Missed(af.MissedAll)) // like a new version of the program
	w.pass("continuous", 2)
	w.wantTasks(app, "j", j.Created, seconds(1, last))
	hand := must(client.RunJob(w.Context(), "j"))(w.world)
	w.must(af.NewVoidQueue[errand](client, errandWorker).Wait(w.Context(), hand))

	w.must(client.EnableJob(w.Context(), "j"))
	w.must(client.EnableJob(w.Context(), "j"))
	w.awaitRuns("j", last+2)
	j = w.disable(client, "j")
	due, manual := w.tasks(client, errandWorker.Name, "j", j.Created)
	again := slices.IndexFunc(due, func(s int) bool { return s > last })
	if again != last || due[again] < last+3 || !slices.Equal(due[again:],
		seconds(due[again], int(j.Fired.Unix()-j.Created.Unix()))) {
		w.Errorf("tasks for %v; it was disabled after %d", due, last)
	}
	if !slices.Equal(manual, []string{hand}) {
		w.Errorf("manual %v, want %s", manual, hand)
	}
	if n := w.skipped(client, "j", af.SkippedMissed); n != 0 {
		w.Errorf("%d count as missed", n)
	}
	if due, _ := w.tasks(client, errandWorker.Name, "never", time.Time{}); len(due) > 0 {
		w.Errorf("a job created disabled has tasks for %v", due)
	}
}

// replaced puts a job again unchanged, with another payload, and with another cron expression.
func replaced(w *jobs) {
	app, q := w.app()
	ctx := w.Context()
	put := func(cron string, e errand, opts ...af.JobOption) af.Job {
		w.Helper()
		w.must(q.Schedule(ctx, "j", cron, e, opts...))
		return w.job(app, "j")
	}
	old := errand{For: "j", N: 1, List: []float64{0.1, 1e300}, At: time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)}
	first := put("@every 1s", old)
	w.awaitRuns("j", 1)
	if same := put(" @every  1s ", old, af.Zone("UTC"), af.Overlap(af.OverlapAllow)); !same.Created.Equal(first.Created) ||
		same.Fired.IsZero() {
		w.Errorf("the same again: %+v, want %+v", same, first)
	}
	other := old
	other.N, other.List = 2, nil
	if j := put("@every 1s", other, af.Timeout(time.Minute)); !j.Created.Equal(first.Created) || j.Timeout != time.Minute {
		w.Errorf("with another payload: %+v", j)
	}
	w.within(patience, "a run with the new payload", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.ContainsFunc(w.runs, func(r run) bool { return r.errand.N == 2 })
	})
	daily := put("30 4 * * *", other, af.Zone("Europe/Berlin"))
	if daily.Created.Before(first.Created) || daily.Next.Sub(daily.Created) > 26*time.Hour ||
		daily.Zone != "Europe/Berlin" {
		w.Errorf("with another time table: %+v", daily)
	}
	if berlin := daily.Next.In(must(time.LoadLocation("Europe/Berlin"))(w.world)); berlin.Hour() != 4 ||
		berlin.Minute() != 30 {
		w.Errorf("due at %v", berlin)
	}
	w.awaitLast(app, daily)
	w.wantTasks(app, "j", first.Created, seconds(1, int(daily.Fired.Unix()-first.Created.Unix())))
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for _, r := range w.runs { // runs of the last second may overtake each other
		changed = changed || r.errand.N == 2
		if e := r.errand; e.N == 1 && !slices.Equal(e.List, old.List) || e.N == 2 && e.List != nil ||
			!e.At.Equal(old.At) || e.For != "j" {
			w.Errorf("a run with %+v", e)
		}
	}
	if !changed {
		w.Error("no run with the new payload")
	}
}

// removed removes a job and puts it again while another job keeps firing.
func removed(w *jobs) {
	app, q := w.app()
	client := w.operator()
	ctx := w.Context()
	w.schedule(q, "continuous", "@every 1s")
	w.schedule(q, "j", "@every 1s")
	w.awaitRuns("j", 2)
	first := w.job(client, "j")
	w.must(client.RemoveJob(ctx, "j"))
	w.must(client.RemoveJob(ctx, "j"))
	due, _ := w.tasks(client, errandWorker.Name, "j", first.Created)
	w.pass("continuous", 2)
	// one may have been in flight
	if after, _ := w.tasks(client, errandWorker.Name, "j", first.Created); len(after) > len(due)+1 || len(due) < 2 {
		w.Errorf("tasks for %v, and later for %v", due, after)
	}
	_, noJob := client.Job(ctx, "j")
	_, noFires := client.Fires(ctx, af.FireQuery{Job: "j"})
	_, noRun := client.RunJob(ctx, "j")
	for what, err := range map[string]error{
		"job": noJob, "fires": noFires, "run": noRun, "enable": client.EnableJob(ctx, "j"),
		"disable": client.DisableJob(ctx, "j"),
	} {
		if !errors.Is(err, af.ErrNotFound) {
			w.Errorf("%s: %v", what, err)
		}
	}
	for _, f := range must(client.Fires(ctx, af.FireQuery{Limit: 1000}))(w.world).Fires {
		if f.Job != "continuous" {
			w.Errorf("the history still has %+v", f)
		}
	}
	before := len(w.ran("j", time.Time{}))
	w.schedule(q, "j", "@every 1s")
	w.awaitRuns("j", before+1)
	if j := w.job(app, "j"); !j.Created.After(first.Created) {
		w.Errorf("put again: %+v", j)
	}
	if fires := w.fires(app, "j"); len(fires) > 0 && fires[0].Due.Unix() <= first.Created.Unix()+int64(len(due)) {
		w.Errorf("the history of the one before: %+v", fires)
	}
}

// listed lists jobs and fires in each order, from an App without a worker.
func listed(w *jobs) {
	_, q := w.app()
	client := w.operator()
	ctx := w.Context()
	w.schedule(q, "often/a", "@every 1s", af.AllowIPs("192.0.2.1", "10.0.0.9/8"))
	w.schedule(q, "often/b", "@every 2s")
	w.schedule(q, "later", "0 0 1 1 *", af.MissedWindow(time.Hour))
	w.schedule(q, "idle", "@hourly", af.Disabled())
	other := errandWorker
	other.Name = "others"
	w.must(af.NewVoidQueue[errand](client, other).Schedule(ctx, "elsewhere", "@every 9999h", errand{}))
	ids := func(q af.JobQuery) (ids []string) {
		w.Helper()
		total := -1
		for {
			page := must(client.Jobs(ctx, q))(w.world)
			for _, j := range page.Jobs {
				ids = append(ids, j.ID)
			}
			if total >= 0 && page.Total != total || len(page.Jobs) > q.Limit {
				w.Errorf("a page of %d: %d, then %d in total", q.Limit, total, page.Total)
			}
			total = page.Total
			if q.Cursor = page.Cursor; q.Cursor == "" {
				if len(ids) != total {
					w.Errorf("%v, and %d in total", ids, total)
				}
				return ids
			}
		}
	}
	yes, no := true, false
	for _, c := range []struct {
		q    af.JobQuery
		want []string
	}{
		{af.JobQuery{Limit: 2}, []string{"elsewhere", "idle", "later", "often/a", "often/b"}},
		{af.JobQuery{Limit: 9, Prefix: "often/"}, []string{"often/a", "often/b"}},
		{af.JobQuery{Limit: 1, Queue: "others"}, []string{"elsewhere"}},
		{af.JobQuery{Limit: 1, Disabled: &yes}, []string{"idle"}},
		{af.JobQuery{Limit: 3, Disabled: &no}, []string{"elsewhere", "later", "often/a", "often/b"}},
		{af.JobQuery{Limit: 1000, Prefix: "nobody"}, nil},
	} {
		if got := ids(c.q); !slices.Equal(got, c.want) {
			w.Errorf("%+v: %v, want %v", c.q, got, c.want)
		}
	}
	next := must(client.Jobs(ctx, af.JobQuery{Sort: af.JobsByNext}))(w.world).Jobs
	for i, j := range next[1:] {
		if before := next[i].Next; before.IsZero() || !j.Next.IsZero() && j.Next.Before(before) {
			w.Errorf("by their next due time: %+v", next)
		}
	}
	if allow := w.job(client, "often/a").Allow; !slices.Equal(allow, []string{"192.0.2.1", "10.0.0.0/8"}) {
		w.Errorf("allowed %v", allow)
	}

	hand := must(client.RunJob(ctx, "idle"))(w.world)
	w.awaitRuns("often/a", 4)
	a, b := w.disable(client, "often/a"), w.disable(client, "often/b")
	w.wantTasks(client, "often/a", a.Created, seconds(1, int(a.Fired.Unix()-a.Created.Unix())))
	var even []int
	for s := 2; s <= int(b.Fired.Unix()-b.Created.Unix()); s += 2 {
		even = append(even, s)
	}
	w.wantTasks(client, "often/b", b.Created, even)
	wantAll := w.fires(client, "often/a")
	all := len(wantAll) + len(w.fires(client, "often/b")) + 1
	seen := map[af.Fire]bool{}
	var at time.Time
	for q := (af.FireQuery{Limit: 2}); ; {
		page := must(client.Fires(ctx, q))(w.world)
		for _, f := range page.Fires {
			if seen[f] || !at.IsZero() && f.At.After(at) {
				w.Errorf("not the latest first, or twice: %+v", f)
			}
			seen[f], at = true, f.At
		}
		if page.Total != all {
			w.Errorf("%d fires in total, want %d", page.Total, all)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	if len(seen) != all {
		w.Errorf("%d fires on all pages, want %d", len(seen), all)
	}
	if page := must(client.Fires(ctx, af.FireQuery{Job: "idle"}))(w.world); page.Total != 1 ||
		page.Fires[0].TaskID != hand || !page.Fires[0].Due.IsZero() {
		w.Errorf("manual: %+v", page)
	}
	second := wantAll[1].At
	page := must(client.Fires(ctx, af.FireQuery{Job: "often/a", After: second, Before: second.Add(time.Second)}))(w.world)
	if len(page.Fires) == 0 || slices.ContainsFunc(page.Fires, func(f af.Fire) bool { return !f.At.Equal(second) }) {
		w.Errorf("fired at %v: %+v", second, page)
	}
	if page := must(client.Fires(ctx, af.FireQuery{Skipped: &yes}))(w.world); page.Total != 0 {
		w.Errorf("skipped: %+v", page)
	}
}

// stoppedAndStarted stops the schedulers of two Apps one after the other, and starts one again.
func stoppedAndStarted(w *jobs) {
	a, q := w.app()
	b, _ := w.app(af.IP("192.0.2.2"))
	ctx := w.Context()
	w.schedule(q, "j", "@every 1s", af.Missed(af.MissedSkip))
	w.awaitRuns("j", 1)
	w.must(a.StopScheduler(ctx))
	w.must(a.StopScheduler(ctx))
	w.pass("j", 1)
	w.must(a.StartScheduler(ctx))
	w.must(b.StopScheduler(ctx))
	w.pass("j", 1)
	w.must(a.StopScheduler(ctx))
	stopped := w.job(a, "j")
	w.within(patience, "due times that pass", func() bool { return time.Since(stopped.Fired) > 4*time.Second })
	if now := w.job(b, "j"); !now.Fired.Equal(stopped.Fired) || now.Waiting != 0 || now.Disabled {
		w.Errorf("no scheduler runs, and there is %+v after %+v", now, stopped)
	}
	w.must(b.StartScheduler(ctx))
	w.must(b.StartScheduler(ctx))
	w.pass("j", 3)
	j := w.disable(a, "j")
	w.wantTasks(a, "j", j.Created, seconds(1, int(j.Fired.Unix()-j.Created.Unix()))) // a delay of seconds is not missed
}

// twoLeaders makes two Apps fire the same jobs at the same time.
func twoLeaders(w *jobs) {
	w.alone.Store(true)
	a, q := w.app()
	w.app(af.IP("192.0.2.2"))
	w.schedule(q, "allow", "* * * * * *")
	w.schedule(q, "queue", "* * * * * *", af.Overlap(af.OverlapQueue))
	w.awaitRuns("allow", 5)
	w.awaitRuns("queue", 3)
	allow := w.disable(a, "allow")
	w.wantTasks(a, "allow", allow.Created, seconds(1, int(allow.Fired.Unix()-allow.Created.Unix())))
	w.must(a.DisableJob(w.Context(), "queue"))
	ran := w.ran("queue", w.job(a, "queue").Created)
	if !slices.Equal(ran, seconds(1, len(ran))) {
		w.Errorf("queued tasks ran for %v", ran)
	}
}
