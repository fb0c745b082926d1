package jobs

import (
	"strconv"
	"strings"
)

// TaskPrefix begins the ids of all tasks that jobs submit.
const TaskPrefix = "job/"

// FireID returns the id of the task of a due time, in Unix seconds. It is the same in all processes.
func FireID(job string, due int64) string { return TaskPrefix + job + "/" + strconv.FormatInt(due, 10) }

// parseFireID returns the job and the due time of the task of a fire. ok is false if id isn't one.
func parseFireID(id string) (job string, due int64, ok bool) {
	job, ok = JobOf(id)
	if !ok {
		return "", 0, false
	}
	due, err := strconv.ParseInt(id[strings.LastIndexByte(id, '/')+1:], 10, 64)
	return job, due, err == nil && id == FireID(job, due)
}

// RetryID returns an id for the retry of a job's task; unique distinguishes retries.
func RetryID(job, unique string) string { return TaskPrefix + job + "/retry-" + unique }

// runID returns an id for a task that [Catalog.Run] submits.
func runID(job, unique string) string { return TaskPrefix + job + "/run-" + unique }

// JobOf returns the job of a task id. ok is false if it isn't the id of a job's task.
func JobOf(taskID string) (job string, ok bool) {
	rest, ok := strings.CutPrefix(taskID, TaskPrefix)
	if !ok {
		return "", false
	}
	return rest[:max(strings.LastIndexByte(rest, '/'), 0)], true
}
