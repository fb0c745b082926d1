package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/workload"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// A job is a schedule with its events, in this order.
type job struct {
	ID       string           `json:",omitzero"`
	Queue    int              `json:",omitzero"`
	Every    int              `json:",omitzero"` // seconds
	Missed   af.MissedPolicy  `json:",omitzero"`
	Overlap  af.OverlapPolicy `json:",omitzero"`
	Declared bool             `json:",omitzero"` // by all processes; otherwise the first event puts it
	Order    order            `json:",omitzero"`
	Events   []event          `json:",omitzero"` // put, disable, enable, remove, run
}

// A silence is a period in which a job is certainly disabled.
type silence struct {
	job         string
	from, until time.Time
}

// more draws jobs, retention and payloads of one version only. It doesn't change the other choices of a seed.
func (s *scenario) more() {
	d := draw{workload.NewDraw(s.Seed, 2)}
	if d.Chance(0.4) {
		for i := range 1 + d.IntN(3) {
			s.Jobs = append(s.Jobs, d.job(s, i))
		}
		if s.Kind == everything && d.Chance(0.15) { // long enough for due times to be missed
			s.Storm = 45 * time.Second
			e := event{At: d.Span(0, 3*time.Second), What: "outage",
				For: d.Span(32*time.Second, 40*time.Second), Hang: d.Chance(0.5)}
			s.Events = append(s.Events, e)
		}
	}
	if s.Kind != rolling && s.Kind != poisoned && d.Chance(0.25) {
		// Keep tasks for longer than any request is in flight. Otherwise a scheduler whose insert is late would insert the
		// task of a fire again that another one has carried out meanwhile.
		s.Keep = d.Span(5*time.Second, 12*time.Second)
		if len(s.Jobs) > 0 { // the tasks of their fires are kept for 30 s
			s.Storm = max(s.Storm, 50*time.Second)
		}
		s.Plan.MostDelay = min(s.Plan.MostDelay, time.Second)
		for i := range s.Events {
			if what := s.Events[i].What; what == "freeze" || what == "outage" {
				s.Events[i].For = min(s.Events[i].For, 2*time.Second)
			}
		}
	}
	if s.Mixed && d.Chance(0.7) {
		for i := range s.Submits {
			d.strict(s.Submits[i].Orders)
			d.strict(s.Submits[i].Family.Orders)
		}
		for range d.IntN(4) {
			s.Submits = append(s.Submits, submit{
				At: d.Span(0, s.Storm*8/10), Place: d.IntN(s.Workers + s.Clients), Queue: d.IntN(len(workers)), How: "gone",
				Orders: []order{{Strict: true}},
			})
		}
	}
}

// crowds draws hundreds of jobs that are due at once, and processes that die while they fire them. It doesn't change the
// other choices of a seed.
func (s *scenario) crowds() {
	d := draw{workload.NewDraw(s.Seed, 3)}
	if !d.Chance(0.03) {
		return
	}
	for i := range 150 + d.IntN(150) {
		s.Jobs = append(s.Jobs, d.crowd(s, i))
	}
	if s.Kind == everything {
		for range 1 + d.IntN(2) {
			s.Events = append(s.Events, event{At: d.Span(5*time.Second, s.Storm), What: "die firing", Pick: d.IntN(3),
				Op: []string{"Docs.PutAll", "Docs.PutAll", "Insert", "Docs.GetAll", "Statuses"}[d.IntN(5)]})
		}
	}
}

// strict makes some tasks decode only with workers of the submitter's version.
func (d draw) strict(orders []order) {
	for i := range orders {
		orders[i].Strict = orders[i].Do != "kill" && d.Chance(0.4)
		for k := range orders[i].Kids {
			d.strict(orders[i].Kids[k].Orders)
		}
	}
}

func (d draw) job(s *scenario, i int) job {
	j := job{
		ID: fmt.Sprintf("j%d", i), Queue: d.IntN(len(workers)), Every: 1 + d.IntN(9), Declared: d.Chance(0.4),
		Missed:  []af.MissedPolicy{af.MissedSkip, af.MissedOnce, af.MissedAll}[d.IntN(3)],
		Overlap: []af.OverlapPolicy{af.OverlapSkip, af.OverlapAllow, af.OverlapQueue}[d.IntN(3)],
	}
	if !j.Declared {
		j.Order = order{For: d.Span(0, time.Duration(min(j.Every, 6))*time.Second), Strict: s.Mixed && d.Chance(0.3)}
		if s.Kind != rolling && d.Chance(0.3) {
			j.Order.Do, j.Order.N = "fail", 1
		}
		j.Events = append(j.Events, event{What: "put", Place: d.IntN(s.Workers + s.Clients), At: d.Span(0, 5*time.Second)})
	}
	for range d.IntN(6) {
		e := event{
			What:  []string{"disable", "disable", "enable", "enable", "put", "run", "remove"}[d.IntN(7)],
			Place: d.IntN(s.Workers + s.Clients), At: d.Span(5*time.Second, s.Storm), Pick: d.IntN(8),
		}
		if e.What == "put" && j.Declared {
			e.What = "disable"
		}
		if e.What == "disable" && d.Chance(0.7) { // just as it is being fired
			e.At = e.At.Truncate(time.Second) + d.Span(0, 20*time.Millisecond)
		}
		j.Events = append(j.Events, e)
	}
	slices.SortStableFunc(j.Events, func(a, b event) int { return int(a.At - b.At) })
	return j
}

// crowd returns one of many jobs with the same due times. Few of them are disabled or removed.
func (d draw) crowd(s *scenario, i int) job {
	j := d.job(s, i)
	j.ID, j.Every, j.Declared = fmt.Sprintf("c%03d", i), 10, false
	j.Order = order{}
	put := event{What: "put", Place: d.IntN(s.Workers + s.Clients), At: time.Second}
	if j.Events = append([]event{put}, j.Events...); d.Chance(0.9) {
		j.Events = j.Events[:1]
	}
	return j
}

// declared returns the jobs of a queue that all processes declare.
func (s *scenario) declared(queue int) (list []af.DeclaredJob) {
	for _, j := range s.Jobs {
		if j.Declared && j.Queue == queue {
			list = append(list,
				af.DeclaredJob{ID: j.ID, Cron: fmt.Sprintf("@every %ds", j.Every), Missed: j.Missed, Overlap: j.Overlap})
		}
	}
	return list
}

// operate makes a job's events happen, one after the other.
func (m *sim) operate(j job, begun time.Time) {
	certain := true // nothing in flight enables the job
	for _, e := range j.Events {
		m.rest(e.At - time.Since(begun))
		if e.What == "disable" {
			ok := m.try(e.Place, func(ctx context.Context, app *af.App) error { return app.DisableJob(ctx, j.ID) })
			if ok && certain {
				m.book.quiet(j.ID)
			}
			continue
		}
		if e.What != "run" {
			m.book.loud(j.ID)
		}
		done := m.with(e.Place, func(ctx context.Context, p *process) error {
			switch e.What {
			case "put":
				cron := fmt.Sprintf("@every %ds", j.Every+e.Pick%2)
				return p.queues[j.Queue].Schedule(ctx, j.ID, cron, p.order(j.Order), af.Missed(j.Missed), af.Overlap(j.Overlap))
			case "enable":
				return p.app.EnableJob(ctx, j.ID)
			case "remove":
				return p.app.RemoveJob(ctx, j.ID)
			}
			id, err := p.app.RunJob(ctx, j.ID)
			if !p.dead() {
				m.book.acked([]string{id}, err)
			}
			return nil
		})
		certain = certain && done && (e.What != "remove" || !j.Declared) // a starting process declares it again
	}
}

// dieFiring makes processes die at their next calls of an operation, or at later ones, and restarts them.
func (m *sim) dieFiring(e event) {
	var armed []*process
	for place := range m.slots {
		if p := m.at(place); p != nil {
			p.fault.Fail(e.Op, e.Pick, fault.None)
			p.fault.Fail(e.Op, 1, fault.Fatal)
			armed = append(armed, p)
		}
	}
	m.rest(12 * time.Second)
	for _, p := range armed {
		p.fault.Fail(e.Op, 0, fault.None)
		if p.dead() && m.at(p.place) == p {
			m.take(p.place)
			m.after.Go(func() { _ = p.end(0) })
			m.boot(p.place)
		}
	}
}

// endJobs lets the jobs run undisturbed for a while, and disables them.
func (m *sim) endJobs() (broken []fault.Violation) {
	if len(m.s.Jobs) == 0 {
		return nil
	}
	time.Sleep(12 * time.Second)
	broken = m.world.Log().CheckPunctual(time.Now(), 8*time.Second)
	for _, j := range m.s.Jobs {
		for {
			err := errors.New("no process is there")
			m.try(0, func(ctx context.Context, app *af.App) error {
				err = app.DisableJob(ctx, j.ID)
				return err
			})
			if af.CodeOf(err) == af.ErrNotFound {
				break
			}
			if err == nil {
				m.book.quiet(j.ID)
				break
			}
			time.Sleep(time.Second)
		}
	}
	return broken
}

// quiet records that a job is disabled from now on, and loud that it may be enabled.
func (b *book) quiet(job string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.silences, func(s silence) bool { return s.job == job && s.until.IsZero() }) {
		b.silences = append(b.silences, silence{job: job, from: time.Now()})
	}
}

func (b *book) loud(job string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.silences {
		if b.silences[i].job == job && b.silences[i].until.IsZero() {
			b.silences[i].until = time.Now()
		}
	}
}

// retain removes old families during the storm, more often than any process does.
func (m *sim) retain() {
	if m.s.Keep == 0 {
		return
	}
	ports, _ := m.world.Open(context.Background(), backend.Env{})
	defer ports.Close(context.Background())
	for n := 0; ; n++ {
		m.rest(2 * time.Second)
		select {
		case <-m.calm:
			return
		default:
		}
		keep := backend.Retention{Age: m.s.Keep}
		if n%3 == 2 {
			keep.Max = 2
		}
		if len(m.s.Jobs) > 0 {
			keep.Before = time.Now().Add(-30 * time.Second)
			m.deleteFires(n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if recorded(ctx, ports) {
			_, _ = ports.Store.Purge(ctx, keep, 1+n%7) // the store may be down
		}
		cancel()
	}
}

// deleteFires tries to delete the tasks of fires, as users do.
func (m *sim) deleteFires(n int) {
	m.try(n, func(ctx context.Context, app *af.App) error {
		page, err := app.Tasks(ctx, af.TaskQuery{Statuses: []af.Status{af.StatusSuccess, af.StatusFailed}})
		for _, t := range page.Tasks {
			if strings.HasPrefix(t.ID, "job/") {
				err = app.DeleteTask(ctx, t.ID)
			}
		}
		return err
	})
}

// recorded reports whether all pending fires whose tasks have ended were marked a while ago. A process does so before
// it purges.
func recorded(ctx context.Context, ports *backend.Ports) bool {
	jobs, err := ports.Docs.List(ctx, "jobs/")
	if err != nil {
		return false
	}
	for _, d := range jobs {
		var job struct{ Owed []struct{ Due, Ended int64 } }
		id := strings.TrimPrefix(d.Name, "jobs/")
		if json.Unmarshal(d.Value, &job) != nil {
			continue
		}
		for _, f := range job.Owed {
			task, err := ports.Store.Get(ctx, fmt.Sprintf("job/%s/%d", id, f.Due))
			if err == nil && task.Status.Final() && (f.Ended == 0 || time.Now().Unix()-f.Ended <= 30) {
				return false
			}
		}
	}
	return true
}

// removed waits until retention has removed everything, and returns the rest.
func (m *sim) removed(s backend.Store) (broken []fault.Violation) {
	if m.s.Keep == 0 {
		return nil
	}
	var left []backend.Task
	for begun := time.Now(); time.Since(begun) < 5*time.Minute; time.Sleep(10 * time.Second) {
		var err error
		if left, err = m.stored(s); err == nil && len(left) == 0 {
			return nil
		}
	}
	for _, t := range left {
		broken = append(broken,
			fault.Violation{Rule: "retention", Tasks: []string{t.ID}, Text: t.ID + " is kept, " + string(t.Status)})
	}
	return broken
}

// The versions of a payload. Each decodes payloads that aren't strict, and strict ones only of its own submitters.
var versions = []struct{ fingerprint, ver string }{
	{"order", `1`}, {"order of another version", `"1"`}, {"order of a version that is gone", `true`},
}

type (
	orderA struct {
		order
		Ver int `json:"ver,omitempty"`
	}
	orderB struct {
		order
		Ver string `json:"ver,omitempty"`
	}
	orderC struct {
		order
		Ver bool `json:"ver,omitempty"`
	}
)

func (o orderA) get() order { return o.order }
func (o orderB) get() order { return o.order }
func (o orderC) get() order { return o.order }

type version interface {
	orderA | orderB | orderC
	get() order
}

// A worker has the handlers for a version; fan also has SubtasksDone.
type worker[P version] struct{ plain }

func (h *worker[P]) Run(ctx context.Context, o P) (int, error) { return h.run(ctx, o.get()) }

type fan[P version] struct{ worker[P] }

func (h *fan[P]) SubtasksDone(ctx context.Context, _ P, s af.Subtasks) error { return h.done(ctx, s) }

// register registers the workers of a process.
func register[P version](p *process) {
	for i, w := range p.workers() {
		if h := (worker[P]{plain{p, w}}); i == len(workers)-1 {
			af.RegisterWorker(p.app, w, &h)
		} else {
			af.RegisterWorker(p.app, w, &fan[P]{h})
		}
	}
}

// workers returns the workers of a process's version, with the jobs that it declares.
func (p *process) workers() []af.Worker {
	list := slices.Clone(workers)
	for i := range list {
		list[i].Payload = versions[p.version].fingerprint
		list[i].Jobs = p.sim.s.declared(i)
	}
	return list
}

// order returns an order as submitted by the process.
func (p *process) order(o order) order {
	if o.Strict {
		o.Ver = json.RawMessage(versions[p.version].ver)
	}
	return o
}

func (p *process) ordered(list []order) []order {
	out := make([]order, len(list))
	for i, o := range list {
		out[i] = p.order(o)
	}
	return out
}

// submitGone submits a task that decodes nowhere until a process of its version starts at the end of the storm.
func (p *process) submitGone(ctx context.Context, u submit) (string, error) {
	w := workers[u.Queue]
	w.Payload = versions[2].fingerprint
	o := u.Orders[0]
	o.Ver = json.RawMessage(versions[2].ver)
	return af.NewQueue[order, int](p.app, w).Submit(ctx, o)
}

// undecoded checks that tasks that a process could not decode wait uncharged.
func (m *sim) undecoded(log *fault.Log) (broken []fault.Violation) {
	version := map[string]string{}
	for _, p := range m.all {
		if p.app != nil {
			version[p.app.Instance().ID] = versions[p.version].fingerprint
		}
	}
	for _, e := range log.Entries {
		for _, c := range e.Changes {
			var o order
			if e.Op != "Settle" || c.Before.Fingerprint == version[e.Instance] ||
				json.Unmarshal(c.Before.Payload, &o) != nil || len(o.Ver) == 0 {
				continue
			}
			waits := c.After.Status == backend.StatusWaiting && c.After.Attempt == c.Before.Attempt-1
			if c.After.Status != backend.StatusStopped && !waits {
				text := fmt.Sprintf("%v by a process whose workers do not decode it: %+v", c, c.After.Error)
				broken = append(broken, fault.Violation{Rule: "versions", Tasks: []string{c.After.ID}, Text: text})
			}
		}
	}
	return broken
}
