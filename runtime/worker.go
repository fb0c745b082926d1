package runtime

import (
	"context"
	"encoding/json"
	"iter"
	"reflect"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/registration"
)

// A Task is the stored state of one task: see [App.GetTask] and [App.Tasks]. [ResultOf] decodes its Result. Its times
// are those of the store's clock. Its fields:
//
//	ID                string                 // unique on the backend
//	Queue             string                 // the worker's name
//	Status            Status                 // waiting, pending, running, retrying, success, failed or stopped
//	Weight            int                    // -1000 to 1000; heavier tasks of a queue run first
//	Payload           json.RawMessage        // the argument of Run
//	Result            json.RawMessage        // the result of Run; nil unless Status is StatusSuccess
//	Error             *TaskError             // of the last failure or the stop; nil after success
//	Progress          json.RawMessage        // the last value given to Running.Progress
//	Progressed        time.Time              // when it was given; zero if unknown
//	Log               []string               // the last 20 lines that the handler logged, of attempts that have ended
//	Instance          string                 // the instance that runs it, or whose attempt ended it; else ""
//	IP                string                 // the address of Instance
//	Stopping          bool                   // it runs and was requested to stop
//	Attempts          []Attempt              // the last 10 attempts that have ended, oldest first; see Attempt
//	Attempt           int                    // attempts begun; a snoozed or released attempt does not count
//	Crashes           int                    // processes that died while running it and for which it is held responsible
//	MaxCrashes        int                    // crashes that fail it; 0 before its first run
//	Suspect           *backend.Suspect       // set while it may have crashed its process; see Suspected
//	Fence             int64                  // raised each time that a process claims it
//	Source            string                 // id of the task that has it as a subtask; "" for other tasks
//	Batch             string                 // the call that submitted it, for subtasks and with Created
//	OnFailure         FailurePolicy          // how its failure affects its sibling subtasks
//	Spawned           bool                   // it has subtasks
//	Subtasks          *backend.SubtaskCounts // Total, Succeeded, Failed, Stopped, Finished; nil until all ended
//	DoneOf            string                 // id of the task for which it runs SubtasksDone; "" for other tasks
//	Gated             bool                   // it can't start before its source has succeeded
//	Uncommitted       bool                   // it can't start before the call that submits its batch has committed it
//	UniqueKey         string                 // as set by UniqueKey
//	RetryOf           string                 // id of the task that it retries; see App.RetryTask
//	RetriedBy         string                 // id of the task that retries it
//	Timeout           time.Duration          // of each attempt; 0 is the worker's, a negative one has expired
//	Deadline          time.Time              // it fails unless it has started by then; zero for none
//	Allow             []string               // addresses and networks of the instances that may run it; nil for any
//	Retries           *int                   // failed attempts that are followed by another; nil is the worker's number
//	Trace             string                 // the submitter's W3C traceparent
//	Metadata          map[string]string      // as set by WithMetadata; must not be modified
//	Created           time.Time              // when it was submitted
//	RunAt             time.Time              // it starts no earlier
//	Started           time.Time              // the start of the last attempt; zero before the first
//	Ended             time.Time              // when Status became final; zero before
//	Fingerprint       string                 // of the payload's type in the submitting program
//	WrongVersionSince time.Time              // when a worker of another version could not decode Payload; zero if none
//
// Its methods:
//
//	Suspected() bool      // reports whether it may have crashed the process that ran it
//	String() string       // its id, queue, status, attempt and error, without payload and result
//	LogValue() slog.Value // the same as a group, for package log/slog
type Task = backend.Task

// A TaskError is why the last attempt of a [Task] failed, or why the task was stopped. Its fields:
//
//	Code    Code          // the kind of failure
//	Message string        // for people
//	Details []ErrorDetail // see Detail
//
// Its methods, all of which accept nil:
//
//	Err() error           // the error as an Error, for errors.Is and Detail; nil for nil
//	String() string       // the code and the message
//	LogValue() slog.Value // the same, for package log/slog
type TaskError = backend.TaskError

// A Status is the state of a task. Its values are [StatusWaiting], [StatusPending], [StatusRunning], [StatusRetrying]
// and the final ones [StatusSuccess], [StatusFailed] and [StatusStopped]. Its methods:
//
//	Final() bool // reports whether the task has ended: success, failed or stopped
type Status = backend.Status

// The statuses of a task. The last three are final.
const (
	StatusWaiting  Status = backend.StatusWaiting  // stored, and not due or not dispatched yet
	StatusPending  Status = backend.StatusPending  // due and dispatched, not claimed yet
	StatusRunning  Status = backend.StatusRunning  // claimed by an instance
	StatusRetrying Status = backend.StatusRetrying // an attempt failed; the next one is due at RunAt
	StatusSuccess  Status = backend.StatusSuccess  // Run returned nil
	StatusFailed   Status = backend.StatusFailed   // no attempts are left, or the error was permanent
	StatusStopped  Status = backend.StatusStopped  // by App.StopTask, its source or a sibling
)

// ResultOf returns the result of a task that has succeeded. For any other task it returns [ErrFailedPrecondition].
func ResultOf[R any](t Task) (R, error) {
	var result R
	if t.Status != backend.StatusSuccess {
		return result, Errorf(ErrFailedPrecondition, "task %s is %s", t.ID, t.Status)
	}
	if err := exact.Unmarshal(t.Result, &result); err != nil {
		var zero R
		return zero, Errorf(ErrDataLoss, "decoding the result of task %s: %w", t.ID, err)
	}
	return result, nil
}

// A Worker describes a worker to the runtime. Generated code declares one for each worker.
type Worker struct {
	Name       string        // of its queue
	Type       string        // its Go type
	Signature  string        // of Run
	Max        int           // tasks running at once on each instance
	Timeout    time.Duration // of an attempt; 0 for none
	Retries    int           // attempts after the first
	Backoff    time.Duration // before the first retry
	BackoffMax time.Duration // the longest delay; 0 is 5 min, or Backoff if that is longer
	Weight     int           // of its tasks, unless submitted with another
	MaxCrashes int           // crashes that fail a task; 0 is the App's MaxCrashes
	Isolation  string        // goroutine or process; "" is goroutine
	Payload    string        // fingerprint of the payload's type
	Result     string        // fingerprint of the result's type; "" without a result
	Jobs       []DeclaredJob
}

// A WorkerSpec is a worker that a [Registrar] can run. If Err is set, the App's Start returns it.
type WorkerSpec struct {
	Worker
	Package string // import path of the Go type, for errors
	// Run decodes the payload, runs the worker and encodes its result. It returns nil if the worker has no result.
	Run func(ctx context.Context, payload json.RawMessage) (json.RawMessage, error)
	// SubtasksDone is nil if the worker has no such method.
	SubtasksDone func(ctx context.Context, payload json.RawMessage, s Subtasks) error
	// BackoffFunc is the worker's method Backoff, or nil.
	BackoffFunc func(attempt int, err error) time.Duration
	// Jobs are the jobs that the program declares with the worker.
	Jobs []JobSpec
	Err  error

	hasResult bool // Run has a result
	// checkPayload returns an error if a payload does not decode, or has unknown members. Without it all are accepted.
	checkPayload func(payload json.RawMessage) error
	handle       TaskHandler // of its tasks; set by Start
}

// Subtasks describes the subtasks of a task after all of them have ended. SubtasksDone receives it. Total is the sum of
// the other counts.
type Subtasks struct {
	Total     int
	Succeeded int
	Failed    int
	Stopped   int

	all func(ctx context.Context) iter.Seq2[Task, error]
}

// All returns an iterator over the subtasks, which reads a page at a time. It ends after the first error.
func (s Subtasks) All(ctx context.Context) iter.Seq2[Task, error] {
	if s.all == nil {
		return func(func(Task, error) bool) {}
	}
	return s.all(ctx)
}

// subtasksOf returns the subtasks of a task, as counted when they ended.
func subtasksOf(c *backend.SubtaskCounts, all func(context.Context) iter.Seq2[Task, error]) *Subtasks {
	s := &Subtasks{all: all}
	if c != nil {
		s.Total, s.Succeeded, s.Failed, s.Stopped = c.Total, c.Succeeded, c.Failed, c.Stopped
	}
	return s
}

// RegisterWorker registers w, which runs the tasks of a queue, with r. Generated code calls it. If w has the method
//
//	Backoff(attempt int, err error) time.Duration
//
// it returns the delay before the next attempt. It is called with the number of the failed attempt, from 1, and the
// error of Run or SubtasksDone, unless no attempt follows. With a result of 0 or less, and if it panics, the worker's
// backoff applies. It must be safe for concurrent use. In a child process it is called there.
func RegisterWorker[W interface {
	*T
	Run(ctx context.Context, payload P) (R, error)
}, T, P, R any](r Registrar, worker Worker, w W, opts ...WorkerOption) {
	addWorker(r, WorkerSpec{Worker: worker, hasResult: true}, (*T)(w), opts, func(ctx context.Context, payload P) (json.RawMessage, error) {
		result, err := w.Run(ctx, payload)
		if err != nil {
			return nil, err
		}
		body, err := exact.Marshal(&result)
		if err != nil {
			return nil, Errorf(ErrInternal, "encoding the result of %s: %w", worker.Type, err)
		}
		return body, nil
	})
}

// RegisterVoidWorker is [RegisterWorker] for a worker whose Run returns only an error.
func RegisterVoidWorker[W interface {
	*T
	Run(ctx context.Context, payload P) error
}, T, P any](r Registrar, worker Worker, w W, opts ...WorkerOption) {
	addWorker(r, WorkerSpec{Worker: worker}, (*T)(w), opts, func(ctx context.Context, payload P) (json.RawMessage, error) {
		return nil, w.Run(ctx, payload)
	})
}

// addWorker registers a worker whose Run has either signature.
func addWorker[P, T any](
	r Registrar, spec WorkerSpec, w *T, opts []WorkerOption, run func(context.Context, P) (json.RawMessage, error),
) {
	worker := spec.Worker
	spec.Package = reflect.TypeFor[T]().PkgPath()
	layer := workerSettings(opts)
	if err := layer.Check(); err != nil {
		spec.Err = Errorf(ErrInvalidArgument, "%s: %w", registration.Func(spec.Package, worker.Type), err)
	}
	spec.override(layer)
	if w == nil {
		spec.Err = Errorf(ErrInvalidArgument, "%s: the worker is nil", registration.Func(spec.Package, worker.Type))
	}
	spec.checkPayload = registration.Strictly[P]()
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
	if own, ok := any(w).(interface {
		Backoff(attempt int, err error) time.Duration
	}); ok {
		spec.BackoffFunc = own.Backoff
	}
	jobs, err := declared[P](worker, spec.Package)
	spec.Jobs = jobs
	if err != nil {
		spec.Err = err
	}
	r.AddWorker(spec)
}

func decodePayload[P any](worker Worker, raw json.RawMessage) (P, error) {
	var payload, zero P
	if err := exact.Unmarshal(raw, &payload); err != nil {
		return zero, guard.Undecoded(Errorf(ErrInvalidArgument, "decoding a payload of queue %q: %w", worker.Name, err))
	}
	return payload, nil
}
