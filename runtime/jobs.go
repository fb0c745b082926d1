package runtime

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/exact"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/registration"
)

// A JobSpec describes a cron entry that submits a task of a queue at each due time.
type JobSpec struct {
	ID      string
	Cron    string // in the syntax of package cron
	Worker  Worker
	Payload json.RawMessage
	Options JobOptions
	// Metadata is that of its tasks.
	Metadata Metadata

	// Declared is set if the program declares the job with its worker. A program that registers the worker without the
	// job removes the job when it starts.
	Declared bool
}

// JobOptions are the options of a job. Zero fields mean the defaults.
type JobOptions struct {
	Zone     string        // an IANA name; default UTC
	Allow    []string      // addresses and networks; default any
	Missed   MissedPolicy  // default MissedOnce
	Window   time.Duration // of MissedAll; default 24 h
	Overlap  OverlapPolicy // default OverlapAllow
	Timeout  time.Duration // of an attempt; default the worker's
	Retries  *int          // attempts after the first; default the worker's
	Disabled bool          // when the job is created

	// For HandleJob only.
	Arguments    any
	ChildProcess bool
	hasArguments bool // Arguments was given, maybe as nil

	action action // of PutJob
}

// checkPut returns an error if options are set that only HandleJob supports.
func (s JobSpec) checkPut() error {
	switch {
	case s.Options.Arguments != nil || s.Options.hasArguments:
		return Errorf(ErrInvalidArgument, "job %q: Arguments is an option of HandleJob; jobs of queue %q have a payload",
			s.ID, s.Worker.Name).With(OutcomeNotSent)
	case s.Options.ChildProcess:
		return Errorf(ErrInvalidArgument, "job %q: ChildProcess is an option of HandleJob; the worker of queue %q has "+
			"its own isolation", s.ID, s.Worker.Name).With(OutcomeNotSent)
	}
	return nil
}

// internal converts a spec for package jobs.
func (s JobSpec) internal() jobs.Spec {
	o := s.Options
	return jobs.Spec{ID: s.ID, Disabled: o.Disabled, Content: jobs.Content{
		Cron: s.Cron, Zone: o.Zone, Queue: s.Worker.Name, Payload: s.Payload, Fingerprint: s.Worker.Payload,
		Weight: s.Worker.Weight, Timeout: o.Timeout, Retries: o.Retries, Allow: o.Allow, Missed: string(o.Missed), Window: o.Window,
		Overlap: string(o.Overlap), Declared: s.Declared, Metadata: s.Metadata,
	}}
}

// Check returns the error that [App.PutJob] returns for the job whatever the state of the system, such as that of its
// cron expression, its time zone or the name of its queue.
func (s JobSpec) Check() error {
	if err := s.checkPut(); err != nil {
		return err
	}
	return s.internal().Check()
}

// checkJobs returns all errors in the declared jobs of workers.
func checkJobs(workers []WorkerSpec) (errs []error) {
	declared := map[string]string{}
	for _, w := range workers {
		for _, j := range w.Jobs {
			if err := j.internal().Check(); err != nil {
				e := *backend.Coded(err)
				e.Message = registration.Func(w.Package, w.Type) + ": " + e.Message
				errs = append(errs, &e)
			}
			by := registration.Type(w.Package, w.Type)
			if other, twice := declared[j.ID]; twice {
				errs = append(errs, Errorf(ErrAlreadyExists, "job %q is declared twice: by %s and %s", j.ID, other, by))
			}
			declared[j.ID] = by
		}
	}
	return errs
}

// programOf returns the queues and declared jobs of a program with these workers.
func programOf(workers []WorkerSpec) (p jobs.Program) {
	for _, w := range workers {
		p.Queues = append(p.Queues, w.Name)
		for _, j := range w.Jobs {
			p.Jobs = append(p.Jobs, j.internal())
		}
	}
	return p
}

// A JobOption changes how a job is run.
type JobOption interface{ applyJob(*JobOptions) }

type jobOption func(*JobOptions)

func (f jobOption) applyJob(o *JobOptions) { f(o) }

func (t TimeoutOption) applyJob(o *JobOptions) { o.Timeout = time.Duration(t) }

// Zone sets the time zone of a job's cron expression, by its IANA name. The default is UTC.
func Zone(name string) JobOption { return jobOption(func(o *JobOptions) { o.Zone = name }) }

// AllowIPs restricts a job's tasks to instances that have one of these addresses or are in one of these networks, such
// as 10.1.0.0/16. The tasks wait until such an instance claims them.
func AllowIPs(ips ...string) JobOption {
	return jobOption(func(o *JobOptions) { o.Allow = append(o.Allow, ips...) })
}

// A MissedPolicy determines what happens to due times that no scheduler could fire within 30 s.
type MissedPolicy string

// The policies for missed due times.
const (
	MissedSkip MissedPolicy = "skip" // no task
	MissedOnce MissedPolicy = "once" // one task for all of them, unless a due time is now; the default
	MissedAll  MissedPolicy = "all"  // a task for each within the window, up to 1000
)

// Missed sets the policy for missed due times. The default is MissedOnce.
func Missed(p MissedPolicy) JobOption { return jobOption(func(o *JobOptions) { o.Missed = p }) }

// MissedWindow is Missed(MissedAll) for due times that are at most d old. The default window is 24 h.
func MissedWindow(d time.Duration) JobOption {
	return jobOption(func(o *JobOptions) { o.Missed, o.Window = MissedAll, d })
}

// An OverlapPolicy determines what happens at a due time if the task of an earlier one has not ended.
type OverlapPolicy string

// The policies for overlapping tasks.
const (
	OverlapSkip  OverlapPolicy = "skip"  // no task
	OverlapAllow OverlapPolicy = "allow" // both run at the same time; the default
	OverlapQueue OverlapPolicy = "queue" // the task is submitted when the previous one has ended; up to 1000 wait
)

// Overlap sets the policy for overlapping tasks. The default is OverlapAllow.
func Overlap(p OverlapPolicy) JobOption { return jobOption(func(o *JobOptions) { o.Overlap = p }) }

// Disabled creates a job that does not fire until [App.EnableJob]. It has no effect on an existing job.
func Disabled() JobOption { return jobOption(func(o *JobOptions) { o.Disabled = true }) }

// Arguments sets the argument of the function of [HandleJob]: a value of its parameter's type. The default is the zero
// value. With [HandleJobFunc], Start returns [ErrInvalidArgument].
func Arguments(v any) JobOption {
	return jobOption(func(o *JobOptions) { o.Arguments, o.hasArguments = v, true })
}

// ChildProcess runs the function of [HandleJob] or [HandleJobFunc] in a child process.
func ChildProcess() JobOption {
	return jobOption(func(o *JobOptions) { o.ChildProcess = true })
}

// A DeclaredJob is an //af:schedule of a worker. Generated code lists them in the [Worker].
type DeclaredJob struct {
	ID      string
	Cron    string
	Zone    string
	Allow   []string
	Missed  MissedPolicy
	Overlap OverlapPolicy
}

// declared returns the specs of a worker's declared jobs. They submit the zero value of the payload.
func declared[P any](w Worker, pkg string) ([]JobSpec, error) {
	if len(w.Jobs) == 0 {
		return nil, nil
	}
	var zero P
	payload, err := exact.Marshal(&zero)
	if err != nil {
		return nil, Errorf(ErrInvalidArgument, "%s: encoding the zero value of the payload: %w",
			registration.Func(pkg, w.Type), err)
	}
	specs := make([]JobSpec, len(w.Jobs))
	for i, j := range w.Jobs {
		o := JobOptions{Zone: j.Zone, Allow: j.Allow, Missed: j.Missed, Overlap: j.Overlap}
		specs[i] = JobSpec{ID: j.ID, Cron: j.Cron, Worker: w, Payload: payload, Options: o, Declared: true}
	}
	return specs, nil
}

// HandleJob registers fn as the job id. It is called at the due times of cron with the value of [Arguments], in a
// goroutine or, with [ChildProcess], in a child process. Each due time submits one task of the queue "job.<id>", which
// runs at least once, like any task. With [Retries] it runs again after an error, with a delay of 1 s that doubles. To make calls and submit other tasks, fn uses variables that it closes over. Start
// returns errors in the registration, such as a nil fn.
func HandleJob[A any](r Registrar, id, cron string, fn func(ctx context.Context, args A) error, opts ...JobOption) {
	w := Worker{
		Name: handledQueue + id, Type: registration.Job + id, Signature: "func(context.Context, A) error",
		Max: 10, Backoff: time.Second, Weight: 1,
	}
	spec := WorkerSpec{Worker: w, Package: registration.PackageOf(fn)}
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
	_, without := any(args).(noArguments)
	if given := j.Options.Arguments; without && j.Options.hasArguments {
		spec.Err = Errorf(ErrInvalidArgument, "HandleJobFunc %q: the function takes no arguments, but Arguments is given", id)
	} else if given != nil {
		v, ok := given.(A)
		if !ok {
			spec.Err = Errorf(ErrInvalidArgument, "%s: the function takes %T, but Arguments is %T",
				registration.Func(spec.Package, w.Type), args, given)
		}
		args = v
	}
	var err error
	j.Worker = spec.Worker
	if j.Payload, err = exact.Marshal(&args); err != nil {
		spec.Err = Errorf(ErrInvalidArgument, "%s: encoding the arguments: %w", registration.Func(spec.Package, w.Type), err)
	}
	if fn == nil {
		spec.Err = Errorf(ErrInvalidArgument, "%s: the function is nil", registration.Func(spec.Package, w.Type))
	}
	if j.Options.action != (action{}) {
		spec.Err = Errorf(ErrInvalidArgument, "HandleJob %q: By and Reason are options of changes, not of registrations", id)
	}
	spec.checkPayload = registration.Strictly[A]()
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

// handledJob returns the id of the job of HandleJob whose queue it is, or "".
func handledJob(queue string) string {
	if id, ok := strings.CutPrefix(queue, handledQueue); ok {
		return id
	}
	return ""
}

// HandleJobFunc is [HandleJob] for a function without arguments. With [Arguments], Start returns [ErrInvalidArgument].
func HandleJobFunc(r Registrar, id, cron string, fn func(ctx context.Context) error, opts ...JobOption) {
	var run func(context.Context, noArguments) error
	if fn != nil {
		run = func(ctx context.Context, _ noArguments) error { return fn(ctx) }
	}
	HandleJob(r, id, cron, run, opts...)
}

// noArguments is the payload of a job of [HandleJobFunc]. It decodes from any payload: tasks that were submitted when
// the job had arguments still run.
type noArguments struct{}

// UnmarshalJSON implements [json.Unmarshaler].
func (*noArguments) UnmarshalJSON([]byte) error { return nil }

const (
	handledQueue = "job."
)

// StartScheduler starts this App's scheduler, which fires jobs. Start does so unless [NoScheduler] is given. Any number
// of Apps may run one: each due time submits one task. Starting a running scheduler has no effect.
func (a *App) StartScheduler(context.Context) error {
	c, err := a.active()
	if err != nil {
		return err
	}
	if err := a.refuseObserver("StartScheduler"); err != nil {
		return err
	}
	return c.sched.Start()
}

// StopScheduler stops this App's scheduler until StartScheduler; the schedulers of other Apps keep running. It returns
// when the scheduler has ended, or when ctx ends. Stopping a stopped scheduler has no effect.
func (a *App) StopScheduler(ctx context.Context) error {
	c, err := a.active()
	if err != nil {
		return err
	}
	return c.sched.Stop(ctx)
}

// NoScheduler opens an App whose scheduler does not run before [App.StartScheduler]. Other Apps fire the jobs.
func NoScheduler() AppOption { return func(s *settings) { s.idle = true } }
