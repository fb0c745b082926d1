package backend

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Store stores tasks. A method that changes a task does so with a single conditional write, guarded as in
// [Transitions]. So all methods may be retried after an error, even if their effect or reply was lost.
//
// All times are of the store's clock: it alone decides what is due, and returns durations instead of times. So the
// clocks of processes need not agree.
//
// Claim, Get and List return complete tasks. All other methods return heads (see [Task.Head]), so that the memory they
// need doesn't depend on the size of payloads and results.
type Store interface {
	// Insert stores new tasks (row 1). For each task it returns the stored one: the new task, the existing task with the
	// same id, or else the live task of the queue with the same unique key. A nil error means that all of them are
	// durable. After an error any subset may be stored, and Insert may be retried. If ctx carries a [Tx] of this store,
	// the tasks are inserted in that transaction instead. A store may keep or send the tasks after Insert has returned, so
	// the caller must not modify what their slices and maps refer to.
	Insert(ctx context.Context, tasks []NewTask) ([]Task, error)

	// Claim claims up to c.Max due tasks of a queue for an owner (row 2): highest weight first, then oldest; if c.IDs is
	// set, only these. next is the time until another task of the queue becomes due, or 0 if unknown; tasks that are due
	// but were not claimed don't count. A retry with the same nonce returns the tasks that were claimed with it and still
	// run. The error is ErrAborted if the owner was declared dead, which a store need not check with c.OwnerChecked.
	Claim(ctx context.Context, c Claim) (tasks []Task, next time.Duration, err error)

	// Settle ends claims (rows 3 to 6 and 10) and returns the result of each, in order. A retry with the same fence and
	// nonce returns the same result.
	Settle(ctx context.Context, settles []Settle) ([]Settled, error)

	// MarkRetried changes RetriedBy of a finished task from one id to another; "" means none. It returns the resulting
	// value, which is to unless RetriedBy was not from. The error is ErrNotFound if there is no such task, and
	// ErrFailedPrecondition if it has not ended.
	MarkRetried(ctx context.Context, id, from, to string) (by string, err error)

	// Progress sets the progress of a running task, and when it was reported. The error is ErrAborted if the task doesn't run with this fence.
	Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error

	// Beat is an owner's heartbeat: it raises the owner's counter to count, and creates an unknown owner. The error is
	// ErrAborted if the owner was declared dead. Then it has lost its tasks and must continue under another name.
	Beat(ctx context.Context, owner string, count int64) error

	// Drain records that an owner is shutting down: if it is declared dead later, ExpireOwner charges no crash to its
	// tasks. It ignores unknown owners. The error is ErrAborted if the owner was declared dead already.
	Drain(ctx context.Context, owner string) error

	// Owners returns the last heartbeats of all owners that were not declared dead. Failure detectors watch the counters.
	Owners(ctx context.Context) (map[string]Heartbeat, error)

	// ExpireOwner declares an owner dead, permanently, if its counter is still count. It ends the owner's claims as
	// described at [Loss]: the tasks wait again, some as suspects, or fail (row 7), or are stopped if that was requested
	// (row 10). If the owner was draining, all of its tasks wait again and nothing is charged. maxCrashes applies to tasks
	// whose claim didn't set it.
	//
	// ExpireOwner returns the tasks after the change. If the counter differs or the owner is unknown it does nothing and
	// returns none. A retry completes an interrupted call, with the same decisions. It also ends claims that were granted
	// meanwhile. Those never ran, so nothing is charged to them.
	ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) ([]Task, error)

	// Refund reverts what the loss of an owner has charged to tasks that are not final, because the owner turned out to be
	// alive. It does nothing if the owner was not declared dead.
	Refund(ctx context.Context, owner string) error

	// Owned returns the claims of an owner as the store sees them, for the owner to compare with what it runs.
	Owned(ctx context.Context, owner string) ([]Owned, error)

	// Promote returns the ids of up to max due tasks of a queue that need a hint, best first, and marks them as hinted
	// (row 8). It also fails the tasks of the queue whose deadline has passed (row 11), whatever max is, and returns them.
	// next is as for Claim.
	Promote(ctx context.Context, queue string, max int) (ids []string, failed []Task, next time.Duration, err error)

	// Promotable returns those of the queues for which Promote has something to do, or will have within a duration: a task
	// that needs a hint, becomes due, or misses its deadline. It may return more of them. It changes nothing. With it, a
	// process watches many queues in which nothing happens by one request.
	Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error)

	// Spawn commits a batch of subtasks that was inserted gated. It increments the source's spawn_rev and opens the
	// batch's gate. If s.Now is false and the source has not succeeded yet, the gate is left to Open. The error is
	//
	//   - ErrNotFound if there is no such source,
	//   - ErrFailedPrecondition if the source takes no more subtasks: it has failed, was stopped, or its set is finished,
	//   - ErrFailedPrecondition if the source is itself an uncommitted subtask, which may never become part of a tree,
	//   - ErrResourceExhausted if the source has MaxBatches batches.
	//
	// After these errors, use Discard to delete the inserted tasks.
	//
	// A batch is committed completely or not at all. If s.Count is set, a nil error means that the tasks
	// SubtaskID(s.Source, s.Batch, i) for i in [0, s.Count) are committed and no others. ErrAborted means that the stored
	// batch differs: some of its tasks were discarded, or it has more. Insert it again; if that doesn't help, Discard it
	// first.
	//
	// If s.Fence is set, the caller is an attempt of the source. If that attempt has lost its claim, the error has code
	// ErrAborted and wraps ErrStaleFence. Then nothing was committed and the caller must not Discard: the current attempt
	// may be inserting the same batch.
	Spawn(ctx context.Context, s Spawn) error

	// Discard deletes the tasks of a batch that are not committed.
	Discard(ctx context.Context, source, batch string) error

	// Open opens the gates of the committed subtasks of a source that has succeeded. It returns the queues of these
	// subtasks.
	Open(ctx context.Context, source string) (queues []string, err error)

	// Finish finishes a source's set of subtasks (row 12), if the source has subtasks, its own run has ended and no
	// subtask is live. If the source succeeded and its claim had FanIn, Finish inserts the task <source>/done in the
	// source's queue; a retry does so if an interrupted call has not. finished reports whether the set is finished now.
	// queue is the queue of the inserted task if it can run, and "" otherwise.
	Finish(ctx context.Context, source string) (finished bool, queue string, err error)

	// Stop stops a task and all of its subtasks, or only the subtasks if s.Below is set. Waiting tasks are stopped at once
	// (row 9). Running ones are requested to stop: their owners see the request in Owned. Stop returns the tasks that it
	// has stopped or requested to stop, after the change, or passes them to s.Each. Tasks that were already requested to
	// stop are included. The error is ErrNotFound if there is no such task.
	Stop(ctx context.Context, s Stop) ([]Task, error)

	// Unfinished returns up to max pieces of work that an interrupted process has left undone for at least age, oldest
	// first. It changes nothing. The caller completes the work with the methods above, possibly concurrently with other
	// processes. The age of an uncommitted batch counts from its last Insert, even of existing tasks, and must be
	// BatchAges times age: inserting a large batch may take minutes, with outages of the store in between.
	Unfinished(ctx context.Context, age time.Duration, max int) ([]Unfinished, error)

	// Now returns the time of the store's clock. Processes that call it get times that agree within about a second.
	Now(ctx context.Context) (time.Time, error)

	// Get returns a task. The error is ErrNotFound if there is none.
	Get(ctx context.Context, id string) (Task, error)

	// Statuses returns the status of each of the tasks that exist.
	Statuses(ctx context.Context, ids []string) (map[string]Status, error)

	// List returns a page of the tasks that match q, in the order q.Sort. A page ends at q.Limit tasks or q.Bytes bytes,
	// whichever comes first, but has at least one task. Tasks that are inserted or deleted between two pages may be
	// missed; all others are returned once. With q.Filter a page may also end at the bounds of TaskPage.Looked, and then
	// have fewer tasks or none.
	List(ctx context.Context, q TaskQuery) (TaskPage, error)

	// Queues returns the counts of all queues that have tasks, sorted by name.
	Queues(ctx context.Context) ([]QueueCounts, error)

	// Ahead counts up to MaxTotal ready tasks of a queue that are claimed before a task: see QueueCounts.Oldest. The error
	// is ErrNotFound if there is no such task. Of a task that is not ready, it counts those that would be claimed before
	// it if it were.
	Ahead(ctx context.Context, id string) (Count, error)

	// Adjust changes when a task runs, and returns its head after the change. A task that becomes due by it needs a hint.
	// Repeating it has no effect. The error is ErrNotFound if there is no such task, and ErrFailedPrecondition if it has
	// ended, or with a.Now if it runs or its gate is closed. After an error nothing was changed.
	Adjust(ctx context.Context, a Adjustment) (Task, error)

	// Delete deletes a task that has ended, with its tree, as Purge does. Deleting a task that doesn't exist succeeds. The
	// error is ErrFailedPrecondition if the task or a descendant has not ended, a set of subtasks is not finished, or the
	// task is part of another's tree. A part of a large tree may have been deleted when an error is returned, as by Purge.
	// Uncommitted subtasks, at any depth, don't prevent the deletion and are deleted with the tree: they never ran.
	Delete(ctx context.Context, id string) error

	// Purge deletes up to max ended tasks, oldest first: those that ended longer than r.Age ago, and those beyond the
	// newest r.Max of their queue, both only if they ended before r.Before. Subtasks, including uncommitted ones, are deleted together with their source, not
	// before. It returns the number of deleted tasks.
	Purge(ctx context.Context, r Retention, max int) (int, error)
}

// A Heartbeat is the last heartbeat of an owner.
type Heartbeat struct {
	Count int64 `json:"count"`
	// At is when Count last rose, by the store's clock; zero if no heartbeat has arrived yet. It is shown to people:
	// failure detectors compare no clocks.
	At time.Time `json:"at,omitzero"`
}

// A NewTask is a task to insert. The Store sets Created, and RunAt if Task.RunAt is zero.
type NewTask struct {
	Task  Task          // Status is waiting or pending
	Delay time.Duration // if not 0, RunAt is the store's time plus Delay
	Gated bool          // not claimable until Spawn commits its batch
}

// A Claim is a request for tasks.
type Claim struct {
	Queue string
	Owner string // the boot id of the claiming process
	Nonce string // unique per claim
	// Instance and IP are those of the claiming App, for Task.Instance and Task.IP.
	Instance, IP string
	Max          int
	IDs          []string // if set, only these tasks are claimed
	FanIn        bool     // the worker implements SubtasksDone
	// Networks is the result of [AllowedBy] for the claimer's address. Tasks with an Allow are claimed only if Networks
	// contains one of its entries.
	Networks []string
	// Fingerprint is that of the claimer's payload type, or "". Tasks of the queue with this fingerprint that are not due
	// yet and have a WrongVersionSince become due at once: they were waiting for such a claimer. It is ignored if IDs is
	// set.
	Fingerprint string
	// Skip lists versions whose tasks are left to their own workers.
	Skip []Version
	// Suspects is the maximum number of suspected tasks (see [Suspect]) to claim, 0 or 1. Others are claimed in their
	// place.
	Suspects   int
	MaxCrashes int // limit for the claimed tasks; 0 leaves it to ExpireOwner
	// OwnerChecked is set by callers that check the owner themselves: when they receive the reply, they run the tasks
	// only if no other process can have expired the owner by then. A store may then grant tasks to an expired owner.
	// They are [UnfinishedClaims], unless the caller settles them.
	OwnerChecked bool
}

// A Version is the set of live workers of a queue whose payload type has one fingerprint.
type Version struct {
	Fingerprint string   `json:"fingerprint"`
	Networks    []string `json:"networks"` // of all their instances, as returned by AllowedBy
}

// Fits reports whether a task has the version's fingerprint and may run on one of its instances.
func (v *Version) Fits(t *Task) bool { return t.Fingerprint == v.Fingerprint && t.Allowed(v.Networks) }

// Skips reports whether the claim leaves a task to another version.
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
	Error  *TaskError    // ignored for StatusSuccess, which clears Task.Error
	Delay  time.Duration // for StatusRetrying and StatusWaiting: due this long after the store's time
	Log    []string      // lines without newlines, replacing Task.Log unless nil
	// Payload is what the attempt has found out about the task's payload.
	Payload PayloadState
	Clear   bool // remove Task.Suspect: the attempt has ended by itself or has run for long enough
	// Trace becomes Attempt.Trace. Usually it is empty; then it must cost the store nothing.
	Trace string
}

// A PayloadState is what an attempt has found out about a task's payload.
type PayloadState int

const (
	// PayloadUnknown keeps Task.WrongVersionSince.
	PayloadUnknown PayloadState = iota
	// PayloadDecoded clears Task.WrongVersionSince.
	PayloadDecoded
	// PayloadWrongVersion means that the payload didn't decode and has another fingerprint than the worker. It sets
	// Task.WrongVersionSince, if it is zero, to the current time. With StatusWaiting it also sets Task.Error.
	PayloadWrongVersion
)

// Settled is the result of a Settle.
type Settled int

const (
	// SettledLost means that the claim was lost: the task has another fence. The attempt has no effect.
	SettledLost Settled = iota
	// SettledApplied means that the settle was applied, by this call or by an earlier one whose reply was lost.
	SettledApplied
	// SettledWithSubtasks means that the settle was applied and the task has subtasks: the caller must handle their gate
	// and set.
	SettledWithSubtasks
	// SettledStopping means that a stop was requested and the claim is still valid: settle the task as stopped.
	SettledStopping
)

// Owned is one claim as the store sees it.
type Owned struct {
	ID       string
	Queue    string
	Fence    int64
	Stopping bool
}

// A Stop is a request to stop a task and its subtasks.
type Stop struct {
	ID     string
	Reason string
	Below  bool // stop only the subtasks
	// Each, if not nil, receives the tasks, in several parts; Stop then returns none. It is called on the goroutine that
	// called Stop, and not after Stop returns. If Stop fails, Each has received the tasks stopped before.
	Each func(tasks []Task) `json:"-"`
}

// Report passes tasks to Each and returns nil, or returns them if Each is nil.
func (s *Stop) Report(tasks []Task) []Task {
	if s.Each == nil {
		return tasks
	}
	if len(tasks) > 0 {
		s.Each(tasks)
	}
	return nil
}

// Unfinished is work that an interrupted process has left undone.
type Unfinished struct {
	What   UnfinishedKind
	Source string
	Batch  string // for UnfinishedBatch; "" is a batch of the store's own
	Queue  string // for UnfinishedOverdue
	Owner  string // for UnfinishedClaims
	Count  int64  // the owner's counter
}

// An UnfinishedKind is a kind of unfinished work. The comments name the operation that completes it.
type UnfinishedKind string

const (
	// UnfinishedBatch is a batch that was never committed: Discard it.
	UnfinishedBatch UnfinishedKind = "batch"
	// UnfinishedGate is committed subtasks, behind a closed gate, of a source that has succeeded: Open it.
	UnfinishedGate UnfinishedKind = "gate"
	// UnfinishedSet is a set without live subtasks, or one whose done task is missing: Finish it.
	UnfinishedSet UnfinishedKind = "set"
	// UnfinishedSubtasks is live subtasks of a source that failed or was stopped, or that have a failed sibling with
	// FailFast: Stop them with Below.
	UnfinishedSubtasks UnfinishedKind = "family"
	// UnfinishedClaims is tasks that an owner claimed while it was declared dead: call ExpireOwner again.
	UnfinishedClaims UnfinishedKind = "claims"
	// UnfinishedOverdue is waiting tasks past their deadline, even in queues without workers: Promote the queue with max
	// 0.
	UnfinishedOverdue UnfinishedKind = "late"
)

// A TaskQuery selects tasks. Zero fields match all tasks.
type TaskQuery struct {
	Queue    string   `json:"queue,omitempty"`
	Source   string   `json:"source,omitempty"`
	Statuses []Status `json:"statuses,omitempty"`
	// Code selects failed tasks by the code of their error; Statuses is then StatusFailed alone.
	Code   Code      `json:"code,omitempty"`
	After  time.Time `json:"after,omitzero"`  // created at or after
	Before time.Time `json:"before,omitzero"` // created before
	// Filter has conditions that no index serves. Set others as well to look at fewer tasks.
	Filter TaskFilter `json:"filter,omitzero"`
	Sort   TaskSort   `json:"sort,omitempty"`
	Limit  int        `json:"limit,omitempty"`  // 1 to 1000; 0 means 100
	Bytes  int        `json:"bytes,omitempty"`  // 1 to MaxPage; 0 means MaxPage
	Cursor string     `json:"cursor,omitempty"` // of the previous page
}

// A TaskSort is an order of tasks. Ties are broken by id.
type TaskSort string

const (
	SortNewest TaskSort = ""       // by creation, newest first
	SortOldest TaskSort = "oldest" // by creation, oldest first
	SortEnded  TaskSort = "ended"  // by end, latest first; tasks that have not ended come last
)

// MaxTotal is up to how many tasks a List counts that a store has no count of.
const MaxTotal = 10_000

// A TaskPage is one page of tasks.
type TaskPage struct {
	Tasks   []Task `json:"tasks"`
	Total   int    `json:"total"`              // number of matching tasks on all pages; at least MaxTotal if AtLeast is set
	AtLeast bool   `json:"at_least,omitempty"` // there are more than Total
	Cursor  string `json:"cursor,omitempty"`   // of the next page; "" on the last one

	// With a Filter, Looked is how many tasks the page has looked at, and LookedTo when the last of them was created. A
	// page looks at no more after MaxLooked tasks or MaxLooking; then Bounded is set and Cursor continues. Total is the
	// number of tasks on this page, and AtLeast is set unless it is the last one.
	Looked   int       `json:"looked,omitempty"`
	LookedTo time.Time `json:"looked_to,omitzero"`
	Bounded  bool      `json:"bounded,omitempty"`
}

// BoundedTotal returns TaskPage.Total and AtLeast for a count that stopped beyond MaxTotal.
func BoundedTotal(counted int) (total int, atLeast bool) {
	return min(counted, MaxTotal), counted > MaxTotal
}

// Retention limits how long ended tasks are kept. Tasks are deleted once they exceed either limit; a zero limit is
// ignored.
type Retention struct {
	Age time.Duration
	Max int // per queue
	// Before limits both: tasks that ended at this time of the store's clock or later are kept. A zero time is ignored.
	Before time.Time
}

// A ProcessWatcher is an optional interface of a [Store] that learns from the operating system when a process has
// ended, so that its tasks run elsewhere before the lease expires.
type ProcessWatcher interface {
	// Dead returns those of the owners whose processes have certainly ended. Others may have ended, too.
	Dead(ctx context.Context, owners []string) ([]string, error)
	// Deaths returns a channel that receives a value when a process may have ended. Failure detectors then check at once.
	Deaths() <-chan struct{}
}
