package backend

import (
	"context"
	"encoding/json"
	"time"
)

// Store keeps tasks. Every method that changes one is a single conditional write a task, guarded as [Transitions] says,
// so that losing a reply and repeating the call is harmless.
type Store interface {
	// Insert writes tasks that don't exist yet (row 1) and returns, in the order of tasks, what is stored under each id:
	// the new task, or the one that was there. A unique key that a live task holds makes that task the one returned. A nil
	// error means that all are durable; after an error any subset may be, and repeating is safe.
	Insert(ctx context.Context, tasks []NewTask) ([]Task, error)

	// Claim takes up to c.Max due tasks of one queue for an owner (row 2), best weight first, then oldest; where c.IDs is
	// set, only those. It also returns when the next one is due (zero: none known). A claim repeated with the same nonce
	// returns what that nonce took.
	Claim(ctx context.Context, c Claim) (tasks []Task, next time.Time, err error)

	// Settle ends claims (rows 3 to 6 and 10) and says of each whether it was applied: by this call or by an earlier one
	// with the same nonce. Not applied means that the fence has moved on, and the caller's result is void.
	Settle(ctx context.Context, settles []Settle) (applied []bool, err error)

	// Beat raises an owner's counter. aborted means that the owner has been convicted and must stop its runs.
	Beat(ctx context.Context, owner string, count int64) error

	// Owned lists what the store thinks an owner runs, with stop requests: what the owner audits itself against.
	Owned(ctx context.Context, owner string) ([]Owned, error)

	// Judge convicts an owner whose counter is still count: its tasks go back or fail (row 7). It returns how many.
	Judge(ctx context.Context, owner string, count int64, maxCrashes int) (int, error)

	// Promote marks up to max tasks of a queue as hinted, best first, and fails those past their deadline (rows 8, 11). It
	// returns the ids to hint, and when the next one is due.
	Promote(ctx context.Context, queue string, max int) (ids []string, next time.Time, err error)

	// Spawn raises a source's spawn_rev, which opens the gate for the subtasks inserted under it before. It is
	// failed_precondition where the source takes no more subtasks.
	Spawn(ctx context.Context, source, batch string, open bool) error

	// Finish marks a source's set of subtasks as finished (row 12) if no live one is left; false where one is.
	Finish(ctx context.Context, source string) (bool, error)

	// Stop stops a task and everything under it: what waits at once (row 9), what runs by request. It returns how many it
	// met that had not ended.
	Stop(ctx context.Context, id, reason string) (int, error)

	// Get returns a task; not_found where there is none.
	Get(ctx context.Context, id string) (Task, error)

	// List returns the tasks that match, sorted as asked, one page at a time.
	List(ctx context.Context, q TaskQuery) (TaskPage, error)

	// Purge deletes up to max tasks that ended before, sources together with their subtasks, and returns how many.
	Purge(ctx context.Context, before time.Time, max int) (int, error)
}

// A NewTask is a task to insert.
type NewTask struct {
	Task  Task          // Status is waiting or pending; times the store sets are ignored
	Delay time.Duration // RunAt is the store's now plus Delay, where Task.RunAt is zero
	Gated bool          // not before its batch is opened by Spawn
}

// A Claim asks for tasks.
type Claim struct {
	Queue string
	Owner string // the claiming process's boot id
	Nonce string // unique a claim
	Max   int
	IDs   []string
}

// A Settle ends one claim.
type Settle struct {
	ID     string
	Owner  string
	Fence  int64
	Nonce  string
	To     Status
	Result json.RawMessage
	Error  *TaskError
	Delay  time.Duration // for retrying and waiting: due that long after the store's now
}

// Owned is one claim as the store sees it.
type Owned struct {
	ID       string
	Queue    string
	Fence    int64
	Stopping bool
}

// A TaskQuery selects tasks; zero fields don't restrict.
type TaskQuery struct {
	Queue    string
	Source   string
	Statuses []Status
	After    time.Time // created
	Before   time.Time
	Sort     string // "created", "-created", "ended", "-ended", "weight"; "" is "-created"
	Limit    int    // 1 to 1000; 0 is 100
	Cursor   string // of the page before
}

// A TaskPage is one page of tasks.
type TaskPage struct {
	Tasks  []Task
	Total  int
	Cursor string // of the next page; "" at the end
}

// Docs keeps small documents under names such as "jobs/nightly". Each has a revision that every write raises.
type Docs interface {
	// Get returns a document; not_found where there is none.
	Get(ctx context.Context, name string) (Doc, error)
	// PutIf writes name if its revision is rev (0: it must not exist) and returns the new revision; else it is aborted.
	// An error other than aborted leaves open whether it was written.
	PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error)
	// List returns the documents whose names begin with prefix, sorted by name.
	List(ctx context.Context, prefix string) ([]Doc, error)
	// Delete removes name if its revision is rev; else it is aborted. Removing what isn't there is no error.
	Delete(ctx context.Context, name string, rev int64) error
}

// A Doc is one document.
type Doc struct {
	Name     string
	Revision int64
	Value    json.RawMessage
}
