package mongo

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Claim implements backend.Store.
//
// Where it names no more ids than it may take, which is how hints are followed, it is one update and one read of what that
// took, between two looks at the owner, and one read more where it could not take all of them and may take a suspect; repeated with its nonce, it may take of the same ids what it could not before.
// next is not looked for then: Promote says it.
//
// An owner may be convicted while its claim is under way, and then nobody would free what it took: so there is a look at
// the owner afterwards, too, and what a convicted one has taken is given back. What even that leaves, for want of a process
// that does it, Purge finds.
func (s *store) Claim(ctx context.Context, c backend.Claim) ([]backend.Task, time.Duration, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, 0, err
	}
	if !c.OwnerChecked {
		known, err := s.isOwner(ctx, c.Owner)
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
		_, found, err = s.take(ctx, c, ids, nil)
		if err == nil && len(found) < len(ids) {
			found, err = s.takeSuspect(ctx, c, ids, found)
		}
	} else {
		if len(ids) == 0 {
			if err = s.fit(ctx, c); err != nil {
				return nil, 0, err
			}
			if next, err = s.ripen(ctx, c.Queue); err != nil {
				return nil, 0, err
			}
		}
		found, err = s.takeBest(ctx, c, ids)
	}
	if err == nil && len(found) > 0 && !c.OwnerChecked {
		err = s.stillOwner(ctx, c)
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

// claimable is what makes a task claimable (row 2): it waits in the queue, its gate is open, its deadline has not passed,
// the claimer may run it, and it is due. One in the line is due whatever this client's clock says, which may be a millisecond
// behind another's.
func claimable(c backend.Claim, now int64) m {
	may := make([]any, 1, 1+len(c.Networks)) // nil: those without the field
	for _, n := range c.Networks {
		may = append(may, n)
	}
	filter := m{
		"queue": c.Queue, "allow": m{"$in": may}, "status": m{"$in": waits}, "place": m{"$gt": 0},
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

// fit makes due now what waits for a claimer of this fingerprint and is not due yet.
func (c *Client) fit(ctx context.Context, claim backend.Claim) error {
	if claim.Fingerprint == "" {
		return nil
	}
	now := c.clock.now()
	_, err := c.tasks.UpdateMany(ctx, m{"unfit": keyOf(claim.Queue, claim.Fingerprint), "place": delayed, "due": m{"$gt": now}},
		m{"$set": m{"place": inLine, "due": now}, "$unset": m{"wake": ""}})
	if err != nil {
		return c.failed(ctx, err, backend.OutcomeUnknown)
	}
	return nil
}

// isSuspected is the field that only tasks have that are suspected.
const isSuspected = "suspect.suspected"

// take takes those of the tasks that can be claimed, of the suspected ones only those named, and returns how many that were
// and all that the claim has now.
func (c *Client) take(ctx context.Context, claim backend.Claim, ids, suspects []string) (int64, []*document, error) {
	now := c.clock.now()
	u := change{
		set: m{
			"status": string(backend.StatusRunning), "owner": claim.Owner, "nonce": claim.Nonce, "started": now, "fan_in": claim.FanIn,
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
	if len(ids) == 1 && len(suspects) == 0 { // the claim has nothing else yet
		x := new(document)
		err := c.withRoom(ctx, func() []string { return ids }, func() error {
			filter["_id"] = ids[0]
			return c.tasks.FindOneAndUpdate(ctx, filter, u.update(), options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(x)
		})
		if err == nil {
			return 1, []*document{x}, nil
		}
		if !errors.Is(err, driver.ErrNoDocuments) {
			return 0, nil, c.failed(ctx, err, backend.OutcomeUnknown)
		}
		found, err := c.taken(ctx, claim) // by an earlier try whose reply was lost
		return int64(len(found)), found, err
	}
	var matched int64
	err := c.withRoom(ctx, func() []string { return ids }, func() error {
		r, err := c.tasks.UpdateMany(ctx, filter, u.update(), lookByID)
		if err == nil {
			matched = r.MatchedCount
		}
		return err
	})
	if err != nil {
		return 0, nil, c.failed(ctx, err, backend.OutcomeUnknown)
	}
	found, err := c.taken(ctx, claim)
	return max(matched, int64(len(found))), found, err
}

// takeSuspect adds to what a claim has found the best suspect of the named tasks, if it may take one and has none yet.
func (c *Client) takeSuspect(ctx context.Context, claim backend.Claim, ids []string, found []*document) ([]*document, error) {
	if claim.Suspects <= len(suspectsOf(found)) {
		return found, nil
	}
	filter := claimable(claim, c.clock.now())
	filter["_id"], filter[isSuspected] = m{"$in": ids}, true
	best, err := c.bestOf(ctx, filter, 1)
	if err != nil || len(best) == 0 {
		return found, err
	}
	_, found, err = c.take(ctx, claim, idsOf(best), idsOf(best))
	return found, err
}

// suspectsOf returns the ids of those that are suspected.
func suspectsOf(found []*document) (ids []string) {
	for _, x := range found {
		if x.Suspect != nil && x.Suspect.Suspected {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// taken returns what a claim took and still runs.
func (c *Client) taken(ctx context.Context, claim backend.Claim) ([]*document, error) {
	return c.find(ctx, m{"owner": claim.Owner, "nonce": claim.Nonce})
}

// takeBest takes the best of the tasks that can be claimed, of the named ones or of all. Others may be taking them, too:
// at the first try it takes the best, and where others were faster it draws from ever more than it wants, so that somebody
// gets something at each try.
func (c *Client) takeBest(ctx context.Context, claim backend.Claim, ids []string) ([]*document, error) {
	found, err := c.taken(ctx, claim)
	if err != nil || len(found) > 0 {
		return found, err
	}
	for n := 1; claim.Max > 0; n = wider(n) {
		filter := claimable(claim, c.clock.now())
		if len(ids) > 0 {
			filter["_id"] = m{"$in": ids}
		} else {
			filter["place"] = inLine // ripen was called just now
		}
		if claim.Suspects <= 0 {
			filter[isSuspected] = nil
		}
		limit := claim.Max * n
		free, err := c.bestOf(ctx, filter, limit)
		suspects := suspectsOf(free)
		if err == nil && len(suspects) > max(claim.Suspects, 0) { // the others are not to be in the way
			suspects = suspects[:claim.Suspects]
			filter[isSuspected] = nil
			var others []*document
			others, err = c.bestOf(ctx, filter, limit)
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
		took, found, err := c.take(ctx, claim, idsOf(free[:min(len(free), claim.Max)]), suspects)
		if err != nil || took > 0 {
			return found, err
		}
	}
	return nil, nil
}

// bestOf returns what is needed to choose from the best of the tasks that match.
func (c *Client) bestOf(ctx context.Context, filter m, limit int) ([]*document, error) {
	return c.find(ctx, filter, options.Find().SetSort(d{desc("weight"), asc("created"), asc("_id")}).SetLimit(int64(limit)).
		SetProjection(m{"weight": 1, "created": 1, "suspect": 1}))
}

// wider is from how many times as many as are wanted is drawn next.
func wider(n int) int { return min(4*n, 64) }

// stillOwner gives back what an owner has just taken that was convicted meanwhile.
func (c *Client) stillOwner(ctx context.Context, claim backend.Claim) error {
	_, err := c.isOwner(ctx, claim.Owner)
	if backend.CodeOf(err) != backend.ErrAborted {
		return err
	}
	mine := m{"owner": claim.Owner, "nonce": claim.Nonce, "status": string(backend.StatusRunning)}
	again := waitsAgain(backend.StatusWaiting)
	again.inc["attempt"] = -1
	mine["stopping"] = m{"$ne": true}
	if _, e := c.tasks.UpdateMany(ctx, mine, again.update()); e != nil {
		return c.failed(ctx, e, backend.OutcomeUnknown)
	}
	mine["stopping"] = true
	if _, e := c.tasks.UpdateMany(ctx, mine, stops(c.clock.now()).update()); e != nil {
		return c.failed(ctx, e, backend.OutcomeUnknown)
	}
	return err
}

// ripen puts into the line of a queue what has become due, and returns how long it is until more does; 0 where nothing is
// known.
func (c *Client) ripen(ctx context.Context, queue string) (time.Duration, error) {
	for {
		first, err := c.find(ctx, m{"queue": queue, "place": delayed},
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
		_, err = c.tasks.UpdateMany(ctx, m{"queue": queue, "place": delayed, "due": m{"$lte": now}},
			m{"$set": m{"place": inLine}, "$unset": m{"wake": ""}})
		if err != nil {
			return 0, c.failed(ctx, err, backend.OutcomeUnknown)
		}
	}
}
