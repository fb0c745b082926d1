package runtime

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/pages"
)

// A Job is the current state of a job.
type Job struct {
	ID       string          `json:"id"`
	Cron     string          `json:"cron"`
	Zone     string          `json:"zone,omitempty"`
	Queue    string          `json:"queue"`
	Payload  json.RawMessage `json:"payload,omitempty"`
	Allow    []string        `json:"allow,omitempty"`
	Missed   MissedPolicy    `json:"missed,omitempty"`
	Window   time.Duration   `json:"window,omitempty"`
	Overlap  OverlapPolicy   `json:"overlap,omitempty"`
	Timeout  time.Duration   `json:"timeout,omitempty"`
	Retries  *int            `json:"retries,omitempty"` // nil for the worker's
	Disabled bool            `json:"disabled,omitempty"`
	Metadata Metadata        `json:"metadata,omitempty"` // of its tasks
	Declared bool            `json:"declared,omitempty"` // by a program, with its worker
	Created  time.Time       `json:"created,omitzero"`   // when its timetable was set, from which @every is counted
	Fired    time.Time       `json:"fired,omitzero"`     // the due time of the last fire; zero before the first
	Next     time.Time       `json:"next,omitzero"`      // due time; zero if there is none, or the job is disabled
	Waiting  int             `json:"waiting,omitempty"`  // due times whose tasks are not submitted yet, with OverlapQueue

	// Changed is when the job was last put with another content, enabled or disabled; By and Reason are the options of
	// that call. They are unknown, and so empty, if a process of an older version has fired the job since.
	Changed time.Time `json:"changed,omitzero"`
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// A Fire is a due time of a job that has passed, or a manual run.
type Fire struct {
	Job     string    `json:"job"`
	Due     time.Time `json:"due,omitzero"`      // zero for a manual run
	At      time.Time `json:"at"`                // when it was fired
	TaskID  string    `json:"task_id,omitempty"` // "" if it was skipped
	Skipped string    `json:"skipped,omitempty"` // why: SkippedMissed, SkippedOverlap or SkippedFull
	More    int       `json:"more,omitempty"`    // earlier due times that were skipped together with this one
}

// Reasons for skipping due times.
const (
	SkippedMissed  = "missed"     // by the missed-run policy
	SkippedOverlap = "overlap"    // an earlier task has not ended
	SkippedFull    = "queue full" // too many due times wait for an earlier task
)

// A JobQuery selects jobs for [App.Jobs]. A zero field does not restrict.
type JobQuery struct {
	Prefix   string // of their ids
	Queue    string
	Disabled *bool
	Sort     JobSort
	Limit    int    // jobs on a page: 1 to 1000; 0 means 100
	Cursor   string // the Cursor of the previous page, in the same order; "" for the first page
}

// A JobSort is an order of jobs; ids break ties.
type JobSort string

// The orders of jobs.
const (
	JobsByID   JobSort = ""     // by id
	JobsByNext JobSort = "next" // by the next due time; jobs without one come last
)

// A JobPage is one page of jobs.
type JobPage struct {
	Jobs   []Job  `json:"jobs"`
	Total  int    `json:"total"`            // number of jobs on all pages
	Cursor string `json:"cursor,omitempty"` // for JobQuery.Cursor, to get the next page; "" on the last page
}

// A FireQuery selects fires for [App.Fires]. A zero field does not restrict.
type FireQuery struct {
	Job     string
	After   time.Time // fired at this time or later
	Before  time.Time // fired before this time
	Skipped *bool
	Sort    FireSort
	Limit   int    // fires on a page: 1 to 1000; 0 means 100
	Cursor  string // the Cursor of the previous page, in the same order; "" for the first page
}

// A FireSort is an order of fires.
type FireSort string

// The orders of fires.
const (
	FiresLatest FireSort = ""       // latest first
	FiresOldest FireSort = "oldest" // oldest first
)

// A FirePage is one page of fires.
type FirePage struct {
	Fires  []Fire `json:"fires"`
	Total  int    `json:"total"`            // number of fires on all pages
	Cursor string `json:"cursor,omitempty"` // for FireQuery.Cursor, to get the next page; "" on the last page
}

// Job returns a job, or [ErrNotFound].
func (a *App) Job(ctx context.Context, id string) (Job, error) {
	c, err := a.active()
	if err != nil {
		return Job{}, err
	}
	j, err := c.jobs.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return publicJob(j), nil
}

// Fires returns a page of the history of a job, or of all jobs. The last 200 fires of each are kept. If there is no
// such job, it returns [ErrNotFound].
func (a *App) Fires(ctx context.Context, q FireQuery) (FirePage, error) {
	c, err := a.active()
	if err != nil {
		return FirePage{}, err
	}
	all, err := c.jobs.Histories(ctx, q.Job)
	if err != nil {
		return FirePage{}, err
	}
	fires := jobs.Fires(all, jobs.FireQuery{After: q.After, Before: q.Before, Skipped: q.Skipped})
	page := FirePage{Total: len(fires)}
	key := map[FireSort]func(jobs.Fire) string{
		FiresLatest: jobs.Fire.Latest, FiresOldest: jobs.Fire.Oldest,
	}[q.Sort]
	list, cursor, err := pages.Of(fires, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor}, key)
	page.Cursor = cursor
	for _, f := range list {
		page.Fires = append(page.Fires, Fire{f.Job, f.Due, f.At, f.TaskID, f.Skipped, f.More})
	}
	return page, err
}

// Jobs returns a page of the jobs that match q.
func (a *App) Jobs(ctx context.Context, q JobQuery) (JobPage, error) {
	c, err := a.active()
	if err != nil {
		return JobPage{}, err
	}
	all, err := c.jobs.All(ctx, q.Prefix)
	if err != nil {
		return JobPage{}, err
	}
	var list []Job
	for _, j := range all {
		if q.Queue != "" && q.Queue != j.Queue || q.Disabled != nil && *q.Disabled != j.Disabled {
			continue
		}
		list = append(list, publicJob(j))
	}
	page := JobPage{Total: len(list)}
	key := map[JobSort]func(Job) string{
		JobsByID: func(j Job) string { return j.ID },
		JobsByNext: func(j Job) string {
			if j.Next.IsZero() {
				return "~" + j.ID
			}
			return j.Next.UTC().Format(time.RFC3339) + " " + j.ID
		},
	}[q.Sort]
	page.Jobs, page.Cursor, err = pages.Of(list, pages.Query{Sort: string(q.Sort), Limit: q.Limit, Cursor: q.Cursor}, key)
	return page, err
}

// publicJob converts a job of package jobs.
func publicJob(j *jobs.Document) Job {
	out := Job{
		ID: j.ID(), Cron: j.Cron, Zone: j.Zone, Queue: j.Queue, Payload: j.Payload, Allow: j.Allow,
		Missed: MissedPolicy(j.Missed), Window: j.Window, Overlap: OverlapPolicy(j.Overlap), Timeout: j.Timeout,
		Retries:  j.Retries,
		Disabled: j.Disabled, Declared: j.Declared, Metadata: j.Metadata,
		Created: time.Unix(j.Created, 0).UTC(), Next: j.Next(), Waiting: j.Waiting(),
		By: j.By, Reason: j.Reason,
	}
	if j.Changed != 0 {
		out.Changed = time.Unix(j.Changed, 0).UTC()
	}
	if out.Zone == "" {
		out.Zone = "UTC"
	}
	if j.Fired != 0 {
		out.Fired = time.Unix(j.Fired, 0).UTC()
	}
	return out
}
