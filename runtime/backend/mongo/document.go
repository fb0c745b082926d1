package mongo

import (
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// A document is a task as stored. Times are nanoseconds since 1970 by the server's clock; 0 or absent means none.
// Fields marked with "while" exist only in that state; the write that ends the state removes them.
type document struct {
	ID                string    `bson:"_id"`
	Queue             string    `bson:"queue"`
	Status            string    `bson:"status"`
	Weight            int       `bson:"weight"`
	Payload           []byte    `bson:"payload,omitempty"`
	Fingerprint       string    `bson:"fingerprint,omitempty"`
	Result            []byte    `bson:"result,omitempty"`
	Error             *failure  `bson:"error,omitempty"`
	Progress          []byte    `bson:"progress,omitempty"`
	Progressed        int64     `bson:"progressed,omitempty"`
	Log               []string  `bson:"log,omitempty"`
	Attempt           int       `bson:"attempt"`
	Attempts          []attempt `bson:"attempts,omitempty"` // without the one that runs or has ended the task
	Claimer           *claimer  `bson:"claimer,omitempty"`  // of the attempt that runs or has ended the task
	Crashes           int       `bson:"crashes"`
	Fence             int64     `bson:"fence"`
	MaxCrashes        int       `bson:"max_crashes,omitempty"`
	Suspect           *suspect  `bson:"suspect,omitempty"`
	Batch             string    `bson:"batch,omitempty"`
	OnFailure         string    `bson:"on_failure,omitempty"`
	DoneOf            string    `bson:"done_of,omitempty"`
	RetryOf           string    `bson:"retry_of,omitempty"`
	RetriedBy         string    `bson:"retried_by,omitempty"`
	WrongVersionSince int64     `bson:"wrong_since,omitempty"`
	UniqueKey         string    `bson:"unique_key,omitempty"`
	Timeout           int64     `bson:"timeout,omitempty"`
	Retries           *int      `bson:"retries,omitempty"`
	Trace             string    `bson:"trace,omitempty"`
	Metadata          metadata  `bson:"metadata,omitempty"`
	Allow             []string  `bson:"allow,omitempty"`
	Created           int64     `bson:"created"` // also its age
	Due               int64     `bson:"due"`
	Deadline          int64     `bson:"deadline,omitempty"`
	Started           int64     `bson:"started,omitempty"`
	Ended             int64     `bson:"ended,omitempty"`
	Subtasks          *counts   `bson:"subtasks,omitempty"` // of a finished set
	TopLevel          bool      `bson:"top,omitempty"`      // neither a subtask nor <source>/done
	Kin               *kin      `bson:"kin,omitempty"`      // of a subtask
	FailFast          string    `bson:"fast,omitempty"`     // the source of a fail-fast subtask
	Mark              string    `bson:"mark,omitempty"`     // of the last write to several documents
	Settled           string    `bson:"settled,omitempty"`  // nonce of the settle that ended the last claim
	Reason            string    `bson:"reason,omitempty"`   // of a stop request
	FanIn             bool      `bson:"fan_in,omitempty"`   // set by the last claim
	Generation        int64     `bson:"generation,omitempty"`
	Renewed           int64     `bson:"renewed,omitempty"`   // when its batch was inserted again; in one task of the batch
	Committed         int64     `bson:"committed,omitempty"` // when it was added to its source's set
	Expiry            *expiry   `bson:"expires,omitempty"`   // while not final: its deadline
	Key               string    `bson:"key,omitempty"`       // while not final: queue and unique key
	LineState         int       `bson:"place,omitempty"`     // while it waits and its gate is open: ready or delayed
	Mismatch          string    `bson:"unfit,omitempty"`     // while not final and wrong_since is set: queue, fingerprint
	WakeAt            int64     `bson:"wake,omitempty"`      // while delayed: its due time
	Hints             int       `bson:"hints,omitempty"`     // while it waits: hints sent
	HintDue           int64     `bson:"hint_due,omitempty"`  // while it waits: when the next hint is due
	Owner             string    `bson:"owner,omitempty"`     // while it runs
	Nonce             string    `bson:"nonce,omitempty"`     // while it runs: of the claim
	Stopping          bool      `bson:"stopping,omitempty"`  // while it runs
	Held              string    `bson:"held,omitempty"`      // while not committed: its batch, or doneBatch
	Gated             string    `bson:"shut,omitempty"`      // while committed and gated: its source
	Live              string    `bson:"live,omitempty"`      // while committed and not final: its source

	// Fields of sources.
	SpawnRev    int64    `bson:"spawn_rev,omitempty"` // incremented by each commit
	Batches     []string `bson:"batches,omitempty"`   // committed
	Opening     []string `bson:"opening,omitempty"`   // committed, and possibly still held
	Discarded   []string `bson:"discarded,omitempty"` // without inserts since
	Discards    int64    `bson:"discards,omitempty"`  // number of discards
	Marks       []mark   `bson:"marks,omitempty"`     // the last discards of batches, oldest first
	Unmarked    int64    `bson:"unmarked,omitempty"`  // discards up to this number may have no mark
	FirstCommit int64    `bson:"quiet,omitempty"`     // time of the first commit
	OpenSet     bool     `bson:"open_set,omitempty"`  // while Finish has work to do
	DoneMade    bool     `bson:"done_made,omitempty"` // <source>/done was inserted
	Purging     bool     `bson:"purging,omitempty"`
}

// A mark records the number of a batch's last discard, counting the discards of all batches of the source from 1.
type mark struct {
	Batch  string `bson:"batch"`
	Number int64  `bson:"number"`
}

// A claimer is the instance that has claimed a task. Programs of older versions neither set nor remove it, so it only
// counts if At is the task's start.
type claimer struct {
	At       int64  `bson:"at"`
	Instance string `bson:"instance,omitempty"`
	IP       string `bson:"ip,omitempty"`
	Trace    string `bson:"trace,omitempty"` // of the attempt, once it has ended the task
}

// An attempt is a [backend.Attempt] as stored.
type attempt struct {
	Number   int    `bson:"n"`
	Fence    int64  `bson:"fence"`
	Instance string `bson:"instance,omitempty"`
	IP       string `bson:"ip,omitempty"`
	Started  int64  `bson:"started"`
	Ended    int64  `bson:"ended"`
	Outcome  string `bson:"outcome"`
	Code     string `bson:"code,omitempty"`
	Message  string `bson:"message,omitempty"`
	Trace    string `bson:"trace,omitempty"`
}

// endedAttempt returns the attempt of a claimed task that ends now. It needs the document's fence, attempt, started and
// claimer.
func (x *document) endedAttempt(now int64, outcome backend.AttemptOutcome, why *failure) *attempt {
	a := &attempt{Number: x.Attempt, Fence: x.Fence, Started: x.Started, Ended: now, Outcome: string(outcome)}
	if c := x.currentClaimer(); c != nil {
		a.Instance, a.IP = c.Instance, c.IP
	}
	if why != nil {
		a.Code, a.Message = why.Code, backend.Text(why.Message, backend.MaxAttemptMessage)
	}
	return a
}

// currentClaimer returns the claimer of the last claim, or nil if the program that made it did not store it.
func (x *document) currentClaimer() *claimer {
	if x.Claimer == nil || x.Claimer.At != x.Started {
		return nil
	}
	return x.Claimer
}

// setAttempts sets the fields of a task that tell where it runs and has run. An attempt that has ended the task is not
// stored: it follows from the task.
func (x *document) setAttempts(t *backend.Task) {
	t.Stopping = x.Stopping && t.Status == backend.StatusRunning
	for _, a := range x.Attempts {
		t.Attempts = append(t.Attempts, backend.Attempt{
			Attempt: a.Number, Fence: a.Fence, Instance: a.Instance, IP: a.IP, Started: instant.Time(a.Started),
			Ended: instant.Time(a.Ended), Outcome: backend.AttemptOutcome(a.Outcome), Code: backend.Code(a.Code),
			Message: a.Message, Trace: a.Trace,
		})
	}
	c := x.currentClaimer()
	if c == nil || t.Status != backend.StatusRunning && !t.Status.Final() {
		return
	}
	t.Instance, t.IP = c.Instance, c.IP
	if n := len(t.Attempts); t.Status.Final() && (n == 0 || t.Attempts[n-1].Fence != t.Fence) {
		a := backend.NewAttempt(t, t.Ended, backend.OutcomeOf(t.Status), t.Error)
		a.Trace = c.Trace
		t.Attempts = backend.AppendAttempt(t.Attempts, a)
	}
}

type metadata map[string]string

type failure struct {
	Code    string   `bson:"code"`
	Message string   `bson:"message"`
	Details []detail `bson:"details,omitempty"`
}

type detail struct {
	Type  string `bson:"type"`
	Value []byte `bson:"value"`
}

// A suspect is a [backend.Suspect] as stored.
type suspect struct {
	Suspected bool   `bson:"suspected,omitempty"`
	Losses    int    `bson:"losses"`
	For       int64  `bson:"for"`
	Cleared   int    `bson:"cleared,omitempty"`
	Owner     string `bson:"owner,omitempty"`
	Charged   bool   `bson:"charged,omitempty"`
}

func suspectOf(t *backend.Task) *suspect {
	s := t.Suspect
	if s == nil {
		return nil
	}
	return &suspect{t.Suspected(), s.Losses, int64(s.For), s.Cleared, s.Owner, s.Charged}
}

type counts struct {
	Total     int   `bson:"total"`
	Succeeded int   `bson:"succeeded"`
	Failed    int   `bson:"failed"`
	Stopped   int   `bson:"stopped"`
	Finished  int64 `bson:"finished"`
}

// A kin is the source and age of a subtask, by which subtasks are listed with an index that contains no other tasks.
type kin struct {
	Source  string `bson:"source"`
	Created int64  `bson:"created"`
	Of      int64  `bson:"of,omitempty"` // when the source was created, if it existed at the last insert
}

type expiry struct {
	Queue string `bson:"queue"`
	At    int64  `bson:"at"`
}

// Line states of a waiting task.
const (
	ready   = 1
	delayed = 2
)

// Statuses in which a task waits, is not final, and is final.
var (
	waitingStatuses = statusNames(func(s backend.Status) bool { return !s.Final() && s != backend.StatusRunning })
	liveStatuses    = statusNames(func(s backend.Status) bool { return !s.Final() })
	finalStatuses   = statusNames(backend.Status.Final)
	allStatuses     = statusNames(func(backend.Status) bool { return true })
)

func statusNames(which func(backend.Status) bool) []string {
	var list []string
	for _, s := range backend.Statuses() {
		if which(s) {
			list = append(list, string(s))
		}
	}
	return list
}

func isFinal(status string) bool { return backend.Status(status).Final() }

// task returns the task of a document.
func (x *document) task() backend.Task {
	t := backend.Task{
		ID: x.ID, Queue: x.Queue, Status: backend.Status(x.Status), Weight: x.Weight, Payload: x.Payload,
		Fingerprint: x.Fingerprint, Result: x.Result, Progress: x.Progress, Progressed: instant.Time(x.Progressed),
		Attempt: x.Attempt, Crashes: x.Crashes, Fence: x.Fence,
		Batch: x.Batch, OnFailure: backend.FailurePolicy(x.OnFailure), DoneOf: x.DoneOf, RetryOf: x.RetryOf,
		UniqueKey: x.UniqueKey, Log: x.Log, Trace: x.Trace, Retries: x.Retries, Metadata: x.Metadata,
		Timeout: time.Duration(x.Timeout), Created: instant.Time(x.Created),
		RunAt: instant.Time(x.Due), Deadline: instant.Time(x.Deadline), Started: instant.Time(x.Started),
		Ended: instant.Time(x.Ended), Allow: x.Allow, RetriedBy: x.RetriedBy,
		WrongVersionSince: instant.Time(x.WrongVersionSince), MaxCrashes: x.MaxCrashes,
		Spawned: x.SpawnRev > 0, Gated: x.Gated != "" && !isFinal(x.Status),
		Uncommitted: x.Held != "" && !isFinal(x.Status),
	}
	if s := x.Suspect; s != nil {
		t.Suspect = &backend.Suspect{Losses: s.Losses, For: time.Duration(s.For), Cleared: s.Cleared, Owner: s.Owner,
			Charged: s.Charged}
	}
	if x.Kin != nil {
		t.Source = x.Kin.Source
	}
	switch {
	case x.Error != nil:
		t.Error = x.Error.taskError()
	case t.Status == backend.StatusStopped:
		// The owner that stops a running task doesn't know the reason; the stop request stored it.
		t.Error = &backend.TaskError{Code: backend.ErrAborted, Message: x.Reason}
	}
	x.setAttempts(&t)
	if n := x.Subtasks; n != nil {
		t.Subtasks = &backend.SubtaskCounts{
			Total: n.Total, Succeeded: n.Succeeded, Failed: n.Failed, Stopped: n.Stopped, Finished: instant.Time(n.Finished),
		}
	}
	return t
}

func tasksOf(found []*document) []backend.Task {
	tasks := make([]backend.Task, len(found))
	for i, x := range found {
		tasks[i] = x.task()
	}
	return tasks
}

// headsOf returns the heads of the tasks.
func headsOf(found []*document) []backend.Task {
	tasks := make([]backend.Task, len(found))
	for i, x := range found {
		t := x.task()
		tasks[i] = t.Head()
	}
	return tasks
}

// uniqueKeyOf returns a key that identifies a queue and a unique key.
func uniqueKeyOf(queue, key string) string { return fmt.Sprintf("%d:%s%s", len(queue), queue, key) }

// heldKey returns a key that identifies a batch of a source.
func heldKey(source, batch string) string { return uniqueKeyOf(source, batch) }
