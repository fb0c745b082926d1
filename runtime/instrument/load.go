package instrument

import "time"

// A Load is how busy an App is: see af.App.Load. It is about this App only. What concerns the whole system is read from
// the store: af.App.Queues, Workers and Instances.
type Load struct {
	Queues []QueueLoad // of the App's workers, sorted by name
	// Backlog is the number of results that are not written, and BacklogSince since when the first of them is not.
	Backlog      int
	BacklogSince time.Time
	// LostLogs has the number of log records that were lost since the App was opened, by reason; others are missing:
	//
	//	file     the log file could not be written, such as on a full disk; the console has them, if there is one
	//	console  the console could not be written, such as a closed pipe; the file has them, if there is one
	//	handler  the slog.Handler of the program has returned an error
	//	live     a task logged faster than its lines are sent to those who follow them (af.App.FollowLog)
	LostLogs map[string]int64
}

// A QueueLoad is how busy the worker of a queue is.
type QueueLoad struct {
	Queue     string
	Slots     int // tasks that may run at once, by the limit that applies now
	Used      int // slots in use, including those of abandoned handlers
	Abandoned int // handlers that run although their contexts ended long ago
}
