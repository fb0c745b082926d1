package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A JobSpec is a cron entry that submits a task of a queue at each due time.
type JobSpec struct {
	ID      string
	Cron    string // as package cron reads it
	Worker  Worker
	Payload json.RawMessage
	Options JobOptions

	// Declared says that the program declares it with the worker: it is removed by a program that registers the worker
	// without it.
	Declared bool
}

// JobOptions is how a job is to be run. Zero fields are the defaults.
type JobOptions struct {
	Zone     string        // an IANA name; UTC
	Allow    []string      // addresses and networks; any
	Missed   MissedPolicy  // once
	Window   time.Duration // of MissedAll; 24 h
	Overlap  OverlapPolicy // allow
	Timeout  time.Duration // of an attempt; the worker's
	Disabled bool          // when it is made

	// Of HandleJob only.
	Arguments    any
	ChildProcess bool
	ofHandleJob  string // the last of these that was given, whatever its value
}

// checkPut refuses options that have no effect on a job of a worker.
func (s JobSpec) checkPut() error {
	switch {
	case s.Options.Arguments != nil || s.Options.ofHandleJob == "Arguments":
		return Errorf(ErrInvalidArgument, "job %q: Arguments is an option of HandleJob; a job of queue %q has the payload that it is scheduled with",
			s.ID, s.Worker.Name).With(OutcomeNotSent)
	case s.Options.ChildProcess:
		return Errorf(ErrInvalidArgument, "job %q: ChildProcess is an option of HandleJob; tasks of queue %q run in what the worker's isolation says",
			s.ID, s.Worker.Name).With(OutcomeNotSent)
	}
	return nil
}

// A JobOption changes how a job is run.
type JobOption interface{ applyJob(*JobOptions) }

type jobOption func(*JobOptions)

func (f jobOption) applyJob(o *JobOptions) { f(o) }

func (t TimeoutOption) applyJob(o *JobOptions) { o.Timeout = time.Duration(t) }

// Zone sets the time zone in which a job's cron expression is meant, by its IANA name; UTC without it.
func Zone(name string) JobOption { return jobOption(func(o *JobOptions) { o.Zone = name }) }

// AllowIPs lets a job's tasks run only on instances with one of these addresses, or in one of these networks, such as
// 10.1.0.0/16. Its tasks wait until such an instance claims them.
func AllowIPs(ips ...string) JobOption {
	return jobOption(func(o *JobOptions) { o.Allow = append(o.Allow, ips...) })
}

// A MissedPolicy says what becomes of due times at which no scheduler could fire, for more than 30 s.
type MissedPolicy string

// The policies for missed due times.
const (
	MissedSkip MissedPolicy = "skip" // nothing
	MissedOnce MissedPolicy = "once" // one task for all of them, if none is due just now; the default
	MissedAll  MissedPolicy = "all"  // a task for each within the window, up to 1000
)

// Missed sets what becomes of due times that were missed; MissedOnce without it.
func Missed(p MissedPolicy) JobOption { return jobOption(func(o *JobOptions) { o.Missed = p }) }

// MissedWindow is Missed(MissedAll) for due times no older than d, which is 24 h without it.
func MissedWindow(d time.Duration) JobOption {
	return jobOption(func(o *JobOptions) { o.Missed, o.Window = MissedAll, d })
}

// An OverlapPolicy says what happens at a due time when the task of an earlier one has not ended.
type OverlapPolicy string

// The policies for overlapping tasks.
const (
	OverlapSkip  OverlapPolicy = "skip"  // nothing
	OverlapAllow OverlapPolicy = "allow" // they run side by side; the default
	OverlapQueue OverlapPolicy = "queue" // the next is submitted when the one before has ended; up to 1000 wait
)

// Overlap sets what happens at a due time when the task of an earlier one has not ended; OverlapAllow without it.
func Overlap(p OverlapPolicy) JobOption { return jobOption(func(o *JobOptions) { o.Overlap = p }) }

// Disabled makes a job that is not fired before EnableJob. A job that exists keeps being what it is.
func Disabled() JobOption { return jobOption(func(o *JobOptions) { o.Disabled = true }) }

// Arguments sets what the function of [HandleJob] gets: a value of its parameter's type. Without it, the zero value.
func Arguments(v any) JobOption {
	return jobOption(func(o *JobOptions) { o.Arguments, o.ofHandleJob = v, "Arguments" })
}

// ChildProcess has the function of [HandleJob] run in a child process.
func ChildProcess() JobOption {
	return jobOption(func(o *JobOptions) { o.ChildProcess, o.ofHandleJob = true, "ChildProcess" })
}

// A DeclaredJob is an //af:schedule of a worker. Generated code declares them in the [Worker].
type DeclaredJob struct {
	ID      string
	Cron    string
	Zone    string
	Allow   []string
	Missed  MissedPolicy
	Overlap OverlapPolicy
}

// declared makes specs of a worker's declared jobs. They submit the payload's zero value.
func declared[P any](w Worker) ([]JobSpec, error) {
	if len(w.Jobs) == 0 {
		return nil, nil
	}
	var zero P
	payload, err := encode(&zero)
	if err != nil {
		return nil, Errorf(ErrInvalidArgument, "Register%s: the zero value of the payload does not encode: %w", w.Type, err)
	}
	specs := make([]JobSpec, len(w.Jobs))
	for i, j := range w.Jobs {
		o := JobOptions{Zone: j.Zone, Allow: j.Allow, Missed: j.Missed, Overlap: j.Overlap}
		specs[i] = JobSpec{ID: j.ID, Cron: j.Cron, Worker: w, Payload: payload, Options: o, Declared: true}
	}
	return specs, nil
}

// HandleJob has r run fn as the job id, at the due times of cron: with what [Arguments] says, in a goroutine or, with
// [ChildProcess], in a child process. Each due time makes one task of the queue "job.<id>", which runs at least once,
// as any task does; fn submits tasks of other queues and makes calls with what it closes over. What is wrong with it is
// returned when r starts.
func HandleJob[A any](r Registrar, id, cron string, fn func(ctx context.Context, args A) error, opts ...JobOption) {
	w := Worker{
		Name: handledQueue + id, Type: handledType + id, Signature: "func(context.Context, A) error", Max: 10, Backoff: time.Second,
		Weight: 1,
	}
	spec := WorkerSpec{Worker: w}
	j := JobSpec{ID: id, Cron: cron, Declared: true}
	for _, o := range opts {
		if o != nil {
			o.applyJob(&j.Options)
		}
	}
	if j.Options.ChildProcess {
		spec.Isolation = "process"
	}
	var args A
	if given := j.Options.Arguments; given != nil {
		v, ok := given.(A)
		if !ok {
			spec.Err = Errorf(ErrInvalidArgument, "HandleJob %q: its function takes %T, and the arguments are %T", id, args, given)
		}
		args = v
	}
	var err error
	j.Worker = spec.Worker
	if j.Payload, err = encode(&args); err != nil {
		spec.Err = Errorf(ErrInvalidArgument, "HandleJob %q: the arguments do not encode: %w", id, err)
	}
	if fn == nil {
		spec.Err = Errorf(ErrInvalidArgument, "HandleJob %q: the function is nil", id)
	}
	spec.Run = func(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
		args, err := decodePayload[A](w, raw)
		if err != nil {
			return nil, err
		}
		return nil, fn(ctx, args)
	}
	spec.Jobs = []JobSpec{j}
	r.AddWorker(spec)
}

const (
	handledQueue = "job."
	handledType  = "Job " // and the id: of the worker that HandleJob makes
)

// PutJob implements [TaskClient]. The job's due times are those after now; where one of that id has the same time
// table, they go on as they are, and where nothing differs nothing is written. A job that is disabled stays so.
func (a *App) PutJob(ctx context.Context, spec JobSpec) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	if err := spec.checkPut(); err != nil {
		return err
	}
	return e.putJob(ctx, spec)
}

// RemoveJob removes a job and its history; tasks that it has submitted stay. Removing one that isn't there is harmless.
// A job that a program declares comes back when such a program starts: disable it instead.
func (a *App) RemoveJob(ctx context.Context, id string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return e.removeJob(ctx, id, func(*jobDoc) bool { return true })
}

// EnableJob lets a job be fired again: at its due times from now on. A job whose due times were decided more than an hour
// ahead, since the store's clock was wrong then, also continues from now on.
func (a *App) EnableJob(ctx context.Context, id string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return e.enableJob(ctx, id)
}

// DisableJob keeps a job from being fired, across restarts, until EnableJob. Tasks that it has submitted stay. Once it has
// returned nil no scheduler of any process submits a task of the job any more, not even one that was about to. A due time that
// was decided and whose task was not submitted yet has a stopped task instead.
func (a *App) DisableJob(ctx context.Context, id string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return e.disableJob(ctx, id)
}

// RunJob submits a task of a job now, whether it is disabled or not and whatever its policies, and returns the task's
// id.
func (a *App) RunJob(ctx context.Context, id string) (string, error) {
	e, err := a.engine()
	if err != nil {
		return "", err
	}
	if err := outsideTx(ctx, "running a job"); err != nil {
		return "", err
	}
	return e.runJob(ctx, id)
}

// StartScheduler has this App fire jobs, as it does from Start on unless [NoScheduler] was given. Any number of Apps
// may: each due time makes one task. Starting it again is harmless.
func (a *App) StartScheduler(context.Context) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	if e.ports.Docs == nil {
		return noDocs(e.ports.Name)
	}
	e.sched.start()
	return nil
}

// StopScheduler keeps this App from firing jobs until StartScheduler; other Apps go on. It returns when nothing is
// under way any more, or when ctx ends. Stopping it again is harmless.
func (a *App) StopScheduler(ctx context.Context) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	return e.sched.stop(ctx)
}

// NoScheduler opens an App that doesn't fire jobs before StartScheduler. Others do.
func NoScheduler() AppOption { return func(s *settings) { s.idle = true } }

func noDocs(name string) *Error {
	return Errorf(backend.ErrUnimplemented, "the backend %s keeps no jobs", name).With(OutcomeNotSent)
}
