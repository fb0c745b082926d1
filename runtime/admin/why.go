package admin

import (
	"context"
	"encoding/json"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// An Explanation tells why a task is in its state, and above all why it does not run.
type Explanation struct {
	Task   string    `json:"task"`
	Queue  string    `json:"queue"`
	Status af.Status `json:"status"`
	At     time.Time `json:"at"` // when the task was read, by the store's clock
	// Rules has at least one finding. The first one is the answer; the others hold as well and would delay the task once
	// the first one is resolved.
	Rules []Finding `json:"rules"`
}

// A Finding is a rule that holds for a task.
type Finding struct {
	Rule     Rule     `json:"rule"`
	Text     string   `json:"text"` // one sentence
	Evidence Evidence `json:"evidence"`
	// Help names what would change it, best first. It is empty if only time or nothing does.
	Help []string `json:"help,omitempty"`
}

// A Rule is a reason for the state of a task. Its text is part of the API: it never changes.
type Rule string

// The rules, in the order in which they are checked. docs/why.md describes each.
const (
	RuleEnded       Rule = "ended"        // its own run has ended
	RuleStopping    Rule = "stopping"     // it runs, and was requested to stop
	RuleLost        Rule = "lost"         // the instance that ran it is gone; another one takes over
	RuleRunning     Rule = "running"      // it runs
	RuleUncommitted Rule = "uncommitted"  // its batch of subtasks is not committed yet
	RuleGated       Rule = "gated"        // its source has not succeeded yet
	RuleOverdue     Rule = "overdue"      // its deadline has passed; it is about to fail
	RuleVersion     Rule = "version"      // it can't be decoded by the present workers, and waits for one of its version
	RuleNotDue      Rule = "not_due"      // its time, or that of its next attempt, has not come
	RuleUnavailable Rule = "unavailable"  // a server that tasks need is unavailable
	RulePaused      Rule = "paused"       // its queue is paused
	RuleNoWorker    Rule = "no_worker"    // no instance runs its queue's worker
	RuleDraining    Rule = "draining"     // all instances that run the worker are shutting down
	RuleNotAllowed  Rule = "not_allowed"  // no instance with the worker has an allowed address
	RuleLimitZero   Rule = "limit_zero"   // the limit of its queue is 0
	RuleNotClaiming Rule = "not_claiming" // the instances with the worker claim no tasks now
	RuleBusy        Rule = "busy"         // all slots are taken, or other tasks come first
	RuleSuspect     Rule = "suspect"      // it may have killed a process, and waits to run as the only such task
	RuleHintLost    Rule = "hint_lost"    // it is due although slots are free: its wake-up message was lost
	RuleDue         Rule = "due"          // it is about to be claimed
	RuleDeadline    Rule = "deadline"     // its deadline comes soon; never the answer
)

// Rules returns all rules, in the order in which they are checked.
func Rules() []Rule {
	return []Rule{
		RuleEnded, RuleStopping, RuleLost, RuleRunning, RuleUncommitted, RuleGated, RuleOverdue, RuleVersion, RuleNotDue,
		RuleUnavailable, RulePaused, RuleNoWorker, RuleDraining, RuleNotAllowed, RuleLimitZero, RuleNotClaiming, RuleBusy,
		RuleSuspect, RuleHintLost, RuleDue, RuleDeadline,
	}
}

// Evidence is what a finding rests on. Only the fields that matter to the finding are set.
type Evidence struct {
	// Since is when the finding began to hold, and Until when it will end at the latest, as far as that is known.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`

	Instance string          `json:"instance,omitempty"` // that runs the task
	IP       string          `json:"ip,omitempty"`       // of Instance
	Progress json.RawMessage `json:"progress,omitempty"` // that the handler reported last
	// Progressed is when the handler reported Progress; zero if it is unknown.
	Progressed time.Time `json:"progressed,omitzero"`
	// LastBeat is when the last heartbeat of Instance was stored, and Expires when its lease ends unless another one
	// follows. Both are by the store's clock.
	LastBeat time.Time `json:"last_beat,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`

	Attempt  int     `json:"attempt,omitempty"`  // attempts that were charged
	Attempts int     `json:"attempts,omitempty"` // the most that are made; 0 if the worker's setting applies
	Code     af.Code `json:"code,omitempty"`     // of the last error
	Message  string  `json:"message,omitempty"`  // of the last error

	Source       string    `json:"source,omitempty"` // the task that it is a subtask of
	SourceStatus af.Status `json:"source_status,omitempty"`

	Conditions []af.Condition `json:"conditions,omitempty"` // that are down

	By     string `json:"by,omitempty"` // who set the limits of the queue last
	Reason string `json:"reason,omitempty"`

	Workers   []Place   `json:"workers,omitempty"`   // the workers concerned, at most 20
	Served    time.Time `json:"served,omitzero"`     // when a worker was last seen, to within a day
	Version   string    `json:"version,omitempty"`   // the fingerprint of the task's payload
	Allow     []string  `json:"allow,omitempty"`     // the addresses and networks that may run it
	Slots     int       `json:"slots,omitempty"`     // of the workers that may run it
	Taken     int       `json:"taken,omitempty"`     // slots in which tasks run
	Oldest    time.Time `json:"oldest,omitzero"`     // when the oldest of these was started
	Ahead     *af.Count `json:"ahead,omitempty"`     // ready tasks that are claimed before it
	PerMinute float64   `json:"per_minute,omitzero"` // tasks of the queue that were started lately
	Losses    int       `json:"losses,omitempty"`    // processes in a row that died while they ran it
	Crashes   int       `json:"crashes,omitempty"`   // of these, those that it is charged for
	// MaxCrashes is the number of Crashes at which it fails; 0 if unknown.
	MaxCrashes int `json:"max_crashes,omitempty"`
}

// A Place is an instance that runs the queue's worker.
type Place struct {
	Instance string `json:"instance"`
	IP       string `json:"ip"`
	Version  string `json:"version,omitempty"` // the fingerprint of its payload type
	Refusal  string `json:"refusal,omitempty"` // why it claims no tasks
}

// why returns the explanation of a task. It reads the task, its source, the limits of its queue and at most 1,000 of its
// workers, counts up to 10,000 tasks before it, and changes nothing. If there is no such task, the error is
// [af.ErrNotFound]; if the store is unavailable, it is [af.ErrUnavailable].
func why(ctx context.Context, app *af.App, id string) (Explanation, error) {
	f, err := gather(ctx, app, id)
	if err != nil {
		return Explanation{}, err
	}
	return Explanation{Task: f.task.ID, Queue: f.task.Queue, Status: f.task.Status, At: f.now, Rules: rules(&f)}, nil
}
