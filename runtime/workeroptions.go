package runtime

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// How the settings of a worker are found, from the lowest layer to the highest: its directive, the options of its
// generated RegisterX function (RegisterWorker), config.yaml (settings.configure) and ConfigureWorker (AddWorker). Each
// layer is a backend.WorkerSettings. The options of a task override the result, in package tasks.

// A WorkerOption overrides a setting of a worker's directive: see [Max], [Retries], [Timeout] and [Backoff]. It is an
// option of generated RegisterX functions and of [ConfigureWorker].
//
// The other keys of //af:worker have no option. The name, the weight and the client belong to the code that submits,
// too. Isolation determines what the code may do. MaxCrashes is an option of the App.
type WorkerOption interface {
	applyWorker(*backend.WorkerSettings)
}

type workerOption func(*backend.WorkerSettings)

func (f workerOption) applyWorker(s *backend.WorkerSettings) { f(s) }

// Max sets how many tasks of the worker each instance runs at once, from 1 to 10,000. [App.UpdateMaxWorkers] overrides
// it while instances run.
func Max(n int) WorkerOption {
	return workerOption(func(s *backend.WorkerSettings) { s.Max = &n })
}

// Backoff sets the delay before the first retry of a task. It doubles with each further retry, up to most, and varies
// by 20 % in either direction. base is from 1 ns to 24 h. most is at least base and at most 30 days, or 0 for the
// default: 5 min, or base if that is longer. A worker's method Backoff takes precedence.
func Backoff(base, most time.Duration) WorkerOption {
	return workerOption(func(s *backend.WorkerSettings) { s.Backoff, s.BackoffMax = &base, &most })
}

// A RetriesOption is a [WorkerOption], a [SubmitOption], a [SubtaskOption] and a [JobOption]: see [Retries].
type RetriesOption int

// Retries sets how often a task is tried again after its first attempt has failed, from 0 to 1000. As an option of a
// worker it applies to tasks without a number of their own. As an option of a task or a job it applies to that task or
// to the tasks of the job, whatever the worker's number is; but SubtasksDone is retried as often as the worker says.
func Retries(n int) RetriesOption { return RetriesOption(n) }

func (r RetriesOption) applyWorker(s *backend.WorkerSettings) { s.Retries = new(int(r)) }
func (r RetriesOption) applySubmit(o *TaskOptions)            { o.Retries = new(int(r)) }
func (r RetriesOption) applySubtasks(o *TaskOptions)          { o.Retries = new(int(r)) }
func (r RetriesOption) applyJob(o *JobOptions)                { o.Retries = new(int(r)) }

func (t TimeoutOption) applyWorker(s *backend.WorkerSettings) { s.Timeout = new(time.Duration(t)) }

// ConfigureWorker overrides settings of the worker of a queue, if the App registers it: those of the directive, of
// RegisterX and of config.yaml. It is for programs with a configuration of their own. If the App registers workers, but
// none of this queue, Start logs a warning.
func ConfigureWorker(queue string, opts ...WorkerOption) AppOption {
	return func(s *settings) { s.configureWorker(queue, workerSettings(opts)) }
}

// workerSettings returns the settings of options; of several for the same setting the last one counts.
func workerSettings(opts []WorkerOption) (s backend.WorkerSettings) {
	for _, o := range opts {
		if o != nil {
			o.applyWorker(&s)
		}
	}
	return s
}

// configureWorker adds a layer of settings for the worker of a queue.
func (s *settings) configureWorker(queue string, layer backend.WorkerSettings) {
	if s.workers == nil {
		s.workers = map[string][]backend.WorkerSettings{}
	}
	s.workers[queue] = append(s.workers[queue], layer)
}

// checkWorkers returns an error if a setting of a worker is out of range.
func (s *settings) checkWorkers() error {
	for _, queue := range slices.Sorted(maps.Keys(s.workers)) {
		for _, layer := range s.workers[queue] {
			if err := layer.Check(); err != nil {
				return Errorf(ErrInvalidArgument, "settings of the worker of queue %q: %w", queue, err)
			}
		}
	}
	return nil
}

// override applies a layer of settings. If only one of the backoff and its maximum is overridden, and the other one
// contradicts it, the other one changes as well.
func (w *Worker) override(s backend.WorkerSettings) {
	set(&w.Max, s.Max)
	set(&w.Retries, s.Retries)
	set(&w.Timeout, s.Timeout)
	set(&w.Backoff, s.Backoff)
	set(&w.BackoffMax, s.BackoffMax)
	if w.BackoffMax == 0 || w.Backoff <= w.BackoffMax {
		return
	}
	if s.BackoffMax != nil {
		w.Backoff = w.BackoffMax
	} else {
		w.BackoffMax = w.Backoff
	}
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// warnOfUnknownWorkers logs the queues that have settings, but no worker here. A file may configure several programs,
// so this is no error. A program without workers has nothing that a name could be mistaken for.
func (c *core) warnOfUnknownWorkers(workers []WorkerSpec) {
	if len(workers) == 0 {
		return
	}
	unknown := maps.Clone(c.app.settings.workers)
	var known []string
	for _, w := range workers {
		delete(unknown, w.Name)
		known = append(known, w.Name)
	}
	if len(unknown) > 0 {
		slices.Sort(known)
		c.log.Warn("settings of workers ignored: this program has no workers of these queues",
			"queues", slices.Sorted(maps.Keys(unknown)), "workers", known)
	}
}

// retryDelay calls the worker's method Backoff, if it has one, and reports whether the method has chosen a delay.
func (w *WorkerSpec) retryDelay(log *slog.Logger, attempt int, failure error) (delay time.Duration, ok bool) {
	if w.BackoffFunc == nil {
		return 0, false
	}
	delay, failed := guard.Delay(func() time.Duration { return w.BackoffFunc(attempt, failure) })
	if failed != nil {
		attrs := []any{"error", failed}
		if p, ok := failed.(*guard.PanicError); ok {
			attrs = p.Attrs()
		}
		log.Error("method Backoff failed, using the backoff of the worker", attrs...)
	}
	return delay, delay > 0
}
