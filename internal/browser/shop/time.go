package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// history returns the points of the time before end: more by day than by night, and an incident of the bucket 50 minutes
// before the end.
func history(end time.Time, step time.Duration, n int, queue string) []af.HistoryPoint {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	share := 1.0
	if queue != "" {
		share = .38
	}
	first := end.Truncate(step).Add(-time.Duration(n-1) * step)
	all := make([]af.HistoryPoint, n)
	for i := range all {
		start := first.Add(time.Duration(i) * step)
		hour := float64(start.Hour()) + float64(start.Minute())/60
		// The perMinute is that of tasks.
		perMinute := (95 + 240*math.Exp(-math.Pow((hour-13.5)/5, 2)) + 26*r.Float64()) * share
		wait := time.Duration((18 + 14*r.Float64()) * float64(time.Millisecond))
		tail := wait * time.Duration(5+r.IntN(4))
		failed, retried := 0.0, perMinute*.012*r.Float64()
		if age := end.Sub(start); step == time.Minute && age > 48*time.Minute && age < 57*time.Minute {
			failed, retried, tail = perMinute*.07, perMinute*.24, wait*time.Duration(55+r.IntN(30))
		} else if r.IntN(4) == 0 {
			failed = 1
		}
		minutes := step.Minutes()
		if i == n-1 {
			minutes *= float64(end.Sub(start)) / float64(step)
		}
		p := &all[i]
		p.Start, p.Succeeded = start, int64(perMinute*minutes)
		p.Failed, p.Retried = int64(failed), int64(retried*minutes)
		if step == time.Hour {
			p.Failed = int64(3 + 6*r.Float64())
			if i == n-2 {
				p.Failed, p.Retried, tail = 140, 590, wait*31
			}
		}
		p.Started = p.Succeeded + p.Failed + p.Retried
		p.Submitted = p.Started
		p.Codes = map[af.Code]int64{af.ErrUnavailable: p.Retried, af.ErrDeadlineExceeded: p.Failed / 2,
			af.ErrInvalidArgument: p.Failed - p.Failed/2}
		p.Wait = af.Distribution{Count: p.Started, P50: wait, P90: tail / 2, P99: tail, Max: tail * 2}
		p.Run = af.Distribution{Count: p.Started, P50: wait * 9, P90: wait * 20, P99: wait * 40, Max: wait * 60}
	}
	return all
}

func jobs() []af.Job {
	return []af.Job{
		{ID: "cleanup", Cron: "0 4 * * sun", Queue: "search-index", Missed: af.MissedOnce, Overlap: af.OverlapAllow,
			Declared: true, Created: before(60 * 24 * time.Hour), Fired: time.Date(2026, 3, 8, 4, 0, 0, 0, time.UTC),
			Next: time.Date(2026, 3, 15, 4, 0, 0, 0, time.UTC)},
		{ID: "monthly-report", Cron: "0 6 1 * *", Zone: "America/New_York", Queue: "exports", Missed: af.MissedOnce,
			Overlap: af.OverlapSkip, Disabled: true, Created: before(60 * 24 * time.Hour), Changed: before(2 * time.Hour),
			Fired: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC), By: "bob@shop.example",
			Reason: "the warehouse is migrated until Friday"},
		{ID: "nightly-invoices", Cron: "30 3 * * mon-fri", Zone: "Europe/Berlin", Queue: "invoices", Missed: af.MissedOnce,
			Overlap: af.OverlapSkip, Declared: true, Created: before(60 * 24 * time.Hour),
			Fired: time.Date(2026, 3, 12, 2, 30, 0, 0, time.UTC), Next: time.Date(2026, 3, 13, 2, 30, 0, 0, time.UTC)},
		{ID: Job, Cron: "*/15 8-18 * * mon-sat", Zone: "Europe/Berlin", Queue: "imports", Missed: af.MissedSkip,
			Overlap: af.OverlapSkip, Timeout: 10 * time.Minute, Payload: json.RawMessage(
				`{"supplier":"nordic-textiles","feeds":["levels","prices"],"full":false}`),
			Created: before(21 * 24 * time.Hour), Changed: before(21 * 24 * time.Hour), By: "ann@shop.example",
			Reason: "the supplier allows four reads an hour", Fired: time.Date(2026, 3, 12, 13, 30, 0, 0, time.UTC),
			Next: time.Date(2026, 3, 12, 13, 45, 0, 0, time.UTC), Metadata: af.Metadata{"tenant": "nordic"}},
		{ID: "warm-prices", Cron: "@every 10m", Queue: "search-index", Missed: af.MissedSkip, Overlap: af.OverlapAllow,
			Declared: true, Created: before(4 * time.Hour), Fired: before(6 * time.Minute), Next: before(-4 * time.Minute)},
	}
}

func (*system) Fires(_ context.Context, q af.FireQuery) (af.FirePage, error) {
	due := time.Date(2026, 3, 12, 13, 30, 0, 0, time.UTC)
	page := af.FirePage{Total: 138}
	for i := range 12 {
		f := af.Fire{Job: q.Job, Due: due.Add(-time.Duration(i) * 15 * time.Minute)}
		f.At = f.Due.Add(time.Duration(20+i*7%40) * time.Millisecond)
		switch i {
		case 4:
			f.Skipped = af.SkippedOverlap
		case 8:
			f.At, f.Skipped, f.More = f.At.Add(22*time.Minute), af.SkippedMissed, 1
		case 9:
			f.Due, f.TaskID = time.Time{}, id("stock-sync manually")
		default:
			f.TaskID = fmt.Sprintf("job/%s/%d", q.Job, f.Due.Unix())
		}
		page.Fires = append(page.Fires, f)
	}
	return page, nil
}
