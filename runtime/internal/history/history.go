// Package history counts what happens to tasks and keeps the counts for a week, without a request per task.
//
// A [Recorder] counts in memory: insertions through [Recorder.Store], starts and settlements of attempts, and losses of
// processes. Durations go into the buckets of a [Histogram], so that those of all instances can be added up
// (totals.go). Once a minute it closes its window and writes it as one document with all queues that had an event
// (writer.go, document.go). A minute without events costs nothing. One process of the system folds windows that are
// older than 2 hours into one document an hour ([Recorder.Fold]). [Recorder.Read] adds up the documents of a period.
//
// # What is exact
//
// Without faults every event is counted once. No event is ever counted twice: a window has a name of its own, so a
// repeated write finds it written, and an hour lists the windows that it contains. An event is lost
//
//   - if its process dies before the window is written, at most a minute later,
//   - if the reply of the request that caused it is lost: a claim whose tasks never run, tasks that the store has ended,
//     the loss of a process, a submission that fails with an unknown outcome,
//   - if the store is unavailable for over an hour.
//
// A submission that finds the task of an earlier one, with an id that the caller has chosen, is told from a new one by
// the task's age. Within a second it may be counted again.
//
// Times are of the store's clock, estimated from the times in replies (clock.go). A window is added to the minute that
// its middle is in, so an event may be half a minute off.
package history
