// Package jobs fires the cron jobs of a cluster: it submits a task at each due time of each job.
//
// # Stored documents
//
// A job is one [Document], jobs/<id>: its cron expression, its task, and the due time until which it is decided. Its
// latest fires are its [History], the document fires/<id>. Documents of older versions are read and written
// unchanged; the names of JSON fields never change.
//
// A [Catalog] reads and changes these documents for callers, each change by compare-and-set.
//
// # How a job fires
//
// Each process runs a [Scheduler], which holds all documents in memory and sleeps until the next due time. A due time
// changes the document in two writes:
//
//  1. The scheduler decides: it raises Done past the due time and adds the result to Pending: a task, or a reason to
//     skip. The write is conditional on the document's revision, so only one of several schedulers decides.
//  2. It carries out pending fires: it inserts the tasks, adds the fires to the history, and removes them from Pending
//     with a second conditional write. Repeating this is harmless: a task's id contains the due time ([FireID]), and
//     pending fires of an earlier pass that are in the history are only removed from Pending.
//
// Due times of many jobs at the same instant share these writes, and the reads before them: each step handles a batch
// of 250 jobs with a few operations of the store. All tasks are inserted before any fire is recorded, so that no task
// waits for another job's history. A job whose task or document is refused fails alone, and is retried a while later.
//
// # Leader
//
// All schedulers may fire at any time without harm; a leader only saves work. Schedulers announce themselves with the
// coordinator. The one with the least instance id leads: it fires on time, and the others check 2 s later. If the
// coordinator is unavailable, every scheduler leads.
//
// # If a process dies
//
//   - Before the first write, another scheduler decides the due time, at most 2 s late.
//   - Between the two writes, another scheduler finds the due time in Pending and carries it out, at most 2 s later.
//     No matter how late that is, a task that has ended and was deleted is not inserted again: see below.
//   - If no process runs, the next one to start applies the job's policy for missed due times.
//
// # Deleted tasks
//
// Inserting a task twice is harmless only while it exists. So before tasks are deleted, pending fires whose tasks have
// ended are marked ([Firing.Ended]), and those are carried out without an insert. A scheduler may have read the job
// before that, and insert the task up to 15 s later. So the tasks of fires are kept for 30 s after they have ended and,
// if they are pending, after they were marked. [Catalog.Purgeable] and [Catalog.PrepareDelete] do this. The task of a fire
// that is carried out long after it was decided may have ended before. So such fires stay in [Document.Late], and their
// tasks are kept for 30 s after that.
//
// # Time
//
// Due times are compared with the store's clock, and the scheduler waits with its monotonic clock. Wall clocks of
// processes don't matter. After a jump of the store's clock nothing fires until it is back or has been steady for 10
// s.
package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/pubsub"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A Store has the operations of [backend.Store] that jobs need.
type Store interface {
	Now(ctx context.Context) (time.Time, error)
	Get(ctx context.Context, id string) (backend.Task, error)
	Statuses(ctx context.Context, ids []string) (map[string]backend.Status, error)
	Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error)
}

// Tasks has the task operations that jobs need, and that are more than requests to the store. All methods are safe for
// concurrent use.
type Tasks interface {
	// Wake publishes hints that tasks of a queue may be ready. It never blocks.
	Wake(queue string, ids []string)
	// PollAgain makes all processes poll a queue, because not every process may claim a hinted task.
	PollAgain(queue string)
	// Stop stops a task with a reason, and notifies its waiters and subtasks. It does not retry.
	Stop(ctx context.Context, id, reason string) error
}

// A Config configures a [Scheduler] and its [Catalog]. All fields except Docs, Idle and Hooks are required.
type Config struct {
	Docs        backend.Docs // nil if the backend does not support documents: then there are no jobs
	Store       Store
	Coordinator backend.Coordinator // announces the schedulers
	Backend     string              // the backend's name, for errors
	Instance    string              // the instance's id; the least one leads
	Idle        bool                // Declare doesn't start the scheduler

	Context  context.Context  // ends everything in the background
	Requests *retry.Requester // retries operations for callers
	Bus      *pubsub.Bus      // carries the ids of changed jobs
	Log      *slog.Logger
	NewID    func() string // returns an id that is unique in the cluster
	Hooks    *hooks.Set    // the App's instruments; nil if it has none

	// Unavailable logs a failed backend operation that will be retried.
	Unavailable func(message string, err error)
	// Available logs that an operation that failed with err succeeds again.
	Available func(message string, err error)
}

const (
	topicJobs      = "af.jobs"        // jobs have changed
	opTimeout      = 10 * time.Second // of one operation of the scheduler
	maxInsertBytes = 16 << 20         // of an insert of several tasks
)

// New returns the catalog of a cluster's jobs, and the scheduler that fires them. The scheduler is not started.
func New(c Config, tasks Tasks) (*Catalog, *Scheduler) {
	catalog := &Catalog{cfg: c, tasks: tasks}
	s := &Scheduler{
		catalog: catalog, changes: signal.New(),
		leader: leader{coordinator: c.Coordinator, self: c.Instance},
	}
	catalog.changed = s.readAgain
	return catalog, s
}
