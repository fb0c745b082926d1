package fault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/fault"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/backend"
)

// At random moments of a storm, tasks that have not ended are explained, and the explanations are true. A tenth of the
// scenarios of -seeds suffices, because each has hundreds of explanations.
func TestExplanationsInStorm(t *testing.T) {
	var seen inquiries
	n := uint64(max(min(*seeds, testkit.Fewer(math.MaxInt, 100))/10, 1))
	begin, end := *first, *first+n
	if *seed != 0 {
		begin, end = *seed, *seed+1
	}
	t.Cleanup(func() {
		var never []admin.Rule
		for _, rule := range admin.Rules() {
			if seen.rules[rule] == 0 {
				never = append(never, rule)
			}
		}
		t.Logf("%d scenarios: %d explanations, %d not compared as the task changed meanwhile, %d failed; rules %v, never %v",
			end-begin, seen.asked, seen.changed, seen.failed, seen.rules, never)
		for _, rule := range []admin.Rule{admin.RuleRunning, admin.RuleGated, admin.RuleNotDue, admin.RulePaused,
			admin.RuleBusy, admin.RuleStopping, admin.RuleSuspect, admin.RuleDue, admin.RuleLimitZero, admin.RuleLost} {
			if end-begin >= 40 && seen.rules[rule] == 0 && !t.Failed() {
				t.Errorf("no scenario has come to rule %s", rule)
			}
		}
	})
	step := shards()
	for shard := range step {
		t.Run(fmt.Sprintf("shard_%d", shard), func(t *testing.T) {
			t.Parallel()
			for s := begin + shard; s < end && !t.Failed(); s += step {
				bubble.Test(t, func(t *testing.T) { explainStorm(t, s, &seen) })
			}
		})
	}
}

// inquiries counts explanations and the rules in them.
type inquiries struct {
	mu                     sync.Mutex
	rules                  map[admin.Rule]int
	asked, changed, failed int
}

// explainStorm runs a scenario while tasks are explained through an App that nothing breaks.
func explainStorm(t *testing.T, seed uint64, seen *inquiries) {
	m := newSim(newScenario(seed))
	app, err := af.Open(t.Context(), fault.New(m.world, seed, fault.Plan{}), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ports, _ := m.world.Open(t.Context(), backend.Env{})
	q := inquirer{sim: m, app: app, ports: ports, rand: rand.New(rand.NewPCG(seed, 7)), seen: seen}
	over := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { q.ask(over) })
	m.storm()
	m.endJobs()
	m.settle()
	close(over)
	asking.Wait()
	if err := app.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	_ = ports.Close(context.Background())
	m.shutdown()
	if len(q.wrong) > 0 {
		t.Errorf("go test ./internal/fault -run TestExplanationsInStorm -seed %d (jitter and scheduling are not seeded)\n%s\n%s",
			seed, strings.Join(q.wrong, "\n"), m.s)
	}
}

// An inquirer asks why tasks don't run, and compares the answers with what the simulation knows.
type inquirer struct {
	sim   *sim
	app   *af.App
	ports *backend.Ports
	rand  *rand.Rand
	seen  *inquiries
	wrong []string
}

func (q *inquirer) ask(over chan struct{}) {
	var tasks []backend.Task
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(q.rand.IntN(1500)) * time.Millisecond):
		}
		page, err := q.ports.Store.List(context.Background(), backend.TaskQuery{Limit: 1000, Statuses: []backend.Status{
			backend.StatusWaiting, backend.StatusPending, backend.StatusRunning, backend.StatusRetrying,
		}})
		if err == nil { // otherwise those of before, during an outage
			tasks = page.Tasks
		}
		for range min(3, len(tasks)) {
			q.explain(tasks[q.rand.IntN(len(tasks))].ID)
		}
	}
}

func (q *inquirer) explain(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	before, ok := q.truth(ctx, id)
	e, err := admin.New(q.app).Why(ctx, id)
	q.seen.mu.Lock()
	defer q.seen.mu.Unlock()
	q.seen.asked++
	if err != nil {
		q.seen.failed++
		if _, ok2 := q.truth(ctx, id); ok && ok2 { // neither an outage nor was the task deleted
			q.fail(id, e, "error %v", err)
		}
		return
	}
	if q.seen.rules == nil {
		q.seen.rules = map[admin.Rule]int{}
	}
	for _, f := range e.Rules {
		q.seen.rules[f.Rule]++
	}
	if len(e.Rules) == 0 {
		q.fail(id, e, "no rule")
		return
	}
	after, ok2 := q.truth(ctx, id)
	if !ok || !ok2 || !before.same(&after) {
		q.seen.changed++
		return
	}
	for _, text := range after.check(e) {
		q.fail(id, e, "%s", text)
	}
}

func (q *inquirer) fail(id string, e admin.Explanation, format string, args ...any) {
	var rules []string
	for _, f := range e.Rules {
		rules = append(rules, string(f.Rule)+": "+f.Text)
	}
	q.wrong = append(q.wrong, fmt.Sprintf("task %s: %s; %v", id, fmt.Sprintf(format, args...), rules))
}

// A truth is what the simulation knows about a task, without asking an App.
type truth struct {
	sim    *sim
	at     time.Time
	task   backend.Task
	source backend.Task
	limits af.Limits
	quick  bool // nothing has delayed or lost what processes tell others
	alive  []*process
	ending []*process
	inside int // handlers of the queue in live processes
	lately int // claims and settlements in the queue within the last seconds
	busy   int // running tasks of the queue
	commit bool
}

// truth reads the truth. It returns false if the store is down or the task was deleted.
func (q *inquirer) truth(ctx context.Context, id string) (x truth, ok bool) {
	m := q.sim
	x = truth{sim: m, at: time.Now(), quick: m.s.Kind == quiet || m.s.Kind == messages}
	var err error
	if x.task, err = q.ports.Store.Get(ctx, id); err != nil {
		return x, false
	}
	if x.task.Source != "" {
		x.source, _ = q.ports.Store.Get(ctx, x.task.Source)
	}
	doc, err := q.ports.Docs.Get(ctx, "limits/"+x.task.Queue)
	if err == nil {
		err = json.Unmarshal(doc.Value, &x.limits)
	}
	if err != nil && backend.CodeOf(err) != backend.ErrNotFound {
		return x, false
	}
	page, err := q.ports.Store.List(ctx,
		backend.TaskQuery{Queue: x.task.Queue, Statuses: []backend.Status{backend.StatusRunning}, Limit: 1})
	if err != nil {
		return x, false
	}
	x.busy = page.Total
	log := m.world.Log()
	for _, e := range slices.Backward(log.Entries) {
		x.commit = x.commit || e.Spawn.Source == x.task.Source && e.Spawn.Batch == x.task.Batch
		for _, c := range e.Changes {
			if time.Since(e.Now) < 4*time.Second && c.After.Queue == x.task.Queue && e.Op != "Insert" {
				x.lately++
			}
		}
	}
	m.mu.Lock()
	all := slices.Clone(m.all)
	started := maps.Collect(slices.All(m.slots))
	m.mu.Unlock()
	for _, p := range all {
		if p.dead() || started[p.place] != p || p.place >= m.s.Workers && p.version != 2 {
			continue
		}
		p.mu.Lock()
		if p.gone.IsZero() {
			x.alive = append(x.alive, p)
		} else {
			x.ending = append(x.ending, p)
		}
		x.inside += p.inside[x.task.Queue]
		p.mu.Unlock()
	}
	return x, true
}

// same reports whether nothing has changed in what check looks at.
func (x *truth) same(y *truth) bool {
	a, b := &x.task, &y.task
	return x.at.Equal(y.at) && a.Status == b.Status && a.Fence == b.Fence && a.RunAt.Equal(b.RunAt) &&
		a.Stopping == b.Stopping && a.Gated == b.Gated && a.Uncommitted == b.Uncommitted &&
		x.source.Status == y.source.Status && x.limits.Paused == y.limits.Paused &&
		slices.Equal(x.alive, y.alive) && slices.Equal(x.ending, y.ending)
}

// check returns what is wrong with an explanation.
func (x *truth) check(e admin.Explanation) (wrong []string) {
	t := &x.task
	waits := t.Status != backend.StatusRunning && !t.Status.Final()
	zero := x.limits.Max != nil && *x.limits.Max == 0
	holds := func(rule admin.Rule) bool {
		return slices.ContainsFunc(e.Rules, func(f admin.Finding) bool { return f.Rule == rule })
	}
	exactly := func(rule admin.Rule, want bool) {
		if holds(rule) != want {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", rule, holds(rule), want))
		}
	}
	only := func(rule admin.Rule, possible bool) {
		if holds(rule) && !possible {
			wrong = append(wrong, fmt.Sprintf("%s does not hold", rule))
		}
	}
	exactly(admin.RuleEnded, t.Status.Final())
	exactly(admin.RuleStopping, t.Status == backend.StatusRunning && t.Stopping)
	if t.Status == backend.StatusRunning && holds(admin.RuleLost) == holds(admin.RuleRunning) {
		wrong = append(wrong, "it runs, or its instance is lost, and not both")
	}
	only(admin.RuleRunning, t.Status == backend.StatusRunning)
	runsHere := slices.ContainsFunc(append(x.alive, x.ending...), func(p *process) bool {
		return p.app.Instance().ID == t.Instance
	})
	only(admin.RuleLost, t.Status == backend.StatusRunning && !(x.quick && runsHere))
	exactly(admin.RuleUncommitted, waits && t.Source != "" && !x.commit)
	exactly(admin.RuleGated, waits && t.Gated)
	for _, f := range e.Rules {
		if f.Rule == admin.RuleGated && f.Evidence.SourceStatus != x.source.Status {
			wrong = append(wrong, fmt.Sprintf("the source is %s, not %s", x.source.Status, f.Evidence.SourceStatus))
		}
	}
	exactly(admin.RuleOverdue, waits && !t.Deadline.IsZero() && !t.Deadline.After(x.at))
	exactly(admin.RuleNotDue, waits && t.RunAt.After(x.at))
	exactly(admin.RulePaused, waits && x.limits.Paused)
	exactly(admin.RuleSuspect, waits && t.Suspected())
	only(admin.RuleLimitZero, waits && zero)
	only(admin.RuleUnavailable, false) // memory has no servers
	only(admin.RuleNotAllowed, false)  // all tasks may run anywhere
	ofVersion := slices.ContainsFunc(x.alive, func(p *process) bool {
		return versions[p.version].fingerprint == t.Fingerprint
	})
	only(admin.RuleVersion, waits && !t.WrongVersionSince.IsZero() && !(x.quick && ofVersion))
	only(admin.RuleNoWorker, waits && !(x.quick && len(x.alive) > 0))
	only(admin.RuleDraining, waits && !(x.quick && len(x.alive) > 0))
	only(admin.RuleNotClaiming, waits && (!x.quick || x.limits.Revision >= 0 && len(x.sim.s.Events) > 0))
	only(admin.RuleBusy, waits && (x.busy > 0 || x.inside > 0 || x.lately > 0 || !x.quick || x.ahead(e) > 0))
	ready := waits && !t.RunAt.After(x.at) && !t.Gated && !t.Uncommitted && !x.limits.Paused && !t.Suspected()
	only(admin.RuleDue, ready)
	only(admin.RuleHintLost, ready)
	if (holds(admin.RuleDue) || holds(admin.RuleHintLost)) && e.Rules[0].Rule != admin.RuleDue &&
		e.Rules[0].Rule != admin.RuleHintLost {
		wrong = append(wrong, "it is both due and held up")
	}
	return wrong
}

func (x *truth) ahead(e admin.Explanation) int {
	for _, f := range e.Rules {
		if f.Evidence.Ahead != nil {
			return f.Evidence.Ahead.N
		}
	}
	return 0
}
