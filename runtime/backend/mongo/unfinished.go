package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Unfinished implements backend.Store. It reads sources with unfinished sets and uncommitted batches, for which there
// are sparse indexes.
func (s *store) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	ctx, done, err := s.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	ends, err := s.unfinishedBatches(ctx)
	if err != nil {
		return nil, err
	}
	late, err := s.unfinishedDeadlines(ctx, max)
	if err != nil {
		return nil, err
	}
	ends = append(ends, late...)
	claims, err := s.unfinishedClaims(ctx)
	if err != nil {
		return nil, err
	}
	ends = append(ends, claims...)
	sources, err := s.find(ctx, m{"open_set": true},
		options.Find().SetProjection(m{"status": 1, "ended": 1, "quiet": 1, "subtasks": 1}))
	if err != nil {
		return nil, err
	}
	err = chunks(sources, func(part []*document) error {
		some, err := s.unfinishedSets(ctx, part)
		ends = append(ends, some...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return backend.OldestUnfinished(ends, s.clock.now(), age, max), nil
}

// unfinishedBatches returns uncommitted batches, as old as their last insert, and held SubtasksDone tasks as batches
// named doneBatch.
func (c *Client) unfinishedBatches(ctx context.Context) ([]backend.UnfinishedSince, error) {
	type batch struct {
		ID             struct{ Source, Batch string } `bson:"_id"`
		Since, Renewed int64
	}
	by := m{"source": m{"$ifNull": []string{"$kin.source", "$done_of"}}, "batch": m{"$ifNull": []string{"$batch", doneBatch}}}
	batches, err := groupBy[batch](ctx, c, m{"held": m{"$gt": ""}}, by,
		m{"since": m{"$max": "$created"}, "renewed": m{"$max": "$renewed"}})
	ends := make([]backend.UnfinishedSince, len(batches))
	for i, b := range batches {
		ends[i] = backend.UnfinishedSince{Unfinished: backend.Unfinished{What: backend.UnfinishedBatch, Source: b.ID.Source,
			Batch: b.ID.Batch}, Since: max(b.Since, b.Renewed)}
	}
	return ends, err
}

// unfinishedDeadlines returns queues with waiting tasks past their deadline, as old as the first one. If there are very
// many such tasks, some queues may be left to the next call.
func (c *Client) unfinishedDeadlines(ctx context.Context, max int) ([]backend.UnfinishedSince, error) {
	late, err := c.find(ctx, m{"expires.at": m{"$lte": c.clock.now()}, "status": m{"$in": waitingStatuses}},
		options.Find().SetSort(d{asc("expires.at")}).SetLimit(int64(10*max)).SetProjection(m{"expires": 1}))
	var ends []backend.UnfinishedSince
	seen := map[string]bool{}
	for _, x := range late {
		if q := x.Expiry.Queue; !seen[q] {
			seen[q] = true
			ends = append(ends, backend.UnfinishedSince{Unfinished: backend.Unfinished{What: backend.UnfinishedOverdue,
				Queue: q}, Since: x.Expiry.At})
		}
	}
	return ends, err
}

// lateFor is how long after an owner expired unfinishedClaims looks for its late claims. Purge finds later ones.
const lateFor = 2 * lateClaim

// unfinishedClaims returns owners that expired recently, were freed, and have running tasks again: a claim was in
// flight and could not be released.
func (c *Client) unfinishedClaims(ctx context.Context) ([]backend.UnfinishedSince, error) {
	dead, err := findIn[ownerDoc](ctx, c, c.owners, m{"freed": true, "at": m{"$gt": c.clock.now() - int64(lateFor)}})
	if err != nil || len(dead) == 0 {
		return nil, err
	}
	counts := make(map[string]int64, len(dead))
	names := make([]string, len(dead))
	for i, o := range dead {
		counts[o.Name], names[i] = o.Count, o.Name
	}
	var ends []backend.UnfinishedSince
	err = chunks(names, func(part []string) error {
		late, err := c.find(ctx, m{"owner": m{"$in": part}}, options.Find().SetProjection(m{"owner": 1, "started": 1}))
		for _, x := range late {
			if _, ok := counts[x.Owner]; ok {
				ends = append(ends, backend.UnfinishedSince{Unfinished: backend.Unfinished{What: backend.UnfinishedClaims,
					Owner: x.Owner, Count: counts[x.Owner]}, Since: x.Started})
				delete(counts, x.Owner)
			}
		}
		return err
	})
	return ends, err
}

// unfinishedSets returns the unfinished work of sources with open sets.
func (c *Client) unfinishedSets(ctx context.Context, sources []*document) ([]backend.UnfinishedSince, error) {
	ids := idsOf(sources)
	live, unasked, err := c.countLive(ctx, ids)
	if err != nil {
		return nil, err
	}
	shut, err := c.gatedSources(ctx, ids)
	if err != nil {
		return nil, err
	}
	culprits, err := c.failedFast(ctx, ids)
	if err != nil {
		return nil, err
	}
	var ends []backend.UnfinishedSince
	for _, x := range sources {
		since := max(x.Ended, x.FirstCommit)
		add := func(what backend.UnfinishedKind, since int64) {
			ends = append(ends, backend.UnfinishedSince{Unfinished: backend.Unfinished{What: what, Source: x.ID}, Since: since})
		}
		status := backend.Status(x.Status)
		if status == backend.StatusSuccess && shut[x.ID] {
			add(backend.UnfinishedGate, since)
		}
		if status.Final() && live[x.ID] == 0 {
			last, err := c.lastEnd(ctx, x.ID)
			if err != nil {
				return nil, err
			}
			add(backend.UnfinishedSet, max(since, last))
		}
		trouble, found := culprits[x.ID]
		if status == backend.StatusFailed || status == backend.StatusStopped {
			if !found || since < trouble {
				trouble, found = since, true
			}
		}
		if found && unasked[x.ID] > 0 {
			add(backend.UnfinishedSubtasks, trouble)
		}
	}
	return ends, nil
}

// countLive returns the number of live subtasks of each source, and of those without a stop request.
func (c *Client) countLive(ctx context.Context, sources []string) (live, unasked map[string]int, err error) {
	type number struct {
		ID struct {
			Source   string
			Stopping bool
		} `bson:"_id"`
		N int
	}
	numbers, err := groupBy[number](ctx, c, m{"live": m{"$in": sources}}, m{"source": "$live", "stopping": "$stopping"},
		m{"n": m{"$sum": 1}})
	live, unasked = map[string]int{}, map[string]int{}
	for _, n := range numbers {
		live[n.ID.Source] += n.N
		if !n.ID.Stopping {
			unasked[n.ID.Source] += n.N
		}
	}
	return live, unasked, err
}

// gatedSources returns the sources that have gated subtasks.
func (c *Client) gatedSources(ctx context.Context, sources []string) (map[string]bool, error) {
	type source struct {
		ID string `bson:"_id"`
	}
	found, err := groupBy[source](ctx, c, m{"shut": m{"$in": sources}}, "$shut", nil)
	shut := map[string]bool{}
	for _, x := range found {
		shut[x.ID] = true
	}
	return shut, err
}

// failedFast returns, for each source, since when a fail-fast subtask has failed.
func (c *Client) failedFast(ctx context.Context, sources []string) (map[string]int64, error) {
	failed, err := c.find(ctx, m{"fast": m{"$in": sources}, "status": string(backend.StatusFailed),
		"held": m{"$exists": false}},
		options.Find().SetProjection(m{"fast": 1, "ended": 1, "committed": 1}))
	since := map[string]int64{}
	for _, x := range failed {
		at := max(x.Ended, x.Committed)
		if first, found := since[x.FailFast]; !found || at < first {
			since[x.FailFast] = at
		}
	}
	return since, err
}

// lastEnd returns when the last subtask of a source ended, or was added to the source's set after its end.
func (c *Client) lastEnd(ctx context.Context, source string) (int64, error) {
	type last struct{ Ended, Committed int64 }
	groups, err := groupBy[last](ctx, c, m{"kin.source": source, "held": m{"$exists": false}}, "$kin.source",
		m{"ended": m{"$max": "$ended"}, "committed": m{"$max": "$committed"}})
	if err != nil || len(groups) == 0 {
		return 0, err
	}
	return max(groups[0].Ended, groups[0].Committed), nil
}
