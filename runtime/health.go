package runtime

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Condition is how something that an App rests on stands, such as a server, as last seen.
type Condition = backend.Condition

// Health is how an App stands. It is plain data, and made for JSON.
type Health struct {
	State    string   `json:"state"` // open, starting, running, stopping or closed
	Ready    bool     `json:"ready"`
	Reason   string   `json:"reason,omitempty"` // why it is not ready
	Instance Instance `json:"instance"`
	Backend  string   `json:"backend"`
	// Conditions are those of what the backend rests on, and of an App with workers whether the store takes its beats.
	Conditions []Condition `json:"conditions"`
	// Unwritten is how many results of tasks the store doesn't have yet, and UnwrittenSince when the first of them came. They
	// are kept and written again. Results that are older than half a lease make an App that runs tasks not ready.
	Unwritten      int       `json:"unwritten"`
	UnwrittenSince time.Time `json:"unwritten_since,omitzero"`
	// Abandoned is how many handlers of tasks were given up on, since they ignored the end of their contexts, and still run.
	// Each keeps its slot until it returns; [App.Workers] has them by queue.
	Abandoned int `json:"abandoned"`
	// Degraded names the modes that the App is in, none where all is well; what each means stands at its condition.
	Degraded []string `json:"degraded"`
}

// modeUnwritten is what an App with workers is in that has results which the store doesn't take.
var modeUnwritten = Condition{
	Name: "results", Mode: "results-unwritten", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; tasks, whose results are kept and written again",
	Lost:  "results that were not written when this process ends: their tasks run again",
}

// modeUnclaimable is what an App with workers is in to which the store refuses tasks.
var modeUnclaimable = Condition{
	Name: "claims", Mode: "claims-refused", Stops: []backend.Stopped{backend.StopsTasks},
	Works: "calls; submitting; tasks of other queues, and those that are claimed by a hint", Lost: "tasks of a queue are found late, or not begun",
}

// modeSlotsLost is what an App with workers is in while handlers that were given up on keep slots, and modeNoSlots while
// they keep all there are.
var (
	modeSlotsLost = Condition{
		Name: "handlers", Mode: "slots-lost",
		Works: "calls; tasks, in the slots that are left",
		Lost:  "the slots of handlers that ignore the end of their contexts, until these return or the process ends",
	}
	modeNoSlots = Condition{
		Name: "slots", Mode: "no-slots", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; submitting; tasks at other instances",
		Lost:  "no task is begun until a handler that ignored the end of its context returns, or the process ends",
	}
)

// Health says how the App stands now. It goes by what is known and waits for nobody.
func (a *App) Health() Health {
	h := Health{
		State:    [...]string{"open", "starting", "running", "stopping", "closed"}[a.state.Load()],
		Instance: a.instance, Backend: a.ports.Name, Conditions: a.conditions(), Degraded: []string{},
	}
	if a.tasks != nil {
		h.Unwritten, h.UnwrittenSince = a.tasks.settler.oldest()
		h.Abandoned = a.tasks.abandoned()
	}
	for _, c := range h.Conditions {
		if !c.Up {
			h.Degraded = append(h.Degraded, c.Mode)
		}
	}
	if err := a.ready(h.Conditions); err != nil {
		h.Reason = err.Message
	} else {
		h.Ready = true
	}
	return h
}

// Ready says whether the App can be given work: nil means that it has started, is not stopping, and that of what it is
// there for something can be done. Answering calls is what one with services is there for, running tasks one with
// workers, and making calls and submitting tasks one with neither. So an App that answers calls and runs tasks is ready
// while one of the two is impossible, and in a degraded mode ([App.Health]); one that only answers calls is not while no
// call can reach it. The error is failed_precondition before the start and from the beginning of Shutdown, and else
// unavailable, and names what is missing. Ready goes by what is known and waits for nobody.
func (a *App) Ready() error {
	if err := a.ready(a.conditions()); err != nil {
		return err
	}
	return nil
}

func (a *App) ready(conditions []Condition) *Error {
	switch a.state.Load() {
	case stateOpen, stateStarting:
		return NewError(ErrFailedPrecondition, "the app has not been started")
	case stateStopping:
		return NewError(ErrFailedPrecondition, "the app is shutting down")
	case stateClosed:
		return NewError(ErrFailedPrecondition, "the app has been shut down")
	}
	var purposes []backend.Stopped // registrations don't change while it runs
	if len(a.services) > 0 {
		purposes = append(purposes, backend.StopsCalls)
	}
	if len(a.workers) > 0 {
		purposes = append(purposes, backend.StopsTasks)
	}
	if len(purposes) == 0 {
		purposes = []backend.Stopped{backend.StopsCalls, backend.StopsTasks}
	}
	reason := ""
	for _, p := range purposes {
		i := slices.IndexFunc(conditions, func(c Condition) bool { return !c.Up && slices.Contains(c.Stops, p) })
		if i < 0 {
			return nil
		}
		if reason != "" {
			reason += "; "
		}
		reason += conditions[i].Mode + ": " + conditions[i].Cause
	}
	return Errorf(ErrUnavailable, "not ready: %s", reason)
}

// conditions are those of the backend and of the engine.
func (a *App) conditions() []Condition {
	conditions := []Condition{}
	if a.ports.Health != nil {
		conditions = append(conditions, a.ports.Health()...)
	}
	if a.state.Load() == stateRunning && a.tasks != nil && len(a.workers) > 0 {
		conditions = append(conditions, a.tasks.heartbeat.Condition(), a.tasks.settler.condition(), a.tasks.claimsCondition())
		conditions = append(conditions, a.tasks.slotConditions()...)
	}
	return conditions
}

// condition says whether the store takes results: as soon as it is slower with them than with beats before nothing is claimed.
func (s *settler) condition() Condition {
	c := modeUnwritten
	n, since := s.oldest()
	if c.Up = n == 0 || time.Since(since) < s.e.heartbeat.Lease/2; !c.Up {
		c.Since = since
		c.Cause = fmt.Sprintf("%d results are not written, the oldest for %v", n, time.Since(since).Round(time.Second))
	}
	return c
}

// claimsCondition says whether the store refuses to claim from a queue.
func (e *engine) claimsCondition() Condition {
	c := modeUnclaimable
	c.Up = true
	for name, p := range e.pools {
		if err := p.refusal.Load(); err != nil {
			c.Up, c.Cause = false, fmt.Sprintf("claiming from queue %q: %s", name, (*err).Error())
		}
	}
	return c
}

// abandoned counts the handlers that were given up on and still run.
func (e *engine) abandoned() (n int) {
	for _, p := range e.pools {
		p.mu.Lock()
		lost, _ := p.abandoned()
		p.mu.Unlock()
		n += lost
	}
	return n
}

// slotConditions reports whether handlers that were given up on keep slots, and whether they keep all.
func (e *engine) slotConditions() []Condition {
	some, all := modeSlotsLost, modeNoSlots
	some.Up, all.Up = true, len(e.pools) == 0
	var causes []string
	for name, p := range e.pools {
		p.mu.Lock()
		lost, since := p.abandoned()
		slots := p.applied.slots()
		p.mu.Unlock()
		if lost == 0 || lost < slots {
			all.Up = true
		}
		if lost == 0 {
			continue
		}
		causes = append(causes, fmt.Sprintf("queue %q: %d of %d", name, lost, slots))
		if some.Up || since.Before(some.Since) {
			some.Up, some.Since = false, since
		}
	}
	slices.Sort(causes)
	some.Cause = strings.Join(causes, ", ")
	if !all.Up {
		all.Cause, all.Since = some.Cause, some.Since
	}
	return []Condition{some, all}
}

// levelOf is the level at which to speak of an error: that of debugging where a server is away and the backend itself says
// so in the log, once.
func (e *engine) levelOf(err error, otherwise slog.Level) slog.Level {
	if e.ports.Health != nil && retry.Unavailable(err) {
		return slog.LevelDebug
	}
	return otherwise
}

// logAway warns of something that failed on the store and will be tried again.
func (e *engine) logAway(what string, err error, args ...any) {
	e.log.Log(e.ctx, e.levelOf(err, slog.LevelWarn), what, append(args, "error", err)...)
}
