package runtime

import (
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
)

// A Condition is the last known state of something that the App depends on, such as a server: see [App.Health]. Its
// fields:
//
//	Name  string            // such as rabbitmq
//	Up    bool              // whether it works
//	Since time.Time         // when Up last changed, by this machine's clock; zero if it never has
//	Cause string            // why it is down; may contain addresses, never secrets
//	Mode  string            // the name of the degraded mode that the App is in while it is down
//	Works string            // what works in that mode
//	Lost  string            // what does not work in that mode
//	Stops []backend.Stopped // what stops altogether: calls, tasks or both
type Condition = backend.Condition

// A Health is the state of an App. It encodes to JSON.
type Health struct {
	State    string   `json:"state"` // open, starting, running, stopping or closed
	Ready    bool     `json:"ready"`
	Reason   string   `json:"reason,omitempty"` // why it is not ready
	Instance Instance `json:"instance"`
	Backend  string   `json:"backend"`
	// Conditions has one entry for each dependency of the backend. On an App with workers it also has one for the
	// heartbeats that the App writes to the store.
	Conditions []Condition `json:"conditions"`
	// Unwritten is the number of task results that are not stored yet, and UnwrittenSince the time of the first one.
	// They are kept in memory and written again. An App with workers is not ready if a result is older than half a
	// lease.
	Unwritten      int       `json:"unwritten"`
	UnwrittenSince time.Time `json:"unwritten_since,omitzero"`
	// Abandoned is the number of task handlers that still run long after their contexts ended. Each occupies a slot of
	// its worker until it returns. [App.Workers] has the numbers by queue.
	Abandoned int `json:"abandoned"`
	// Degraded has the modes of the conditions that are down. It is empty if all are up.
	Degraded []string `json:"degraded"`
}

// Health returns the last known state of the App. It never blocks.
func (a *App) Health() Health {
	h := Health{
		State:    a.life.State().String(),
		Instance: a.instance, Backend: a.ports.Name, Conditions: a.conditions(), Degraded: []string{},
	}
	if a.core != nil {
		h.Unwritten, h.UnwrittenSince = a.core.unwritten()
		for _, q := range a.core.state(false) {
			h.Abandoned += q.Abandoned
		}
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

// Ready returns nil if the App can be given work: it has started, is not shutting down, and at least one of its
// purposes works. The purpose of services is to answer calls, that of workers to run tasks. An App with neither makes
// calls and submits tasks. So an App with services and workers may be ready in a degraded mode: see [App.Health].
//
// Before the start and after the beginning of Shutdown it returns [ErrFailedPrecondition]. Otherwise it returns
// [ErrUnavailable] with a message that names what is missing. It reports the last known state and never blocks.
func (a *App) Ready() error {
	if err := a.ready(a.conditions()); err != nil {
		return err
	}
	return nil
}

func (a *App) ready(conditions []Condition) *Error {
	switch a.life.State() {
	case lifecycle.Open, lifecycle.Starting:
		return NewError(ErrFailedPrecondition, "the app has not been started")
	case lifecycle.Stopping:
		return NewError(ErrFailedPrecondition, "the app is shutting down")
	case lifecycle.Closed:
		return NewError(ErrFailedPrecondition, "the app has been shut down")
	}
	var purposes []backend.Stopped // registrations do not change after Start
	if len(a.services) > 0 {
		purposes = append(purposes, backend.StopsCalls)
	}
	if len(a.workers) > 0 {
		purposes = append(purposes, backend.StopsTasks)
	}
	if len(purposes) == 0 {
		purposes = []backend.Stopped{backend.StopsCalls, backend.StopsTasks}
	}
	return lifecycle.Unready(conditions, purposes)
}

// conditions returns the conditions of the backend and of the tasks.
func (a *App) conditions() []Condition {
	conditions := []Condition{}
	if a.ports.Health != nil {
		conditions = append(conditions, a.ports.Health()...)
	}
	if a.life.State() == lifecycle.Running && a.core != nil && a.core.tasks != nil && len(a.workers) > 0 {
		conditions = append(conditions, a.core.tasks.Conditions()...)
	}
	return conditions
}
