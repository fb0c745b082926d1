// Package admin reads and changes a running system: queues, tasks, jobs, services and machines. Commands and web pages for
// operators are built on it.
//
// [New] makes an [API] from a started App, which may be an [af.Observer]. Package adminhttp serves an API over HTTP and
// has a client that is an API again, so a tool works alike on an App and on a URL.
//
//	api := admin.Guard(admin.New(app), admin.User{Name: "ann", Rights: admin.ReadOnly()})
//	page, err := api.Tasks(ctx, af.TaskQuery{Queue: "resize", Statuses: []af.Status{af.StatusFailed}})
//
// # Changes
//
// Every method that changes something takes an [Action]: who makes the change and why. An Action with By is recorded
// in the audit log: see [Reader.Audit]. A dry run reads the target and returns the errors that can be foreseen, such as
// [af.ErrNotFound], and changes nothing.
//
// # Rights
//
// [Guard] restricts an API to the [Right]s of a [User]. It is the only place where rights are checked: a page that hides
// a button protects nothing. It also sets By to the user's name, whatever the caller says, and removes payloads from
// what a user without [Payloads] reads.
//
// # Why
//
// [API.Why] explains the state of a task: the rules that hold for it, what they rest on, and what would help.
package admin

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// An API reads and administers a system. Its methods are safe for concurrent use. Their errors are [*af.Error] or wrap
// one. Lists are pages, as those of [af.App].
type API interface {
	Reader
	Writer
}

// A Reader is the part of an [API] that changes nothing.
type Reader interface {
	// Overview returns the state of the system on one page. Parts that can't be read are in its Missing.
	Overview(ctx context.Context) (Overview, error)
	// Health is [af.App.Health] of the App that answers.
	Health(ctx context.Context) (af.Health, error)
	// Queues is [af.App.Queues].
	Queues(ctx context.Context) ([]af.QueueInfo, error)
	// Tasks is [af.App.Tasks].
	Tasks(ctx context.Context, q af.TaskQuery) (af.TaskPage, error)
	// Task returns a task with what explains its state.
	Task(ctx context.Context, id string) (Task, error)
	// Tree returns a page of a task's descendants.
	Tree(ctx context.Context, q TreeQuery) (TreePage, error)
	// Why explains the state of a task.
	Why(ctx context.Context, id string) (Explanation, error)
	// History is [af.App.History].
	History(ctx context.Context, q af.HistoryQuery) ([]af.HistoryPoint, error)
	// Jobs is [af.App.Jobs].
	Jobs(ctx context.Context, q af.JobQuery) (af.JobPage, error)
	// Job is [af.App.Job].
	Job(ctx context.Context, id string) (af.Job, error)
	// Fires is [af.App.Fires].
	Fires(ctx context.Context, q af.FireQuery) (af.FirePage, error)
	// Services is [af.App.Services].
	Services(ctx context.Context, q af.ServiceQuery) (af.ServicePage, error)
	// Workers is [af.App.Workers].
	Workers(ctx context.Context, q af.WorkerQuery) (af.WorkerPage, error)
	// Instances is [af.App.Instances].
	Instances(ctx context.Context, q af.InstanceQuery) (af.InstancePage, error)
	// Nodes is [af.App.Nodes].
	Nodes(ctx context.Context, q af.NodeQuery) (af.NodePage, error)
	// Audit is [af.App.Audit].
	Audit(ctx context.Context, q af.AuditQuery) (af.AuditPage, error)
	// Logs is [af.App.FollowLog].
	Logs(ctx context.Context, id string) iter.Seq2[[]string, error]
	// Watch yields what has changed, about once a second, until ctx or the caller ends it. See [WatchQuery].
	Watch(ctx context.Context, q WatchQuery) iter.Seq2[Tick, error]
}

// A Writer is the part of an [API] that changes the system.
type Writer interface {
	// Submit stores a task and wakes a worker. The audit log has the id and the queue, if the task was created.
	Submit(ctx context.Context, s Submission, a Action) (Submitted, error)
	// Call calls a method of a service and returns its results, a JSON object. The audit log has the method, and the code
	// of an error.
	Call(ctx context.Context, c Call, a Action) (json.RawMessage, error)
	// Stop is [af.App.StopTask].
	Stop(ctx context.Context, id string, a Action) error
	// Retry is [af.App.RetryTask]. It returns the id of the new task, "" in a dry run.
	Retry(ctx context.Context, r Retry, a Action) (string, error)
	// Delete is [af.App.DeleteTask].
	Delete(ctx context.Context, id string, a Action) error
	// RunNow is [af.App.RunNow].
	RunNow(ctx context.Context, id string, a Action) error
	// Reweigh is [af.App.Reweigh].
	Reweigh(ctx context.Context, id string, weight int, a Action) error
	// StopTasks is [af.App.StopTasks]: one page of q. Continue with the Cursor of the result.
	StopTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error)
	// RetryTasks is [af.App.RetryTasks].
	RetryTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error)
	// DeleteTasks is [af.App.DeleteTasks].
	DeleteTasks(ctx context.Context, q af.TaskQuery, a Action) (BulkResult, error)
	// Pause is [af.App.PauseQueue].
	Pause(ctx context.Context, queue string, a Action) error
	// Resume is [af.App.ResumeQueue].
	Resume(ctx context.Context, queue string, a Action) error
	// SetMax is [af.App.UpdateMaxWorkers].
	SetMax(ctx context.Context, l Limit, a Action) error
	// ResetMax is [af.App.ResetMaxWorkers]. An empty ip resets all limits of the queue.
	ResetMax(ctx context.Context, queue, ip string, a Action) error
	// PutJob is [af.App.PutJob].
	PutJob(ctx context.Context, j Job, a Action) error
	// RemoveJob is [af.App.RemoveJob].
	RemoveJob(ctx context.Context, id string, a Action) error
	// EnableJob is [af.App.EnableJob].
	EnableJob(ctx context.Context, id string, a Action) error
	// DisableJob is [af.App.DisableJob].
	DisableJob(ctx context.Context, id string, a Action) error
	// RunJob is [af.App.RunJob]. It returns the id of the task, "" in a dry run.
	RunJob(ctx context.Context, id string, a Action) (string, error)
}

// An Action tells who makes a change and why.
type Action struct {
	By     string `json:"by,omitempty"`      // at most 200 bytes; "" is not recorded; Guard replaces it
	Reason string `json:"reason,omitempty"`  // at most 1,000 bytes
	DryRun bool   `json:"dry_run,omitempty"` // change nothing
	// Create lets Pause pause a queue that is unknown, such as one of the next deployment: see [af.Create].
	Create bool `json:"create,omitempty"`
}

// An Overview is the state of a system.
type Overview struct {
	Health af.Health `json:"health"` // of the App that answers
	// User is who asks, with all rights; nil without a [Guard].
	User *User `json:"user,omitempty"`

	Queues    []af.QueueInfo          `json:"queues"`
	Counts    map[af.Status]af.Count  `json:"counts"`          // of tasks, of all queues
	Oldest    time.Time               `json:"oldest,omitzero"` // since when a task has been ready, of all queues
	Hour      []af.HistoryPoint       `json:"hour"`            // the last hour, by minutes
	Instances int                     `json:"instances"`
	Nodes     int                     `json:"nodes"`
	Jobs      int                     `json:"jobs"`
	Missing   map[string]*MissingPart `json:"missing,omitempty"` // by the names of the fields above, such as queues
}

// A MissingPart tells why a part of an [Overview] is missing.
type MissingPart struct {
	Code    af.Code `json:"code"`
	Message string  `json:"message"`
}

// A Task is a task with what explains its state.
type Task struct {
	af.Task
	// Children has the number of subtasks by status; nil for a task without subtasks.
	Children map[af.Status]af.Count `json:"children,omitempty"`
	// Ahead is the number of ready tasks that are claimed before this one; nil if it does not wait in line.
	Ahead *af.Count `json:"ahead,omitempty"`
	// Why explains the task's state; nil if that could not be found out, such as while Redis is unavailable.
	Why *Explanation `json:"why,omitempty"`
	// Redacted is set if the user may not see payloads: the payload, the result, progress, log and metadata are missing.
	Redacted bool `json:"redacted,omitempty"`
}

// A Submission is a task to submit, to any queue.
type Submission struct {
	Queue         string          `json:"queue"`
	Payload       json.RawMessage `json:"payload"`
	ID            string          `json:"id,omitempty"` // chosen by the caller; repeating such a submission is safe
	UniqueKey     string          `json:"unique_key,omitempty"`
	Weight        *int            `json:"weight,omitempty"` // nil means 1
	RunAt         time.Time       `json:"run_at,omitzero"`
	Delay         time.Duration   `json:"delay,omitempty"`
	Deadline      time.Time       `json:"deadline,omitzero"`
	Timeout       time.Duration   `json:"timeout,omitempty"` // of an attempt; 0 means the worker's
	Retries       *int            `json:"retries,omitempty"` // nil means the worker's
	RequireWorker bool            `json:"require_worker,omitempty"`
	Metadata      af.Metadata     `json:"metadata,omitempty"`
}

// Submitted is the result of [Writer.Submit].
type Submitted struct {
	ID      string `json:"id"`      // "" in a dry run without an id
	Created bool   `json:"created"` // false if a task with the id or unique key exists already, and in a dry run
}

// A Call is a call to any method.
type Call struct {
	Service  string          `json:"service"`
	Method   string          `json:"method"`
	Args     json.RawMessage `json:"args,omitempty"`    // a JSON object with a member for each argument
	Timeout  time.Duration   `json:"timeout,omitempty"` // 0 means 30 s
	Metadata af.Metadata     `json:"metadata,omitempty"`
}

// A Retry selects a task to retry.
type Retry struct {
	ID      string          `json:"id"`
	Payload json.RawMessage `json:"payload,omitempty"` // another payload: see [af.Payload]
	Replace bool            `json:"replace,omitempty"` // delete the old task: see [af.Replace]
}

// A BulkResult is what a bulk change of one page has done: see [af.BulkResult].
type BulkResult struct {
	Matched int           `json:"matched"`
	Changed int           `json:"changed"`
	Failed  []BulkFailure `json:"failed,omitempty"`
	Cursor  string        `json:"cursor,omitempty"` // of the next page; "" after the last one
}

// A BulkFailure is a task that a bulk change could not change.
type BulkFailure struct {
	ID      string  `json:"id"`
	Code    af.Code `json:"code"`
	Message string  `json:"message"`
}

// A Limit is how many tasks of a queue each instance runs at once.
type Limit struct {
	Queue  string `json:"queue"`
	IP     string `json:"ip,omitempty"` // of instances that report this address; "" means all
	Max    int    `json:"max"`
	Create bool   `json:"create,omitempty"` // also if the queue or the address is unknown
}

// A Job is a cron entry to add or replace. The zero value of an option means the default of [af.JobOptions].
type Job struct {
	ID       string           `json:"id"`
	Cron     string           `json:"cron"`
	Queue    string           `json:"queue"`
	Payload  json.RawMessage  `json:"payload"`
	Weight   *int             `json:"weight,omitempty"` // of its tasks; nil means 1
	Zone     string           `json:"zone,omitempty"`
	Allow    []string         `json:"allow,omitempty"`
	Missed   af.MissedPolicy  `json:"missed,omitempty"`
	Window   time.Duration    `json:"window,omitempty"`
	Overlap  af.OverlapPolicy `json:"overlap,omitempty"`
	Timeout  time.Duration    `json:"timeout,omitempty"`
	Retries  *int             `json:"retries,omitempty"`
	Disabled bool             `json:"disabled,omitempty"` // when it is created
	Metadata af.Metadata      `json:"metadata,omitempty"`
}
