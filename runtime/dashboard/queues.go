package dashboard

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A queuesPage is the data of the list of queues.
type queuesPage struct {
	frame
	Queues []queueRow
	Paused int // of Queues
}

// A queueRow is a queue with what the pages conclude from its numbers.
type queueRow struct {
	af.QueueInfo
	Kind, State string // of its badge
	Waiting     af.Count
	Most        int // slots, or running tasks if these are more
}

func rowOf(q af.QueueInfo) queueRow {
	r := queueRow{QueueInfo: q, Kind: "ok", State: "idle", Waiting: sum(q, af.StatusWaiting, af.StatusPending),
		Most: max(q.Slots, q.Running)}
	work := r.Waiting.N + q.Counts[af.StatusRetrying].N
	switch {
	case q.Limits.Paused:
		r.Kind, r.State = "paused", "paused"
	case q.Workers == 0 && work > 0:
		r.Kind, r.State = "warn", "no worker"
	case q.Workers == 0:
		r.Kind, r.State = "stopped", "no worker"
	case q.Slots == 0:
		r.Kind, r.State = "paused", "limit 0"
	case q.Running > 0:
		r.Kind, r.State = "running", "running"
	}
	return r
}

func sum(q af.QueueInfo, statuses ...af.Status) (total af.Count) {
	for _, s := range statuses {
		n := q.Counts[s]
		total = af.Count{N: total.N + n.N, AtLeast: total.AtLeast || n.AtLeast}
	}
	return total
}

// Of returns the number of tasks of a status.
func (q queueRow) Of(s af.Status) af.Count { return q.Counts[s] }

// Final reports whether the number of tasks that have ended is known.
func (q queueRow) Final() bool {
	return q.Counts[af.StatusSuccess].N+q.Counts[af.StatusFailed].N+q.Counts[af.StatusStopped].N > 0
}

func (s *server) queues(v *viewer, w http.ResponseWriter, r *http.Request) error {
	queues, err := v.api.Queues(r.Context())
	if err != nil {
		return err
	}
	p := queuesPage{}
	p.frame = frame{viewer: v, Title: "Queues", Nav: "queues", Done: doneText(r)}
	for _, q := range queues {
		p.Queues = append(p.Queues, rowOf(q))
		if q.Limits.Paused {
			p.Paused++
		}
	}
	return s.render(w, http.StatusOK, "queues", &p)
}

// A queuePage is the data of the page of a queue.
type queuePage struct {
	frame
	Q       queueRow
	Charts  []chart
	Codes   []codeCount
	Workers []af.WorkerInfo
	More    bool     // there are more workers
	Missing []string // what could not be read, in words
	Limited []limited
	Max     string // the limit of all instances, "" if there is none
	Period  period // of the charts and Codes
}

// A limited is the limit of one address.
type limited struct {
	IP  string
	Max int
}

// A codeCount is how often attempts have failed with a code.
type codeCount struct {
	Code af.Code
	N    int64
}

func (s *server) queue(v *viewer, w http.ResponseWriter, r *http.Request) error {
	name, ctx := r.PathValue("queue"), r.Context()
	var (
		queues                    []af.QueueInfo
		points                    []af.HistoryPoint
		workers                   af.WorkerPage
		err, pointsErr, workerErr error
		shown                     = periodOf(r)
	)
	together(func() { queues, err = v.api.Queues(ctx) },
		func() { points, pointsErr = v.api.History(ctx, shown.query(name, v.now)) },
		func() {
			workers, workerErr = v.api.Workers(ctx, af.WorkerQuery{Queue: name, Limit: 100, NoWaiting: true})
		})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(queues, func(q af.QueueInfo) bool { return q.Name == name })
	if at < 0 {
		return s.failWith(w, v.user, http.StatusNotFound, "There is no queue "+strconv.Quote(clean(name))+
			". A queue is known if it has tasks, limits or a worker, or had a worker.")
	}
	p := queuePage{Q: rowOf(queues[at]), Period: shown}
	p.frame = frame{viewer: v, Title: "Queue " + name, Nav: "queues", Done: doneText(r)}
	if pointsErr != nil {
		p.Missing = append(p.Missing, "The history could not be read: "+messageOf(pointsErr))
	} else {
		p.Charts, p.Codes = p.Period.charts(points), codesOf(points)
	}
	if workerErr != nil {
		p.Missing = append(p.Missing, "The workers could not be read: "+messageOf(workerErr))
	}
	p.Workers, p.More = workers.Workers, workers.Cursor != ""
	limits := &p.Q.Limits
	if limits.Max != nil {
		p.Max = strconv.Itoa(*limits.Max)
	}
	for _, ip := range slices.Sorted(maps.Keys(limits.At)) {
		p.Limited = append(p.Limited, limited{ip, limits.At[ip]})
	}
	return s.render(w, http.StatusOK, "queue", &p)
}

// codesOf returns the codes of failed attempts, the most frequent first.
func codesOf(points []af.HistoryPoint) []codeCount {
	counts := map[af.Code]int64{}
	for i := range points {
		for c, n := range points[i].Codes {
			counts[c] += n
		}
	}
	var all []codeCount
	for c, n := range counts {
		all = append(all, codeCount{c, n})
	}
	slices.SortFunc(all, func(a, b codeCount) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Code, b.Code))
	})
	return all[:min(len(all), 8)]
}

// Running returns how many queues are not paused.
func (p *queuesPage) Running() int { return len(p.Queues) - p.Paused }

// changeQueues pauses all queues, or resumes those that are paused. It stops at the first error. A request that is
// repeated continues, because it leaves out queues that are as they should be.
func (s *server) changeQueues(v *viewer, w http.ResponseWriter, r *http.Request) error {
	ctx, back, done := r.Context(), s.link("queues"), lastElement(r)
	a := admin.Action{Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	queues, err := v.api.Queues(ctx)
	if err != nil {
		return &changeError{err, back}
	}
	n, change := 0, v.api.Pause
	if done == "resume" {
		change = v.api.Resume
	}
	for i := range queues {
		if q := &queues[i]; q.Limits.Paused == (done == "resume") {
			if err := change(ctx, q.Name, a); err != nil {
				return &changeError{af.Errorf(af.CodeOf(err), "after %s, queue %q: %w", plural(n, "change"), q.Name, err), back}
			}
			n++
		}
	}
	http.Redirect(w, r, back+"?done="+done+"-all", http.StatusSeeOther)
	return nil
}

// changeQueue pauses or resumes a queue, or changes its limits.
func (s *server) changeQueue(v *viewer, w http.ResponseWriter, r *http.Request) error {
	name, ctx := r.PathValue("queue"), r.Context()
	a := admin.Action{Reason: strings.TrimSpace(r.PostForm.Get("reason"))}
	ip := strings.TrimSpace(r.PostForm.Get("ip"))
	done := lastElement(r)
	back := s.link("queues", name)
	var err error
	switch done {
	case "pause":
		err = v.api.Pause(ctx, name, a)
	case "resume":
		err = v.api.Resume(ctx, name, a)
	case "default":
		err = v.api.ResetMax(ctx, name, ip, a)
	case "max":
		n, bad := strconv.Atoi(r.PostForm.Get("max"))
		if bad != nil {
			err = af.NewError(af.ErrInvalidArgument, "The limit must be a whole number.")
		} else {
			err = v.api.SetMax(ctx, admin.Limit{Queue: name, IP: ip, Max: n}, a)
		}
	}
	if err != nil {
		return &changeError{err, back}
	}
	http.Redirect(w, r, back+"?done="+done, http.StatusSeeOther)
	return nil
}

// submit submits a task to a queue.
func (s *server) submit(v *viewer, w http.ResponseWriter, r *http.Request) error {
	name, form := r.PathValue("queue"), r.PostForm
	back := s.link("queues", name)
	weight, err := strconv.Atoi(strings.TrimSpace(form.Get("weight")))
	if err != nil {
		return &changeError{af.NewError(af.ErrInvalidArgument, "The weight must be a whole number."), back}
	}
	sub := admin.Submission{Queue: name, Payload: json.RawMessage(strings.TrimSpace(form.Get("payload"))), Weight: &weight}
	if delay := strings.TrimSpace(form.Get("delay")); delay != "" {
		if sub.Delay, err = time.ParseDuration(delay); err != nil || sub.Delay < 0 {
			return &changeError{af.NewError(af.ErrInvalidArgument, "The delay must be a duration, such as 10m or 1h30m."),
				back}
		}
	}
	task, err := v.api.Submit(r.Context(), sub, admin.Action{Reason: strings.TrimSpace(form.Get("reason"))})
	if err != nil {
		return &changeError{err, back}
	}
	http.Redirect(w, r, s.link("tasks", task.ID)+"?done=submit", http.StatusSeeOther)
	return nil
}
