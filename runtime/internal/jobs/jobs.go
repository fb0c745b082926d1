// Package jobs fires the cron jobs of a cluster: it submits a task at each due time of each job.
//
// # What is stored
//
// A job is one [Document], jobs/<id>: its cron expression, what to submit, and up to which due time it is decided. Its
// last fires are its [History], the document fires/<id>. Documents of older versions are read and written unchanged:
// the names of their JSON members never change.
//
// A [Catalog] reads and changes these documents for callers, each change by compare-and-set.
//
// # How a job fires
//
// Each process runs a [Scheduler], which holds all documents in memory and sleeps until the next due time. A due time
// goes through the document in two writes:
//
//  1. The scheduler decides: it raises Done past the due time and adds the result to Pending, which is a task or a reason to
//     skip. The write is conditional on the document's revision, so of several schedulers one decides.
//  2. It carries out what is pending: it inserts the tasks, adds the fires to the history, and then removes them from Pending
//     by a second conditional write. Repeating this is harmless, since a task's id contains the due time ([FireID]).
//
// # Who leads
//
// All schedulers may fire at any time without harm; a leader saves them the work. Schedulers announce themselves with
// the coordinator. The one with the least instance id leads: it fires on time, and the others check 2 s later. If the
// coordinator is unavailable, every scheduler leads.
//
// # If a process dies
//
//   - Before the first write, another scheduler decides the due time, at most 2 s late.
//   - Between the two writes, another scheduler finds the due time in Pending and carries it out, at most 2 s later.
//   - If no process runs, the next one to start applies the job's policy for missed due times.
//
// # Time
//
// Due times are compared with the store's clock and waited for by the process's monotonic clock. The wall clocks of
// processes don't matter. After the store's clock has leapt nothing is fired until it is back, or has agreed with
// itself for 10 s.
package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// Tasks is what jobs need of the tasks that they submit. Each method is tried once; its errors are those of the store.
// All methods are safe for concurrent use.
type Tasks interface {
	// Now returns the store's time.
	Now(ctx context.Context) (time.Time, error)
	// Get returns a task, or ErrNotFound.
	Get(ctx context.Context, id string) (backend.Task, error)
	// Insert inserts tasks, in parts if they are many or large, and returns them as they are stored. A task that exists
	// is returned unchanged. After an error it returns the tasks of the parts before, and any other may be stored.
	Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error)
	// Wake hints that tasks of a queue may be ready. It never blocks.
	Wake(queue string, ids []string)
	// LookAgain has all processes look for tasks of a queue, since not every process may claim a hinted one.
	LookAgain(queue string)
	// Stop stops a task with a reason, and has its waiters and subtasks notified.
	Stop(ctx context.Context, id, reason string) error
}

// A Config is what a [Scheduler] and its [Catalog] are made of. All fields but Docs and Idle must be set.
type Config struct {
	Docs        backend.Docs        // nil if the backend stores no documents: then there are no jobs
	Coordinator backend.Coordinator // announces the schedulers
	Backend     string              // the backend's name, for errors
	Instance    string              // the instance's id: the least one leads
	Idle        bool                // Declare doesn't start the scheduler

	Context  context.Context  // ends everything that runs in the background
	Requests *retry.Requester // repeats operations for callers
	Bus      *pubsub.Bus      // carries the ids of changed jobs
	Log      *slog.Logger
	NewID    func() string // returns an id that is unique in the cluster

	// Unavailable logs that something failed because of the backend and will be tried again.
	Unavailable func(message string, err error)
	// Available logs that what failed before with err succeeds again.
	Available func(message string, err error)
}

const (
	topicJobs = "af.jobs"        // jobs have changed
	opTimeout = 10 * time.Second // of one operation of the scheduler's own
)

// New returns the catalog of a cluster's jobs and the scheduler that fires them. The scheduler is not started.
func New(c Config, tasks Tasks) (*Catalog, *Scheduler) {
	catalog := &Catalog{cfg: c, tasks: tasks}
	s := &Scheduler{
		catalog: catalog, changes: signal.New(),
		leader: leader{coordinator: c.Coordinator, self: c.Instance},
	}
	catalog.changed = s.readAgain
	return catalog, s
}
