package runtime

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// A Task is the document of one task; [ResultOf] decodes its result.
type Task = backend.Task

// A Status is where a task stands.
type Status = backend.Status

// The seven statuses. The last three are final.
const (
	StatusWaiting  = backend.StatusWaiting  // persisted
	StatusPending  = backend.StatusPending  // a hint is out or about to be
	StatusRunning  = backend.StatusRunning  // claimed
	StatusRetrying = backend.StatusRetrying // an attempt failed, the next is due at RunAt
	StatusSuccess  = backend.StatusSuccess
	StatusFailed   = backend.StatusFailed
	StatusStopped  = backend.StatusStopped
)

// ResultOf returns the result of a task that succeeded; failed_precondition for any other.
func ResultOf[R any](t Task) (R, error) {
	var result R
	if t.Status != backend.StatusSuccess {
		return result, Errorf(ErrFailedPrecondition, "task %s is %s", t.ID, t.Status)
	}
	if err := exact.Unmarshal(t.Result, &result); err != nil {
		var zero R
		return zero, Errorf(ErrDataLoss, "the result of task %s does not decode: %w", t.ID, err)
	}
	return result, nil
}

// A Worker is what the generator knows of a worker. Generated code declares one for each.
type Worker struct {
	Name      string // of its queue
	Type      string // of Go
	Signature string // of Run
	Max       int    // tasks running at once per instance
	Timeout   time.Duration
	Retries   int
	Backoff   time.Duration
	Weight    int
	// MaxCrashes is how many processes may die with a task as their only suspect before it fails; 0 leaves it to the App.
	MaxCrashes int
	Isolation  string // "" or "goroutine"; "process"
	Payload    string // fingerprint
	Result     string // fingerprint; "" where there is none
	Jobs       []DeclaredJob
}

// A WorkerSpec is a worker ready to run tasks. Err says what is wrong with it: the App's Start returns it.
type WorkerSpec struct {
	Worker
	// Run decodes the payload, runs the worker and encodes its result (nil where there is none).
	Run func(ctx context.Context, payload json.RawMessage) (json.RawMessage, error)
	// SubtasksDone is nil where the worker has no such method.
	SubtasksDone func(ctx context.Context, payload json.RawMessage, s Subtasks) error
	// Jobs are those that the program declares with the worker.
	Jobs []JobSpec
	Err  error
}

// Subtasks is the finished set of a task's subtasks.
type Subtasks struct {
	Total     int
	Succeeded int
	Failed    int
	Stopped   int

	all func(ctx context.Context) iter.Seq2[Task, error]
}

// All reads the subtasks, a page at a time. It ends after the first error.
func (s Subtasks) All(ctx context.Context) iter.Seq2[Task, error] {
	if s.all == nil {
		return func(func(Task, error) bool) {}
	}
	return s.all(ctx)
}

// RegisterWorker has r run the tasks of a queue with w. Generated code calls it.
func RegisterWorker[W interface {
	*T
	Run(ctx context.Context, payload P) (R, error)
}, T, P, R any](r Registrar, worker Worker, w W) {
	addWorker[P](r, worker, (*T)(w), func(ctx context.Context, payload P) (json.RawMessage, error) {
		result, err := w.Run(ctx, payload)
		if err != nil {
			return nil, err
		}
		body, err := encode(&result)
		if err != nil {
			return nil, Errorf(ErrInternal, "the result of %s does not encode: %w", worker.Type, err)
		}
		return body, nil
	})
}

// RegisterVoidWorker is [RegisterWorker] for a worker whose Run returns only an error.
func RegisterVoidWorker[W interface {
	*T
	Run(ctx context.Context, payload P) error
}, T, P any](r Registrar, worker Worker, w W) {
	addWorker[P](r, worker, (*T)(w), func(ctx context.Context, payload P) (json.RawMessage, error) {
		return nil, w.Run(ctx, payload)
	})
}

// addWorker gives r what a worker of either shape needs.
func addWorker[P, T any](r Registrar, worker Worker, w *T, run func(context.Context, P) (json.RawMessage, error)) {
	spec := WorkerSpec{Worker: worker}
	if w == nil {
		spec.Err = Errorf(ErrInvalidArgument, "Register%s: the worker is nil", worker.Type)
	}
	spec.Run = func(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
		payload, err := decodePayload[P](worker, raw)
		if err != nil {
			return nil, err
		}
		return run(ctx, payload)
	}
	if fan, ok := any(w).(interface {
		SubtasksDone(ctx context.Context, payload P, s Subtasks) error
	}); ok {
		spec.SubtasksDone = func(ctx context.Context, raw json.RawMessage, s Subtasks) error {
			payload, err := decodePayload[P](worker, raw)
			if err != nil {
				return err
			}
			return fan.SubtasksDone(ctx, payload, s)
		}
	}
	jobs, err := declared[P](worker)
	spec.Jobs = jobs
	if err != nil {
		spec.Err = err
	}
	r.AddWorker(spec)
}

func decodePayload[P any](worker Worker, raw json.RawMessage) (P, error) {
	var payload, zero P
	if err := exact.Unmarshal(raw, &payload); err != nil {
		return zero, guard.Undecoded(Errorf(ErrInvalidArgument, "the payload of queue %s does not decode: %w", worker.Name, err))
	}
	return payload, nil
}
