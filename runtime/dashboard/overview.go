package dashboard

import (
	"net/http"
	"slices"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// An overviewPage is the data of the first page.
type overviewPage struct {
	frame
	O        admin.Overview
	Down     []af.Condition
	Missing  []string // parts that could not be read, in words
	Tiles    []tile
	Charts   []chart
	Codes    []codeCount
	Queues   []queueRow // those that need attention, and the busiest
	More     int        // other queues
	Failures []af.Task  // the last ones
	// Attention tells, if all servers are up, why tasks do not run all the same: "1 queue without a worker, 2 paused".
	Attention string
	Blank     bool // there is nothing yet
}

// A tile is a number.
type tile struct {
	Name, Value, Note, Kind string
	Link                    string
}

const queuesOnOverview = 8

func (s *server) overview(v *viewer, w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var (
		o                      admin.Overview
		day                    []af.HistoryPoint
		failed                 af.TaskPage
		err, dayErr, failedErr error
	)
	together(func() { o, err = v.api.Overview(ctx) }, func() {
		day, dayErr = v.api.History(ctx, af.HistoryQuery{From: v.now.Add(-24 * time.Hour).Truncate(time.Hour),
			Step: time.Hour, To: v.now.Truncate(time.Hour).Add(time.Hour)})
	}, func() {
		failed, failedErr = v.api.Tasks(ctx, af.TaskQuery{Statuses: []af.Status{af.StatusFailed}, Sort: af.TasksByEnd,
			Limit: 6, Bytes: 256 << 10})
	})
	if err != nil {
		return err
	}
	p := overviewPage{O: o}
	p.frame = frame{viewer: v, Title: "Overview", Nav: "overview"}
	for _, c := range o.Health.Conditions {
		if !c.Up {
			p.Down = append(p.Down, c)
		}
	}
	for _, part := range []struct{ name, text string }{
		{"queues", "The queues could not be read"}, {"hour", "The history could not be read"},
		{"instances", "The instances could not be read"}, {"nodes", "The machines could not be read"},
		{"jobs", "The jobs could not be read"},
	} {
		if m := o.Missing[part.name]; m != nil {
			p.Missing = append(p.Missing, part.text+": "+m.Message)
		}
	}
	p.Codes = codesOf(o.Hour)
	p.tiles(v)
	p.queues()
	p.Charts = []chart{throughput("Tasks a minute, last hour", o.Hour, time.Minute),
		waits("Wait before a start, last hour", o.Hour, time.Minute)}
	if dayErr == nil {
		p.Charts = append(p.Charts, throughput("Tasks an hour, last 24 hours", day, time.Hour),
			waits("Wait before a start, last 24 hours", day, time.Hour))
	}
	if failedErr == nil {
		p.Failures = failed.Tasks
	} else {
		p.Missing = append(p.Missing, "The last failures could not be read: "+messageOf(failedErr))
	}
	p.Blank = len(o.Queues) == 0 && len(p.Missing) == 0
	return s.render(w, http.StatusOK, "overview", &p)
}

func (p *overviewPage) tiles(v *viewer) {
	o := &p.O
	waiting := sum(af.QueueInfo{Counts: o.Counts}, af.StatusWaiting, af.StatusPending)
	running, slots := 0, 0
	for i := range o.Queues {
		running, slots = running+o.Queues[i].Running, slots+o.Queues[i].Slots
	}
	const recent = 5 // minutes
	var ended, hourFailed, hourEnded int64
	for i := range o.Hour {
		h := &o.Hour[i]
		hourFailed, hourEnded = hourFailed+h.Failed, hourEnded+h.Succeeded+h.Failed+h.Stopped
		if i >= len(o.Hour)-recent-1 && i < len(o.Hour)-1 {
			ended += h.Succeeded + h.Failed + h.Stopped
		}
	}
	oldest := tile{Name: "Oldest ready", Value: "none", Note: "no task is due"}
	if !o.Oldest.IsZero() {
		oldest.Value, oldest.Note = took(v.now.Sub(o.Oldest)), "ready and not started"
		if v.now.Sub(o.Oldest) >= time.Minute {
			oldest.Kind, oldest.Value = "warn", span(v.now.Sub(o.Oldest))
		}
	}
	fail := tile{Name: "Failed, last hour", Value: number(hourFailed), Note: "of " + number(hourEnded) + " ended",
		Link: v.TasksLink("status:failed since:1h")}
	if hourFailed > 0 {
		fail.Kind = "failed"
	}
	p.Tiles = []tile{
		{Name: "Running", Value: number(int64(running)), Note: "in " + plural(slots, "slot"),
			Link: v.TasksLink("status:running")},
		{Name: "Waiting", Value: counted(waiting), Note: "to be claimed", Link: v.TasksLink("status:waiting,pending")},
		{Name: "Retrying", Value: counted(o.Counts[af.StatusRetrying]), Note: "after a failed attempt",
			Link: v.TasksLink("status:retrying")},
		oldest,
		{Name: "Ended a minute", Value: v.Rate(float64(ended) / recent), Note: "over five minutes"},
		fail,
	}
}

// queues chooses the queues to show: first those that need attention, then those with the most tasks.
func (p *overviewPage) queues() {
	for _, q := range p.O.Queues {
		p.Queues = append(p.Queues, rowOf(q))
	}
	p.Attention = attention(p.Queues)
	weight := func(q queueRow) int {
		n := q.Waiting.N + q.Running + q.Counts[af.StatusRetrying].N
		if q.Kind == "warn" || q.Kind == "paused" {
			n += 1 << 40
		}
		return n
	}
	slices.SortStableFunc(p.Queues, func(a, b queueRow) int { return weight(b) - weight(a) })
	if p.More = len(p.Queues) - queuesOnOverview; p.More > 0 {
		p.Queues = p.Queues[:queuesOnOverview]
	}
}

// attention returns how many queues have tasks that no worker may run, in words; "" if there are none.
func attention(queues []queueRow) string {
	unserved, paused := 0, 0
	for i := range queues {
		switch q := &queues[i]; {
		case q.Kind == "warn":
			unserved++
		case q.Kind == "paused" && q.Waiting.N > 0:
			paused++
		}
	}
	switch {
	case unserved > 0 && paused > 0:
		return plural(unserved, "queue") + " without a worker, " + number(int64(paused)) + " paused"
	case unserved > 0:
		return plural(unserved, "queue") + " without a worker"
	case paused > 0:
		return "Tasks wait in " + plural(paused, "paused queue")
	}
	return ""
}
