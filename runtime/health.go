package runtime

import (
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Condition is the last known state of something that the App depends on, such as a server: see [App.Health]. Its fields:
//
//	Name  string            // such as rabbitmq
//	Up    bool              // whether it works
//	Since time.Time         // when Up last changed, by this machine's clock
//	Cause string            // why it is down; may contain addresses, never secrets
//	Mode  string            // the name of the degraded mode that the App is in while it is down
//	Works string            // what works in that mode
//	Lost  string            // what does not work in that mode
//	Stops []backend.Stopped // what stops altogether: calls, tasks or both
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

// Health says how the App stands now. It goes by what is known and waits for nobody.
func (a *App) Health() Health {
	h := Health{
		State:    [...]string{"open", "starting", "running", "stopping", "closed"}[a.state.Load()],
		Instance: a.instance, Backend: a.ports.Name, Conditions: a.conditions(), Degraded: []string{},
	}
	if a.tasks != nil {
		h.Unwritten, h.UnwrittenSince = a.tasks.tasks.Unwritten()
		h.Abandoned = a.tasks.tasks.Abandoned()
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
		conditions = append(conditions, a.tasks.tasks.Conditions()...)
	}
	return conditions
}
