package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/internal/history"
)

// OtherQueues is the name under which [App.History] adds up queues beyond its limits: an instance keeps the first 1,000
// queues of a minute apart, and stores up to 64 KiB of them, the most active ones.
const OtherQueues = history.OtherQueues

// A HistoryQuery selects history for [App.History].
type HistoryQuery struct {
	Queue string        // of one queue; "" adds up all
	From  time.Time     // zero means an hour before To
	To    time.Time     // zero means now
	Step  time.Duration // of a HistoryPoint, whole minutes; 0 means a minute, or an hour if From is over 2 h ago
}

// A HistoryPoint is what happened to tasks in a period, added up over all instances. An instance that dies loses at
// most its last minute. Times are of the store's clock, as the instances know it, to within half a minute.
type HistoryPoint struct {
	Start     time.Time      `json:"start"`
	Submitted int64          `json:"submitted"`       // with subtasks and those of jobs, not those that run SubtasksDone
	Started   int64          `json:"started"`         // attempts
	Succeeded int64          `json:"succeeded"`       // tasks
	Failed    int64          `json:"failed"`          // tasks, finally, also without an attempt
	Retried   int64          `json:"retried"`         // attempts that failed and are followed by another
	Returned  int64          `json:"returned"`        // attempts that were not charged
	Stopped   int64          `json:"stopped"`         // tasks that were stopped while they ran
	Lost      int64          `json:"lost"`            // attempts whose process died
	Codes     map[Code]int64 `json:"codes,omitempty"` // Failed and Retried, by the code of the error
	Wait      Distribution   `json:"wait"`            // from due time (of subtasks: submission) to start
	Run       Distribution   `json:"run"`             // of an attempt, from its start to its end
}

// A Distribution is percentiles of durations, to within 20 % or a millisecond. Max is exact.
type Distribution struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
}

// History returns what happened in the recent past, oldest first: of the last 2 hours by minutes, and of the last 7
// days by hours. Each instance stores its numbers once a minute, so the last two minutes are not complete, except for
// this instance. Nothing that happened is counted twice.
//
// Points begin at multiples of Step, the first one at or before From. An hour that is only known as a whole counts in
// the point in which it begins. A period without events has points with zeros, also if the queue is unknown. If Step is
// not whole minutes, or there would be more than 10,000 points, History returns [ErrInvalidArgument].
func (a *App) History(ctx context.Context, q HistoryQuery) ([]HistoryPoint, error) {
	c, err := a.limited()
	if err != nil {
		return nil, err
	}
	if c.history == nil {
		return nil, NewError(ErrUnimplemented, "History is not available in a child process").With(OutcomeNotSent)
	}
	found, err := c.history.Read(ctx, history.Query(q))
	if err != nil {
		return nil, err
	}
	points := make([]HistoryPoint, len(found))
	for i := range found {
		p := &found[i]
		points[i] = HistoryPoint{
			Start: p.Start, Submitted: p.Submitted, Started: p.Started, Succeeded: p.Succeeded, Failed: p.Failed,
			Retried: p.Retried, Returned: p.Returned, Stopped: p.Stopped, Lost: p.Lost,
			Codes: p.Codes, Wait: distributionOf(&p.Wait), Run: distributionOf(&p.Run),
		}
	}
	return points, nil
}

func distributionOf(h *history.Histogram) Distribution {
	return Distribution{
		Count: h.Count(), P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99), Max: h.Max(),
	}
}
