package amqp

import (
	"cmp"
	"context"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

// A broker whose process or network is frozen keeps its connections until heartbeats are missed, which takes 15 s.
// Two earlier signs have different consequences:
//
//   - A confirm is late. The broker may only be busy: with its disk, with a loaded queue, or because it slows down
//     publishers. Calls may succeed, so they continue. Hints are not worth waiting for: they fail, and State tells
//     workers to poll the store.
//   - A question on the consuming connection has no answer for silentAfter, and nothing else arrives there. The broker
//     reads from this connection even if it slows down or blocks publishers, so it is frozen or unreachable. All
//     operations fail as unavailable until the question is answered.
//
// Questions are only asked while a confirm is late. Each generation publishes at least every upkeepEvery, so silence is
// noticed within upkeepEvery + silentAfter and two checks.
const (
	checkEvery       = 250 * time.Millisecond
	defaultLateAfter = 500 * time.Millisecond
	silentAfter      = 3 * time.Second
)

// A silenceDetector decides whether the broker is silent. It counts checks instead of time, so that a process that was
// suspended doesn't mistake its own pause for the broker's.
type silenceDetector struct {
	asked  bool // a question is unanswered
	waits  int  // checks since then while the broker could have answered
	silent bool
}

// check is called every checkEvery. confirm is the age of the oldest unconfirmed message and quiet the time since
// something arrived on the consuming connection. It returns true if the caller must ask a question.
func (d *silenceDetector) check(blocked bool, confirm, quiet time.Duration) (ask bool) {
	if blocked || confirm < checkEvery { // the broker has just responded
		d.waits, d.silent = 0, false
		return false
	}
	if !d.asked {
		d.asked, d.waits = true, 0
		return true
	}
	d.waits++
	if d.waits >= int(silentAfter/checkEvery) && quiet >= silentAfter-checkEvery {
		d.silent = true
	}
	return false
}

// answered is called when the question is answered.
func (d *silenceDetector) answered() { *d = silenceDetector{} }

// watchLiveness watches for late confirms and for silence until the generation ends.
func (g *generation) watchLiveness() {
	asker := &declarer{gen: g, link: g.consume, jobs: make(chan job, 1)} // other declarations may be slow
	g.spawn(asker.run)
	answers := make(chan struct{}, 1)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	lateAfter := cmp.Or(g.conn.config.lateAfter, defaultLateAfter)
	var detector silenceDetector
	for {
		select {
		case <-tick.C:
		case <-answers:
			detector.answered()
			g.setSilent(false)
			continue
		case <-g.lost:
			return
		}
		confirm := g.confirmed.oldest()
		g.setLate(confirm >= lateAfter)
		if detector.check(g.isBlocked(), confirm, g.consume.sock.quiet()) {
			asker.jobs <- func(ch *amqp091.Channel) { // never blocks: there is one question at a time
				// Any reply is an answer. If the queue was deleted, the generation ends.
				if g.hasControl() {
					_, _ = ch.QueueDeclarePassive(g.control, false, true, true, false, nil)
				} else {
					_ = ch.ExchangeDeclarePassive("amq.direct", amqp091.ExchangeDirect, true, false, false, false, nil)
				}
				answers <- struct{}{}
			}
		}
		g.setSilent(detector.silent)
	}
}

// setLate records whether the broker confirms messages late.
func (g *generation) setLate(late bool) {
	_, err := g.hinting.Get()
	if late == (err != nil) {
		return
	}
	if late {
		g.hinting.SetDown(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s confirms messages late", g.target))
	} else {
		g.hinting.SetUp(g.hinting.Epoch())
	}
	g.conn.log.Debug("RabbitMQ confirms late: workers poll meanwhile", "at", g.target.String(), "late", late)
	g.conn.notifyChange()
}

// setSilent records whether the broker is silent. If the Conn has other targets, silence ends the generation, so that
// the next one uses another node.
func (g *generation) setSilent(silent bool) {
	if !g.set(&g.silent, silent) {
		return
	}
	g.conn.log.Debug("RabbitMQ doesn't respond: calls fail meanwhile", "at", g.target.String(), "silent", silent)
	if silent && len(g.conn.targets) > 1 {
		g.end(backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s doesn't respond", g.target))
	}
}

// A condition is one of a generation that goroutines can wait for. generation.mu guards it.
type condition struct {
	is  bool
	set chan struct{} // closed while is
}

func newCondition() condition { return condition{set: make(chan struct{})} }

// put reports whether it changes the condition.
func (f *condition) put(is bool) bool {
	if f.is == is {
		return false
	}
	if f.is = is; is {
		close(f.set)
	} else {
		f.set = make(chan struct{})
	}
	return true
}

// set sets one of the conditions blocked and silent, and reports whether that changes it.
func (g *generation) set(f *condition, is bool) bool {
	g.mu.Lock()
	changed := f.put(is)
	g.stalled.put(g.blocked.is || g.silent.is)
	g.mu.Unlock()
	if changed {
		g.conn.notifyChange()
	}
	return changed
}

// isStalled reports whether the broker is silent or blocks publishers.
func (g *generation) isStalled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stalled.is
}

// stalling returns a channel that is closed while the broker is silent or blocks publishers.
func (g *generation) stalling() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stalled.set
}

// silence returns a channel that is closed while the broker is silent.
func (g *generation) silence() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.silent.set
}

// stallError returns the error of operations while the broker is silent or blocks publishers.
func (g *generation) stallError() *backend.Error {
	if g.isBlocked() {
		return backend.Errorf(backend.ErrUnavailable,
			"RabbitMQ at %s is blocking publishers: it is short of memory or disk", g.target)
	}
	return backend.Errorf(backend.ErrUnavailable, "RabbitMQ at %s doesn't respond", g.target)
}

// awaitResponsive waits until the broker isn't stalled any more, or the generation or ctx ends.
func (g *generation) awaitResponsive(ctx context.Context) {
	for {
		g.conn.mu.Lock()
		changed := g.conn.changed
		g.conn.mu.Unlock()
		if !g.isStalled() || g.hasEnded() || ctx.Err() != nil {
			return
		}
		select {
		case <-changed:
		case <-g.lost:
		case <-ctx.Done():
		}
	}
}

// hintError returns the error of an operation for hints that used a context of generation.hinting.
func hintError(ctx context.Context, err *backend.Error) *backend.Error {
	if down := connstate.DownCause(ctx); down != nil {
		late := *down
		return late.With(err.Outcome)
	}
	return err
}
