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
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Promote implements backend.Store. next also covers the next deadline.
func (s *store) Promote(ctx context.Context, queue string, max int) ([]string, []backend.Task, time.Duration, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, nil, 0, err
	}
	failed, untilDeadline, err := s.failExpired(ctx, queue)
	if err != nil {
		return nil, nil, 0, err
	}
	next, err := s.promoteDue(ctx, queue)
	if err != nil {
		return nil, nil, 0, err
	}
	if untilDeadline > 0 && (next == 0 || untilDeadline < next) {
		next = untilDeadline
	}
	var ids []string
	if max > 0 {
		if ids, err = s.pickHints(ctx, queue, max); err != nil {
			return nil, nil, 0, err
		}
	}
	return ids, headsOf(failed), next, nil
}

// promotableMost is how many tasks Promotable reads. With more, it returns all queues.
const promotableMost = 100

// Promotable implements backend.Store.
func (s *store) Promotable(ctx context.Context, queues []string, within time.Duration) ([]string, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	now := s.clock.now()
	until, in := instant.Add(now, within), m{"$in": queues}
	found, err := s.find(ctx, m{"$or": []m{
		{"queue": in, "place": ready, "hint_due": m{"$not": m{"$gt": now}}},
		{"queue": in, "place": delayed, "wake": m{"$gt": 0}, "due": m{"$lte": until}},
		{"expires.queue": in, "expires.at": m{"$lte": until}, "status": m{"$in": waitingStatuses}},
	}}, options.Find().SetLimit(promotableMost).SetProjection(m{"queue": 1}))
	if err != nil || len(found) == promotableMost {
		return queues, err
	}
	names := make([]string, len(found))
	for i, x := range found {
		names[i] = x.Queue
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// failExpired fails waiting tasks past their deadline (row 11), and returns the time until the next deadline. Running
// tasks may finish; otherwise they get here later.
func (c *Client) failExpired(ctx context.Context, queue string) (failed []*document, next time.Duration, err error) {
	now := c.clock.now()
	late, err := c.find(ctx, m{"expires.queue": queue, "expires.at": m{"$lte": now}},
		options.Find().SetSort(d{asc("expires.at")}).SetProjection(m{"status": 1}))
	if err != nil {
		return nil, 0, err
	}
	late = slices.DeleteFunc(late, func(x *document) bool { return x.Status == string(backend.StatusRunning) })
	if len(late) > 0 {
		u := failChange(backend.StatusFailed, now,
			&failure{Code: string(backend.ErrDeadlineExceeded), Message: "its deadline passed before it could run"})
		u.unset = append(u.unset, "claimer") // of an older program, which does not remove it
		if failed, err = c.transition(ctx, idsOf(late), m{"status": m{"$in": waitingStatuses}, "expires.at": m{"$lte": now}},
			u); err != nil {
			return nil, 0, err
		}
	}
	soon, err := c.find(ctx, m{"expires.queue": queue, "expires.at": m{"$gt": now}},
		options.Find().SetSort(d{asc("expires.at")}).SetLimit(1).SetProjection(m{"expires": 1}))
	if err == nil && len(soon) > 0 {
		next = time.Duration(soon[0].Expiry.At - now)
	}
	return failed, next, err
}

// pickHints marks the best tasks for which a hint is due (row 8): none was sent since they became ready, or the last
// one is too old. Others may do the same. The first try takes the best ones; later tries choose randomly among more and
// more candidates.
func (c *Client) pickHints(ctx context.Context, queue string, max int) ([]string, error) {
	for n := 1; ; n = widen(n) {
		owed := m{"queue": queue, "place": ready, "hint_due": m{"$not": m{"$gt": c.clock.now()}}}
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

// markHinted marks tasks as hinted and returns those that no other process has marked meanwhile. Tasks with the same
// number of hints and the same status are marked by one update; usually that is all of them.
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
			SetFilter(m{"_id": m{"$in": idsOf(alike[k])}, "place": ready, "status": status, "hints": hints}).
			SetUpdate(m{"$set": m{"status": string(to), "hints": k.hints + 1, "hint_due": now + int64(hintInterval(k.hints+1)),
				"mark": mark}}))
	}
	var r *driver.BulkWriteResult
	err := c.withinSizeLimit(ctx, func() []string { return idsOf(found) }, func() (err error) {
		r, err = c.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		return err
	})
	switch {
	case err != nil:
		return nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	case r.MatchedCount == int64(len(found)):
		return found, nil
	case r.MatchedCount == 0:
		return nil, nil
	}
	return c.find(ctx, m{"_id": m{"$in": idsOf(found)}, "mark": mark}, options.Find().
		SetProjection(m{"weight": 1, "created": 1}))
}

// hintInterval returns the time from the n-th hint of a task to the next one: 5 s × 2ⁿ, up to a limit.
func hintInterval(n int) time.Duration {
	const first, most = 5 * time.Second, 5 * time.Minute
	if n >= 6 {
		return most
	}
	return min(first<<n, most)
}
