package jobs

import (
	"fmt"
	"time"
)

// A Fire is an entry of the history of a job as users see it. Package runtime documents the fields.
type Fire struct {
	Job     string
	Due, At time.Time
	TaskID  string
	Skipped string
	More    int

	at, number int64 // of the entry
}

// A FireQuery selects fires. A zero field does not restrict.
type FireQuery struct {
	After, Before time.Time
	Skipped       *bool
}

// Fires returns the fires of some histories that match a query, in no order.
func Fires(all map[string]History, q FireQuery) (fires []Fire) {
	for job, h := range all {
		for _, n := range h.Fires {
			f := fireOf(job, n)
			if !q.After.IsZero() && f.At.Before(q.After) || !q.Before.IsZero() && !f.At.Before(q.Before) ||
				q.Skipped != nil && *q.Skipped != (f.Skipped != "") {
				continue
			}
			fires = append(fires, f)
		}
	}
	return fires
}

// fireOf converts an entry of a job's history.
func fireOf(job string, n HistoryEntry) Fire {
	f := Fire{
		Job: job, At: time.Unix(n.At, 0).UTC(), TaskID: n.Task, Skipped: n.Skip, More: n.More, at: n.At, number: n.N,
	}
	if n.Task == "" {
		f.Due = time.Unix(n.Due, 0).UTC()
		if n.Skip == "" {
			f.TaskID = FireID(job, n.Due)
		}
	}
	return f
}

// Oldest returns a unique key that sorts the oldest fires first.
func (f Fire) Oldest() string { return fireKey(f.at, f.number, f.Job) }

// Latest returns a unique key that sorts the latest fires first.
func (f Fire) Latest() string { return fireKey(1<<62-f.at, 1<<62-f.number, f.Job) }

func fireKey(at, number int64, job string) string {
	return fmt.Sprintf("%020d %020d %s", at, number, job)
}
