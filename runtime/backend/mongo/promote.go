package mongo

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Promote implements backend.Store. next takes the next deadline into account, too.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, nil, 0, err
	}
	failed, untilDeadline, err := s.expire(ctx, queue)
	if err != nil {
		return nil, nil, 0, err
	}
	next, err := s.ripen(ctx, queue)
	if err != nil {
		return nil, nil, 0, err
	}
	if untilDeadline > 0 && (next == 0 || untilDeadline < next) {
		next = untilDeadline
	}
	var ids []string
	if max > 0 {
		if ids, err = s.hint(ctx, queue, max); err != nil {
			return nil, nil, 0, err
		}
	}
	return ids, headsOf(failed), next, nil
}

// expire fails what waits past its deadline (row 11), and returns how long it is until the next deadline. What runs may
// end; it comes back here if it doesn't.
func (c *Client) expire(ctx context.Context, queue string) (failed []*document, next time.Duration, err error) {
	now := c.clock.now()
	late, err := c.find(ctx, m{"expires.queue": queue, "expires.at": m{"$lte": now}},
		options.Find().SetSort(d{asc("expires.at")}).SetProjection(m{"status": 1}))
	if err != nil {
		return nil, 0, err
	}
	late = slices.DeleteFunc(late, func(x *document) bool { return x.Status == string(backend.StatusRunning) })
	if len(late) > 0 {
		u := fails(backend.StatusFailed, now, &failure{string(backend.ErrDeadlineExceeded), "its deadline passed before it could run"})
		if failed, err = c.transit(ctx, idsOf(late), m{"status": m{"$in": waits}, "expires.at": m{"$lte": now}}, u); err != nil {
			return nil, 0, err
		}
	}
	soon, err := c.find(ctx, m{"expires.queue": queue, "expires.at": m{"$gt": now}},
		options.Find().SetSort(d{asc("expires.at")}).SetLimit(1).SetProjection(m{"expires": 1}))
	if err == nil && len(soon) > 0 {
		next = time.Duration(soon[0].Expires.At - now)
	}
	return failed, next, err
}

// hint marks the best tasks that are owed a hint (row 8): none was sent since they wait, or the last one is too old.
// Others may be doing the same: at the first try it takes the best, later it draws from ever more than it wants.
func (c *Client) hint(ctx context.Context, queue string, max int) ([]string, error) {
	for n := 1; ; n = wider(n) {
		owed := m{"queue": queue, "place": inLine, "hint_due": m{"$not": m{"$gt": c.clock.now()}}}
		found, err := c.find(ctx, owed, options.Find().SetSort(d{desc("weight"), asc("created"), asc("_id")}).
			SetLimit(int64(max*n)).SetProjection(m{"status": 1, "hints": 1, "weight": 1, "created": 1}))
		if err != nil || len(found) == 0 {
			return nil, err
		}
		if n > 1 {
			rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		}
		hinted, err := c.markHinted(ctx, found[:min(len(found), max)])
		if err != nil || len(hinted) > 0 {
			slices.SortFunc(hinted, bestFirst)
			return idsOf(hinted), err
		}
	}
}

// markHinted marks tasks as hinted, and returns those that nobody else has marked meanwhile. Those that have had as many
// hints, and have the same status, are marked in one update: the first ones of a queue mostly are all of them.
func (c *Client) markHinted(ctx context.Context, found []*document) ([]*document, error) {
	type like struct {
		hints    int
		retrying bool
	}
	alike := map[like][]*document{}
	for _, x := range found {
		k := like{x.Hints, x.Status == string(backend.StatusRetrying)}
		alike[k] = append(alike[k], x)
	}
	mark := newMark()
	var models []driver.WriteModel
	now := c.clock.now()
	for _, k := range slices.SortedFunc(maps.Keys(alike), func(a, b like) int { return cmp.Compare(a.hints, b.hints) }) {
		to := backend.StatusPending
		status := m{"$in": []string{string(backend.StatusWaiting), string(backend.StatusPending)}}
		if k.retrying {
			to, status = backend.StatusRetrying, m{"$in": []string{string(backend.StatusRetrying)}}
		}
		hints := any(k.hints)
		if k.hints == 0 {
			hints = m{"$exists": false}
		}
		models = append(models, driver.NewUpdateManyModel().
			SetFilter(m{"_id": m{"$in": idsOf(alike[k])}, "place": inLine, "status": status, "hints": hints}).
			SetUpdate(m{"$set": m{"status": string(to), "hints": k.hints + 1, "hint_due": now + int64(hintAge(k.hints+1)), "mark": mark}}))
	}
	var r *driver.BulkWriteResult
	err := c.withRoom(ctx, func() []string { return idsOf(found) }, func() (err error) {
		r, err = c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		return err
	})
	switch {
	case err != nil:
		return nil, c.failed(ctx, err, backend.OutcomeUnknown)
	case r.MatchedCount == int64(len(found)):
		return found, nil
	case r.MatchedCount == 0:
		return nil, nil
	}
	return c.find(ctx, m{"_id": m{"$in": idsOf(found)}, "mark": mark}, options.Find().SetProjection(m{"weight": 1, "created": 1}))
}

// hintAge is how old the n-th hint of a task gets before another is owed: 5 s × 2ⁿ, up to a bound.
func hintAge(n int) time.Duration {
	const first, most = 5 * time.Second, 5 * time.Minute
	if n >= 6 {
		return most
	}
	return min(first<<n, most)
}
