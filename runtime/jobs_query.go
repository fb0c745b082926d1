package runtime

import (
	"context"
	"encoding/json"
	"time"
)

// A Job is a job as it stands.
type Job struct {
	ID       string
	Cron     string
	Zone     string
	Queue    string
	Payload  json.RawMessage
	Allow    []string
	Missed   MissedPolicy
	Window   time.Duration
	Overlap  OverlapPolicy
	Timeout  time.Duration
	Disabled bool
	Declared bool      // by a program, with its worker
	Created  time.Time // or changed to another time table: what @every is counted from
	Fired    time.Time // the due time of the last fire; zero before the first
	Next     time.Time // due time; zero while it is disabled
	Waiting  int       // due times whose tasks are yet to be submitted, with OverlapQueue
}

// A Fire is a due time of a job that has passed, or a run by hand.
type Fire struct {
	Job     string
	Due     time.Time // zero for a run by hand
	At      time.Time // when it was fired
	TaskID  string    // "" where it was skipped
	Skipped string    // why: SkippedMissed, SkippedOverlap, SkippedFull
	More    int       // how many due times before this one were skipped with it
}

// Why due times are skipped.
const (
	SkippedMissed  = "missed"     // by the missed-run policy
	SkippedOverlap = "overlap"    // an earlier task has not ended
	SkippedFull    = "queue full" // too many wait for an earlier task to end
)

// A JobQuery selects jobs; zero fields don't restrict.
type JobQuery struct {
	Prefix   string // of their ids
	Queue    string
	Disabled *bool
	Sort     JobSort
	Limit    int    // 1 to 1000; 0 is 100
	Cursor   string // of the page before
}

// A JobSort is an order of jobs; ids break ties.
type JobSort string

// The orders of jobs.
const (
	JobsByID   JobSort = ""     // by id
	JobsByNext JobSort = "next" // by their next due time; those that have none last
)

// A JobPage is one page of jobs.
type JobPage struct {
	Jobs   []Job
	Total  int    // of all pages
	Cursor string // of the next page; "" at the end
}

// A FireQuery selects fires; zero fields don't restrict.
type FireQuery struct {
	Job     string
	After   time.Time // fired at or after
	Before  time.Time // fired before
	Skipped *bool
	Sort    FireSort
	Limit   int    // 1 to 1000; 0 is 100
	Cursor  string // of the page before, in the same order
}

// A FireSort is an order of fires.
type FireSort string

// The orders of fires.
const (
	FiresLatest FireSort = ""       // the latest first
	FiresOldest FireSort = "oldest" // the oldest first
)

// A FirePage is one page of fires.
type FirePage struct {
	Fires  []Fire
	Total  int    // of all pages
	Cursor string // of the next page; "" at the end
}

// Job returns a job; not_found where there is none.
func (a *App) Job(ctx context.Context, id string) (Job, error) {
	e, err := a.engine()
	if err != nil {
		return Job{}, err
	}
	j, err := e.readJob(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return j.public(), nil
}

// Fires returns the history of a job, or of all, a page at a time: the latest 200 fires of each are kept. A job that isn't
// there is not_found.
func (a *App) Fires(ctx context.Context, q FireQuery) (FirePage, error) {
	e, err := a.engine()
	if err != nil {
		return FirePage{}, err
	}
	return e.listFires(ctx, q)
}

// Jobs returns the jobs that match, a page at a time.
func (a *App) Jobs(ctx context.Context, q JobQuery) (JobPage, error) {
	e, err := a.engine()
	if err != nil {
		return JobPage{}, err
	}
	return e.listJobs(ctx, q)
}
