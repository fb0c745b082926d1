package backend

import "slices"

// An Actor is the process that makes a transition.
type Actor string

const (
	Submitter       Actor = "submitter"        // inserts tasks
	Worker          Actor = "worker"           // claims tasks
	Owner           Actor = "owner"            // holds the claim
	FailureDetector Actor = "failure detector" // any process that has seen the owner's counter unchanged for a lease
	Dispatcher      Actor = "dispatcher"       // sends hints
	Anyone          Actor = "anyone"           // stops a task
	Sweeper         Actor = "sweeper"          // looks for overdue work
)

// A Guard is a condition that the conditional write of a transition checks in addition to the task's id and status.
type Guard string

// The values are the text of the state table in docs/tasks.md.
const (
	IDFree        Guard = "id free"
	KeyFree       Guard = "unique key free"
	Due           Guard = "due"       // RunAt is not after the store's now
	GateOpen      Guard = "gate open" // a subtask's source lets it run
	NotStopping   Guard = "no stop requested"
	Stopping      Guard = "stop requested"
	SameFence     Guard = "fence"         // of the claim that is settled
	OwnerExpired  Guard = "owner expired" // its counter has not changed since it was read
	Poison        Guard = "the only suspect there, and crashes+1 ≥ max_crashes"
	HintOwed      Guard = "no hint, or one older than 5 s × 2ⁿ"
	InTime        Guard = "deadline not passed"
	PastDeadline  Guard = "deadline passed"
	OwnRunEnded   Guard = "own run ended"
	SameSpawns    Guard = "spawn_rev > 0, and as read before looking"
	NoLiveSubtask Guard = "no live subtask"
)

// A Transition is one row of the state table. From is empty if the task doesn't exist yet. Row 12 finishes a set of
// subtasks and changes no status: From and To are empty. A row that leaves StatusRunning also appends to Task.Attempts.
// Store.Adjust and Store.Delete change no status, so they have no row.
type Transition struct {
	Row    int
	From   []Status
	To     []Status
	By     []Actor
	Guards []Guard
	Writes string
}

var transitions = [...]Transition{
	{
		1, nil, []Status{StatusWaiting, StatusPending}, []Actor{Submitter}, []Guard{IDFree, KeyFree},
		"the whole document, no hint; pending for Submit, waiting for Store, a future run_at or a gated subtask",
	},
	{
		2, []Status{StatusWaiting, StatusPending, StatusRetrying}, []Status{StatusRunning}, []Actor{Worker},
		[]Guard{Due, InTime, GateOpen, NotStopping}, "owner, claim nonce, fence+1, attempt+1, started, max_crashes, instance, ip",
	},
	{
		3, []Status{StatusRunning}, []Status{StatusSuccess}, []Actor{Owner}, []Guard{SameFence, NotStopping},
		"result, ended",
	},
	{
		4, []Status{StatusRunning}, []Status{StatusRetrying}, []Actor{Owner}, []Guard{SameFence, NotStopping},
		"error, run_at; hint emptied",
	},
	{
		5, []Status{StatusRunning}, []Status{StatusFailed}, []Actor{Owner}, []Guard{SameFence, NotStopping},
		"error, ended (attempts used up, or a permanent error)",
	},
	{
		6, []Status{StatusRunning}, []Status{StatusWaiting}, []Actor{Owner}, []Guard{SameFence, NotStopping},
		"attempt−1 (release at shutdown, snooze, payload of another version); hint emptied",
	},
	{
		7, []Status{StatusRunning}, []Status{StatusWaiting}, []Actor{FailureDetector}, []Guard{OwnerExpired},
		"attempt−1; unless the owner was draining, a suspect, due at once the first time and then in 1 s × 2ⁿ, and crashes+1 if it was the only " +
			"suspect there",
	},
	{
		7, []Status{StatusRunning}, []Status{StatusFailed}, []Actor{FailureDetector}, []Guard{OwnerExpired, Poison},
		"attempt−1, crashes+1, error, ended",
	},
	{
		8, []Status{StatusWaiting, StatusPending}, []Status{StatusPending}, []Actor{Dispatcher},
		[]Guard{Due, GateOpen, HintOwed}, "hint time",
	},
	{
		8, []Status{StatusRetrying}, []Status{StatusRetrying}, []Actor{Dispatcher},
		[]Guard{Due, GateOpen, HintOwed}, "hint time",
	},
	{
		9, []Status{StatusWaiting, StatusPending, StatusRetrying}, []Status{StatusStopped}, []Actor{Anyone}, nil,
		"reason",
	},
	{
		10, []Status{StatusRunning}, []Status{StatusStopped}, []Actor{Owner, FailureDetector}, []Guard{SameFence, Stopping},
		"reason; the result is discarded",
	},
	{
		11, []Status{StatusWaiting, StatusPending, StatusRetrying}, []Status{StatusFailed}, []Actor{Sweeper},
		[]Guard{PastDeadline}, "deadline_exceeded",
	},
	{
		12, nil, nil, []Actor{Owner, Sweeper}, []Guard{OwnRunEnded, SameSpawns, NoLiveSubtask},
		"the set of subtasks is finished: counts, time; inserts the task <source>/done",
	},
}

// Transitions returns the state table. Stores must refuse all transitions that it doesn't list.
func Transitions() []Transition { return slices.Clone(transitions[:]) }

// Allowed reports whether the state table has a transition from one status to another. from is "" if the task doesn't
// exist yet.
func Allowed(from, to Status) bool {
	return slices.ContainsFunc(transitions[:], func(t Transition) bool {
		if !slices.Contains(t.To, to) {
			return false
		}
		return slices.Contains(t.From, from) || from == "" && len(t.From) == 0
	})
}
