package aftest

import (
	"time"

	"github.com/afgen/afgen/internal/fault"
)

// stormLosses limits how many processes a storm crashes, cuts off or restarts. A task that is lost with more processes
// than that may fail: see af.MaxCrashes.
const stormLosses = 3

// Storm makes random faults happen for d, as the seed determines, and then ends all faults. Processes crash, lose
// results, are cut off or restart, three times in total. The store is unavailable at times. Requests of processes to
// the backend are refused, late or repeated, and replies are lost.
//
// Storm blocks; call it on another goroutine of the test to submit meanwhile. No task fails because of one storm
// alone: three losses are fewer than those after which a task is considered a poison pill ([af.MaxCrashes]).
func (c *Cluster) Storm(d time.Duration) {
	c.setPlan(func(p *fault.Plan) {
		rate := func(most float64) float64 { return most * c.rand.Float64() }
		*p = fault.Plan{
			Refuse: rate(0.1), LoseReply: rate(0.1), Repeat: rate(0.1), Delay: rate(0.2), MostDelay: c.span(4 * time.Second),
			LoseHint: rate(0.5), RepeatHint: rate(0.3), ShuffleHint: rate(0.5),
		}
	})
	begun, losses := time.Now(), 0
	for {
		c.mu.Lock()
		pause, long, what := c.span(4*time.Second), c.span(30*time.Second), c.rand.IntN(5)
		var p *Process
		if len(c.processes) > 0 {
			p = c.processes[c.rand.IntN(len(c.processes))]
		}
		c.mu.Unlock()
		if left := d - time.Since(begun); left <= pause {
			time.Sleep(left)
			c.heal()
			return
		}
		time.Sleep(pause)
		if what == 0 {
			c.StoreDown(long / 3)
			continue
		}
		if p == nil || losses == stormLosses {
			continue
		}
		losses++
		switch what {
		case 1:
			p.Partition(long)
		case 2:
			p.Restart()
		case 3:
			p.Crash()
		case 4:
			p.LoseResult()
		}
	}
}

// span returns a random duration up to most. The caller holds c.mu.
func (c *Cluster) span(most time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(int64(most) + 1))
}
