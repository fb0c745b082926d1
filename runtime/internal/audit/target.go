package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// The actions of entries.
const (
	TaskStop    = "task.stop"
	TaskRetry   = "task.retry"
	TaskDelete  = "task.delete"
	TaskRun     = "task.run"
	TaskReweigh = "task.reweigh"
	TasksStop   = "tasks.stop"
	TasksRetry  = "tasks.retry"
	TasksDelete = "tasks.delete"
	QueuePause  = "queue.pause"
	QueueResume = "queue.resume"
	QueueMax    = "queue.max"
	QueueReset  = "queue.reset"
	JobPut      = "job.put"
	JobEnable   = "job.enable"
	JobDisable  = "job.disable"
	JobRun      = "job.run"
	JobRemove   = "job.remove"
)

// QueryTarget returns the target of a bulk change: the query's conditions. Of conditions on payloads it has the paths
// only.
func QueryTarget(q *backend.TaskQuery) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	instant := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	statuses := make([]string, len(q.Statuses))
	for i, s := range q.Statuses {
		statuses[i] = string(s)
	}
	add("queue", q.Queue)
	add("source", q.Source)
	add("status", strings.Join(statuses, ","))
	add("code", string(q.Code))
	add("after", instant(q.After))
	add("before", instant(q.Before))
	if f := &q.Filter; !f.IsZero() {
		if f.Text != "" {
			add("text", fmt.Sprintf("%q", f.Text))
		}
		add("instance", f.Instance)
		add("unique_key", f.UniqueKey)
		add("retry_of", f.RetryOf)
		add("id", f.IDPrefix)
		for _, p := range f.Payload {
			add("payload."+p.Path, "…")
		}
	}
	if len(parts) == 0 {
		return "all tasks"
	}
	return strings.Join(parts, " ")
}
