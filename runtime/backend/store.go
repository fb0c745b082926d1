package backend

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
)

// Store keeps tasks. Every method that changes one does it by a single conditional write a task, guarded as
// [Transitions] says, so that losing a reply and repeating the call is harmless.
//
// Times are the store's: it decides by its own clock what is due, and tells others only how long something takes.
//
// Only Claim, Get and List return tasks whole. Every other method returns their heads, as Task.Head gives them, so that the memory
// it takes doesn't depend on payloads and results.
type Store interface {
	// Insert writes tasks that don't exist yet (row 1) and returns, in the order of tasks, what is stored under each id:
	// the new task, or the one that was there; where a live task of the queue holds the unique key, that one. A nil error
	// means that all are durable; after an error any subset may be, and repeating is safe. If ctx carries a [Tx] of this store,
	// the tasks become part of it instead: they are there if and only if it commits.
	Insert(ctx context.Context, tasks []NewTask) ([]Task, error)

	// Claim takes up to c.Max due tasks of one queue for an owner (row 2), best weight first, then oldest; where c.IDs is
	// set, only from those. next is how long until another task of the queue is due, 0 where none is known; what was due
	// and left because of Max doesn't count. A claim repeated with the same nonce returns what that nonce took and still
	// runs. An owner that has been declared dead gets ErrAborted.
	Claim(ctx context.Context, c Claim) (tasks []Task, next time.Duration, err error)

	// Settle ends claims (rows 3 to 6 and 10) and says of each, in order, what came of it. A settle repeated with the same
	// fence and nonce is applied, not refused.
	Settle(ctx context.Context, settles []Settle) ([]Settled, error)

	// MarkRetried changes RetriedBy of a finished task from one id to another, "" being none, and returns what it is then:
	// to, unless it was something else than from. ErrNotFound means that there is no such task, ErrFailedPrecondition that
	// it has not ended.
	MarkRetried(ctx context.Context, id, from, to string) (by string, err error)

	// Progress notes how far a running task has come, guarded by its fence; ErrAborted where that has moved.
	Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error

	// Beat sets an owner's counter, which only rises. ErrAborted means that the owner has been declared dead: it no longer
	// owns what it runs, and must continue under another name.
	Beat(ctx context.Context, owner string, count int64) error

	// Drain notes that an owner is shutting down: if it is declared dead from now on, ExpireOwner charges no crash for what it
	// ran. It is no error if the owner is not known; ErrAborted means that it has been declared dead already.
	Drain(ctx context.Context, owner string) error

	// Owners returns the counters of all owners that have not been declared dead, for failure detectors to watch.
	Owners(ctx context.Context) (map[string]int64, error)

	// ExpireOwner declares an owner dead for good if its counter is still count, and ends its claims as a [Loss] says: they wait
	// again, some as suspects, or fail (row 7), or stop where that was requested (row 10). maxCrashes is for tasks whose
	// claims didn't name theirs. What an owner ran that was draining waits again, and nothing is counted. It returns the tasks
	// as they are now. With another count, or an owner that is unknown, it does nothing and returns none. Repeated, it finishes
	// what an interrupted one has left, as that one had decided, and ends claims that were granted meanwhile; these never ran,
	// and nothing is counted against them.
	ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) ([]Task, error)

	// Refund takes back what the loss of an owner that was declared dead has counted against tasks that are not final, since that owner
	// is alive after all. Repeating is safe; an owner that was not declared dead is left alone.
	Refund(ctx context.Context, owner string) error

	// Owned lists what the store thinks an owner runs: what the owner audits itself against.
	Owned(ctx context.Context, owner string) ([]Owned, error)

	// Promote picks up to max due tasks of a queue that are owed a hint, best first, marks them as hinted and returns
	// their ids (row 8). It also fails those whose deadline has passed (row 11) and returns these tasks. next is as for
	// Claim. With max 0 it only looks at deadlines.
	Promote(ctx context.Context, queue string, max int) (ids []string, failed []Task, next time.Duration, err error)

	// Spawn commits a batch of subtasks that was inserted gated: it raises the source's spawn_rev by a conditional write
	// and opens the batch's gate, or leaves it to Open where the source has not yet succeeded and now is false. Repeating
	// is safe. ErrFailedPrecondition means that the source takes no more: its set is finished, or it failed or was
	// stopped; ErrNotFound that there is no such task; ErrResourceExhausted that it has MaxBatches. Then Discard removes
	// what was inserted.
	//
	// A batch is whole or not at all. If s.Count is set, a nil error means that exactly the tasks SubtaskID(s.Source,
	// s.Batch, 0 … s.Count-1) are committed, however often and by how many calls of Insert they were written, and whatever
	// Discard has done meanwhile. ErrAborted means that the batch isn't that: some of it was discarded, or it holds more.
	// Insert it again; if that doesn't help, Discard it first.
	//
	// If s.Fence is set, the call comes from an attempt of the source. An error that wraps ErrStaleFence, with ErrAborted,
	// means that the attempt no longer has the source: nothing was committed, and nothing may be discarded, since the
	// present attempt may be making the same batch.
	Spawn(ctx context.Context, s Spawn) error

	// Discard deletes the gated tasks of a batch that Spawn has not committed.
	Discard(ctx context.Context, source, batch string) error

	// Open opens the gate of the committed subtasks of a source that has succeeded, and returns the queues they are in.
	Open(ctx context.Context, source string) (queues []string, err error)

	// Finish finishes a source's set of subtasks (row 12): where the source's own run has ended, it has subtasks, and none
	// of them is live. If the source succeeded and its claim said FanIn, the task <source>/done is inserted in its queue.
	// Repeating is safe, and inserts that task where an interrupted Finish has not. finished says whether the set is
	// finished now; queue is where there is something to run.
	Finish(ctx context.Context, source string) (finished bool, queue string, err error)

	// Stop stops a task and everything under it, or with s.Below only what is under it: what waits at once (row 9), what
	// runs by request, which the owner finds in its audit. It returns the tasks that it stopped or asked to stop, as they
	// are now, or passes them to s.Each. Stopping again is harmless. ErrNotFound means that there is no such task.
	Stop(ctx context.Context, s Stop) ([]Task, error)

	// Unfinished returns up to max pieces of work that an interrupted process has left undone for at least age, oldest first.
	// It changes nothing: the caller does them with the methods above, and may find that one has been done. A batch that isn't
	// committed is as old as its newest Insert, one of tasks that exist already included, and is left alone for BatchAges
	// times age: inserting a large batch may take minutes, with outages of the store in between.
	Unfinished(ctx context.Context, age time.Duration, max int) ([]Unfinished, error)

	// Now is the store's time. It is close enough to that of all others who ask for it to tell seconds by.
	Now(ctx context.Context) (time.Time, error)

	// Get returns a task; ErrNotFound where there is none.
	Get(ctx context.Context, id string) (Task, error)

	// List returns the tasks that match, sorted as asked, a page at a time. A page ends at q.Limit tasks or q.Bytes bytes,
	// whichever comes first, and has one task at least. Tasks that come or go between two pages may be missed; those that
	// stay are met once.
	List(ctx context.Context, q TaskQuery) (TaskPage, error)

	// Purge deletes up to max tasks that ended longer than r.Age ago, or that are more than r.Max in their queue, oldest
	// first, and returns how many. Subtasks go with their source, and not before.
	Purge(ctx context.Context, r Retention, max int) (int, error)
}

// A NewTask is a task to insert. The Store sets Created and, where Task.RunAt is zero, RunAt.
type NewTask struct {
	Task  Task          // Status is waiting or pending
	Delay time.Duration // added to the store's now for RunAt
	Gated bool          // it can't be claimed before Spawn has committed its batch
}

// A Claim asks for tasks.
type Claim struct {
	Queue string
	Owner string // the claiming process's boot id
	Nonce string // unique a claim
	Max   int
	IDs   []string
	FanIn bool // the worker has SubtasksDone
	// Networks are those of the claimer, as Networks gives them: a task with an Allow is taken only where that names one.
	Networks []string
	// Fingerprint, unless it is empty, is that of the claimer's payload. Tasks of the queue that have it, are not due yet and
	// have a WrongVersionSince are due at once: they were waiting for such a claimer. It is ignored with IDs.
	Fingerprint string
	// Skip names the versions to which their tasks are left.
	Skip []Version
	// Suspects is how many tasks that are suspected (see [Suspect]) it may take, 0 or 1; others are taken in their place.
	Suspects   int
	MaxCrashes int // of the tasks that it takes; 0 leaves it to ExpireOwner
}

// A Version is all live workers of a queue whose payload has one fingerprint.
type Version struct {
	Fingerprint string   `json:"fingerprint"`
	Networks    []string `json:"networks"` // of their instances, all together, as Networks gives them
}

// Fits reports whether a task is of the version, and may run at one of its instances.
func (v *Version) Fits(t *Task) bool { return t.Fingerprint == v.Fingerprint && t.Allowed(v.Networks) }

// Skips reports whether a claim leaves the task to another version.
func (c *Claim) Skips(t *Task) bool {
	return slices.ContainsFunc(c.Skip, func(v Version) bool { return v.Fits(t) })
}

// A Settle ends one claim. Its guard is that the task runs with this fence.
type Settle struct {
	ID     string
	Fence  int64
	Nonce  string // of the claim
	To     Status
	Result json.RawMessage
	Error  *TaskError    // success empties Task.Error
	Delay  time.Duration // for retrying and waiting: due that long after the store's now
	Log    []string      // lines, without newlines, that replace Task.Log; nil leaves it
	// Payload is what the attempt has found out about the task's payload.
	Payload PayloadState
	Clear   bool // the task is not suspected any more: it has ended by itself, or has run for long enough
}

// A PayloadState is what an attempt has found out about a task's payload.
type PayloadState int

const (
	// PayloadUnknown leaves Task.WrongVersionSince as it is.
	PayloadUnknown PayloadState = iota
	// PayloadDecoded empties Task.WrongVersionSince.
	PayloadDecoded
	// PayloadWrongVersion: it did not decode, and has another fingerprint than the worker. It sets Task.WrongVersionSince to
	// now unless that is set. With StatusWaiting it also sets Task.Error.
	PayloadWrongVersion
)

// Settled is what came of a Settle.
type Settled int

const (
	// SettledLost: the fence has moved on, and what this claim did is void.
	SettledLost Settled = iota
	// SettledApplied: by this call, or by an earlier one whose reply was lost.
	SettledApplied
	// SettledWithSubtasks: applied as SettledApplied, and the task has subtasks, whose gate and set must be handled.
	SettledWithSubtasks
	// SettledStopping: the claim is still valid, but a stop was requested: settle the task as stopped.
	SettledStopping
)

// Owned is one claim as the store sees it.
type Owned struct {
	ID       string
	Queue    string
	Fence    int64
	Stopping bool
}

// A Spawn commits a batch of subtasks.
type Spawn struct {
	Source string
	Batch  string
	Now    bool  // they may run before the source has succeeded
	Count  int   // how many tasks the batch has; 0: not said, and whatever is stored is committed
	Fence  int64 // of the source's attempt that calls; 0: a call from outside
}

const (
	// MaxBatches is how many batches of subtasks a source takes. The source's document lists them, so that a batch which is
	// committed again changes nothing.
	MaxBatches = 10_000
	// BatchAges is how many times longer than anything else a batch that isn't committed must be left alone.
	BatchAges = 24
)

// SubtaskID returns the id of the i-th task of a batch.
func SubtaskID(source, batch string, i int) string {
	return source + "/" + batch + "/" + strconv.Itoa(i)
}

// ErrStaleFence is wrapped by the error of a Spawn whose attempt no longer has the source.
var ErrStaleFence = errors.New("the claim on the source was lost")

// These are the errors of Spawn that all stores have in common.

// ErrorStale returns the error of a Spawn whose fence has moved on.
func (s Spawn) ErrorStale() error {
	return Errorf(ErrAborted, "task %q no longer runs with fence %d, so its attempt adds no subtasks: %w", s.Source, s.Fence,
		ErrStaleFence).With(OutcomeAnswered)
}

// ErrorRefused returns the error of a Spawn whose source takes no more subtasks.
func (s Spawn) ErrorRefused() error {
	return Errorf(ErrFailedPrecondition, "task %q takes no more subtasks", s.Source).With(OutcomeAnswered)
}

// ErrorFull returns the error of a Spawn whose source has MaxBatches.
func (s Spawn) ErrorFull() error {
	return Errorf(ErrResourceExhausted, "task %q has %d batches of subtasks, which is the most: make fewer and larger ones",
		s.Source, MaxBatches).With(OutcomeAnswered)
}

// ErrorPartial returns the error of a Spawn whose batch is not stored as it says.
func (s Spawn) ErrorPartial(stored int) error {
	return Errorf(ErrAborted, "batch %q of task %q has %d tasks stored, not %d: insert it again", s.Batch, s.Source, stored, s.Count).
		With(OutcomeAnswered)
}

// ErrorDiscarded returns the error of a Spawn whose batch was discarded.
func (s Spawn) ErrorDiscarded() error {
	return Errorf(ErrAborted, "batch %q of task %q was discarded: insert it again", s.Batch, s.Source).With(OutcomeAnswered)
}

// Stale reports whether the attempt that s comes from no longer has the source, which has this status and fence. An attempt
// that has succeeded still has it: a goroutine of its handler may keep running a moment longer.
func (s Spawn) Stale(status Status, fence int64) bool {
	return s.Fence != 0 && (s.Fence != fence || status != StatusRunning && !status.Final())
}

// A Stop asks for a task, and what is under it, to be stopped.
type Stop struct {
	ID     string
	Reason string
	Below  bool // only what is under it
	// Each, unless it is nil, is called with the tasks, a part at a time; Stop returns none then. It is called on the goroutine that
	// called Stop, and not after Stop has returned. After an error it has had what was stopped until then.
	Each func(tasks []Task) `json:"-"`
}

// Report passes tasks to Each and returns nil, or returns them if there is no Each.
func (s *Stop) Report(tasks []Task) []Task {
	if s.Each == nil {
		return tasks
	}
	if len(tasks) > 0 {
		s.Each(tasks)
	}
	return nil
}

// Unfinished is work that an interrupted process left undone.
type Unfinished struct {
	What   UnfinishedKind
	Source string // the source's id; "" with UnfinishedOverdue and UnfinishedClaims
	Batch  string // with UnfinishedBatch
	Queue  string // with UnfinishedOverdue
	Owner  string // with UnfinishedClaims
	Count  int64  // its counter
}

// An UnfinishedKind is the operation that is missing.
type UnfinishedKind string

const (
	UnfinishedBatch    UnfinishedKind = "batch"  // gated tasks that were never committed: Discard
	UnfinishedGate     UnfinishedKind = "gate"   // committed subtasks of a source that has succeeded: Open
	UnfinishedSet      UnfinishedKind = "set"    // a set without live subtasks, or one that lacks its done task: Finish
	UnfinishedSubtasks UnfinishedKind = "family" // live subtasks of a source that failed or was stopped, or with a failed sibling under FailFast: Stop below
	UnfinishedClaims   UnfinishedKind = "claims" // what an owner claimed while it was declared dead: ExpireOwner again
	UnfinishedOverdue  UnfinishedKind = "late"   // tasks that wait past their deadline, even in queues without workers: Promote of their queue, with max 0
)

// A TaskQuery selects tasks; zero fields don't restrict.
type TaskQuery struct {
	Queue    string
	Source   string
	Statuses []Status
	After    time.Time // created at or after
	Before   time.Time // created before
	Sort     TaskSort
	Limit    int    // 1 to 1000; 0 is 100
	Bytes    int    // 1 to MaxPage, which 0 is
	Cursor   string // of the page before
}

// A TaskSort is an order of tasks; ids break ties.
type TaskSort string

const (
	SortNewest TaskSort = ""       // by creation, newest first
	SortOldest TaskSort = "oldest" // by creation, oldest first
	SortEnded  TaskSort = "ended"  // by end, latest first; those that have not ended last
)

// A TaskPage is one page of tasks.
type TaskPage struct {
	Tasks  []Task
	Total  int    // of all pages
	Cursor string // of the next page; "" at the end
}

// Retention says how long finished tasks are kept: whichever limit is met first counts. A zero one doesn't.
type Retention struct {
	Age time.Duration
	Max int // a queue
}

// Docs keeps small documents under names such as "jobs/nightly". Each has a revision that every write raises.
type Docs interface {
	// Get returns a document; ErrNotFound where there is none.
	Get(ctx context.Context, name string) (Doc, error)
	// PutIf writes name if its revision is rev (0: it must not exist) and returns the new revision; else it is ErrAborted.
	// Any other error leaves open whether it was written.
	PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error)
	// List returns the documents whose names begin with prefix, sorted by name.
	List(ctx context.Context, prefix string) ([]Doc, error)
	// Delete removes name if its revision is rev; else it is ErrAborted. Removing what isn't there is no error.
	Delete(ctx context.Context, name string, rev int64) error
}

// A Doc is one document.
type Doc struct {
	Name     string
	Revision int64
	Value    json.RawMessage
}

// A ProcessWatcher is a [Store] that learns from the operating system when a process has ended, without waiting for a lease.
// A Store may implement it.
type ProcessWatcher interface {
	// Dead returns those of the owners whose processes have ended for certain. Others may have, too.
	Dead(ctx context.Context, owners []string) ([]string, error)
	// Deaths has an element when a process may just have ended, so that whoever judges need not wait to look.
	Deaths() <-chan struct{}
}
