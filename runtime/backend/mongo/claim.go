package mongo

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Claim implements backend.Store.
//
// A claim of at most Max IDs, as for hints, is one update and one read of the claimed tasks, or one command if it has
// one ID. It needs one more read if it could not claim all of them and may claim a suspect. Repeated with the same
// nonce, it may claim IDs that it could not claim before. It doesn't compute next; Promote does.
//
// Unless OwnerChecked is set, the owner is checked before the claim. It may expire during the claim, and then no
// process would free the claimed tasks. So it is checked again afterwards, and an expired owner's claim is released. If
// the process dies before that, Purge releases the tasks.
func (s *store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, 0, err
	}
	if !c.OwnerChecked {
		known, err := s.checkOwner(ctx, c.Owner)
		if err == nil && !known {
			err = s.beat(ctx, c.Owner, 0)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	var next time.Duration
	var found []*document
	ids := slices.Compact(slices.Sorted(slices.Values(c.IDs)))
	if len(ids) > 0 && len(ids) <= c.Max {
		_, found, err = s.claimTasks(ctx, c, ids, nil)
		if err == nil && len(found) < len(ids) {
			found, err = s.claimSuspect(ctx, c, ids, found)
		}
	} else {
		if len(ids) == 0 {
			if err = s.wakeMatching(ctx, c); err != nil {
				return nil, 0, err
			}
			if next, err = s.promoteDue(ctx, c.Queue); err != nil {
				return nil, 0, err
			}
		}
		found, err = s.claimBest(ctx, c, ids)
	}
	if err == nil && len(found) > 0 && !c.OwnerChecked {
		err = s.releaseIfExpired(ctx, c)
	}
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(found, bestFirst)
	return tasksOf(found), next, nil
}

func bestFirst(a, b *document) int {
	return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
}

// claimable returns the filter for claimable tasks (row 2): waiting in the queue with an open gate, before the
// deadline, allowed for the claimer, and due. A task in state ready is due whatever this client's clock shows, which
// may be a millisecond behind another client's.
func claimable(c backend.Claim, now int64) m {
	may := make([]any, 1, 1+len(c.Networks)) // nil matches tasks without the field
	for _, n := range c.Networks {
		may = append(may, n)
	}
	filter := m{
		"queue": c.Queue, "allow": m{"$in": may}, "status": m{"$in": waitingStatuses}, "place": m{"$gt": 0},
		"expires.at": m{"$not": m{"$lte": now}}, "wake": m{"$not": m{"$gt": now}},
	}
	if len(c.Skip) > 0 {
		others := make([]m, len(c.Skip))
		for i, v := range c.Skip {
			theirs := make([]any, 1, 1+len(v.Networks))
			for _, n := range v.Networks {
				theirs = append(theirs, n)
			}
			others[i] = m{"fingerprint": v.Fingerprint, "allow": m{"$in": theirs}}
		}
		filter["$nor"] = others
	}
	return filter
}

// wakeMatching makes delayed tasks that wait for a claimer with this fingerprint due now.
func (c *Client) wakeMatching(ctx context.Context, claim backend.Claim) error {
	if claim.Fingerprint == "" {
		return nil
	}
	now := c.clock.now()
	matching := m{"unfit": uniqueKeyOf(claim.Queue, claim.Fingerprint), "place": delayed, "due": m{"$gt": now}}
	return c.updateChunks(ctx, matching, m{"$set": m{"place": ready, "due": now}, "$unset": m{"wake": ""}})
}

// isSuspected is a field that only suspected tasks have.
const isSuspected = "suspect.suspected"

// claimTasks claims the claimable ones of the tasks; of suspected tasks, only those in suspects. It returns how many it
// claimed and all tasks that the claim now has.
func (c *Client) claimTasks(
	ctx context.Context, claim backend.Claim, ids, suspects []string,
) (int64, []*document, error) {
	now := c.clock.now()
	u := change{
		set: m{
			"status": string(backend.StatusRunning), "owner": claim.Owner, "nonce": claim.Nonce, "started": now,
			"claimer":     claimer{At: now, Instance: claim.Instance, IP: claim.IP},
			"fan_in":      claim.FanIn,
			"max_crashes": claim.MaxCrashes,
		},
		inc: m{"fence": int64(1), "attempt": 1}, unset: []string{"place", "wake", "hints", "hint_due", "settled"},
	}
	filter := claimable(claim, now)
	filter["_id"] = m{"$in": ids}
	if len(suspects) == 0 {
		filter[isSuspected] = nil
	} else {
		filter["$or"] = []m{{isSuspected: nil}, {"_id": m{"$in": suspects}}}
	}
	if len(ids) == 1 && len(suspects) == 0 { // the claim has no other tasks yet
		filter["_id"] = ids[0]
		x, took := new(document), false
		err := c.withinSizeLimit(ctx, func() []string { return ids }, func() (err error) {
			took, err = c.tasks.findAndUpdate(ctx, filter, u.update(), x)
			return err
		})
		if err != nil {
			return 0, nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
		}
		if took {
			return 1, []*document{x}, nil
		}
		found, err := c.claimedTasks(ctx, claim) // in case the reply to an earlier try was lost
		return int64(len(found)), found, err
	}
	var matched int64
	err := c.withinSizeLimit(ctx, func() []string { return ids }, func() error {
		r, err := c.tasks.UpdateMany(ctx, filter, u.update(), hintByID)
		if err == nil {
			matched = r.MatchedCount
		}
		return err
	})
	if err != nil {
		return 0, nil, c.wrapError(ctx, err, backend.OutcomeUnknown)
	}
	found, err := c.claimedTasks(ctx, claim)
	return max(matched, int64(len(found))), found, err
}

// claimSuspect adds the best suspect of the named tasks to a claim, if the claim may have one and has none yet.
func (c *Client) claimSuspect(
	ctx context.Context, claim backend.Claim, ids []string, found []*document,
) ([]*document, error) {
	if claim.Suspects <= len(suspectsOf(found)) {
		return found, nil
	}
	filter := claimable(claim, c.clock.now())
	filter["_id"], filter[isSuspected] = m{"$in": ids}, true
	best, err := c.findBest(ctx, filter, 1)
	if err != nil || len(best) == 0 {
		return found, err
	}
	_, found, err = c.claimTasks(ctx, claim, idsOf(best), idsOf(best))
	return found, err
}

// suspectsOf returns the IDs of suspected tasks.
func suspectsOf(found []*document) (ids []string) {
	for _, x := range found {
		if x.Suspect != nil && x.Suspect.Suspected {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// claimedTasks returns the running tasks of a claim.
func (c *Client) claimedTasks(ctx context.Context, claim backend.Claim) ([]*document, error) {
	return c.find(ctx, m{"owner": claim.Owner, "nonce": claim.Nonce})
}

// claimBest claims the best claimable tasks, of the named ones or of all. Others may compete for them. The first try
// takes the best ones; later tries choose randomly among more and more candidates, so that contending claimers make
// progress.
func (c *Client) claimBest(ctx context.Context, claim backend.Claim, ids []string) ([]*document, error) {
	found, err := c.claimedTasks(ctx, claim)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 { // by an earlier try, whose write may have had no majority
		if err := c.awaitMajority(ctx); err != nil {
			return nil, err
		}
		return c.find(ctx, m{"_id": m{"$in": idsOf(found)}, "owner": claim.Owner, "nonce": claim.Nonce})
	}
	for n := 1; claim.Max > 0; n = widen(n) {
		filter := claimable(claim, c.clock.now())
		if len(ids) > 0 {
			filter["_id"] = m{"$in": ids}
		} else {
			filter["place"] = ready // promoteDue has just run
		}
		if claim.Suspects <= 0 {
			filter[isSuspected] = nil
		}
		limit := claim.Max * n
		free, err := c.findBest(ctx, filter, limit)
		suspects := suspectsOf(free)
		if err == nil && len(suspects) > max(claim.Suspects, 0) { // leave out surplus suspects
			suspects = suspects[:claim.Suspects]
			filter[isSuspected] = nil
			var others []*document
			others, err = c.findBest(ctx, filter, limit)
			free = slices.DeleteFunc(free, func(x *document) bool { return !slices.Contains(suspects, x.ID) })
			free = append(free, others...)
			slices.SortFunc(free, bestFirst)
			free = free[:min(len(free), limit)]
		}
		if err != nil || len(free) == 0 {
			return nil, err
		}
		if n > 1 {
			rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		}
		took, found, err := c.claimTasks(ctx, claim, idsOf(free[:min(len(free), claim.Max)]), suspects)
		if err != nil || took > 0 {
			return found, err
		}
	}
	return nil, nil
}

// findBest returns the best matching tasks, with the fields needed to choose.
func (c *Client) findBest(ctx context.Context, filter m, limit int) ([]*document, error) {
	return c.find(ctx, filter, options.Find().SetSort(d{desc("weight"), asc("created"), asc("_id")}).
		SetLimit(int64(limit)).
		SetProjection(m{"weight": 1, "created": 1, "suspect": 1}))
}

// widen returns the next factor by which the candidates exceed the wanted number.
func widen(n int) int { return min(4*n, 64) }

// releaseIfExpired releases the tasks of a claim whose owner expired meanwhile.
func (c *Client) releaseIfExpired(ctx context.Context, claim backend.Claim) error {
	_, err := c.checkOwner(ctx, claim.Owner)
	if backend.CodeOf(err) != backend.ErrAborted {
		return err
	}
	mine := m{"owner": claim.Owner, "nonce": claim.Nonce, "status": string(backend.StatusRunning)}
	again := requeueChange(backend.StatusWaiting)
	again.inc["attempt"] = -1
	mine["stopping"] = m{"$ne": true}
	if _, e := c.tasks.UpdateMany(ctx, mine, again.update()); e != nil {
		return c.wrapError(ctx, e, backend.OutcomeUnknown)
	}
	mine["stopping"] = true
	if _, e := c.tasks.UpdateMany(ctx, mine, stopChange(c.clock.now()).update()); e != nil {
		return c.wrapError(ctx, e, backend.OutcomeUnknown)
	}
	return err
}

// promoteDue makes due tasks of a queue ready. It returns the time until the next one is due, or 0 if unknown.
func (c *Client) promoteDue(ctx context.Context, queue string) (time.Duration, error) {
	for {
		first, err := c.find(ctx, m{"queue": queue, "place": delayed, "wake": m{"$gt": 0}},
			options.Find().SetSort(d{asc("due")}).SetLimit(1).SetProjection(m{"due": 1}))
		now := c.clock.now()
		switch {
		case err != nil:
			return 0, err
		case len(first) == 0:
			return 0, nil
		case first[0].Due > now:
			return time.Duration(first[0].Due - now), nil
		}
		due := m{"queue": queue, "place": delayed, "wake": m{"$gt": 0}, "due": m{"$lte": now}}
		if err := c.updateChunks(ctx, due, m{"$set": m{"place": ready}, "$unset": m{"wake": ""}}); err != nil {
			return 0, err
		}
	}
}
