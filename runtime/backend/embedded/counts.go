package embedded

import (
	"context"
	"database/sql"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Queues implements backend.Store. The counts are exact.
func (s *store) Queues(ctx context.Context) (all []backend.QueueCounts, err error) {
	now := instant.Of(s.db.now())
	err = s.db.readSnapshot(ctx, func(v *snapshot) error {
		all = []backend.QueueCounts{}
		counts, err := tallies(v, "")
		if err != nil {
			return err
		}
		for _, c := range counts {
			q := backend.QueueCounts{Queue: c.queue, Counts: map[backend.Status]backend.Count{}}
			waits := 0
			for status, n := range c.n {
				if n > 0 {
					q.Counts[statuses[status]] = backend.Count{N: n}
				}
				if status < number(backend.StatusSuccess) && statuses[status] != backend.StatusRunning {
					waits += n
				}
			}
			if waits > 0 {
				due, err := v.oldestDue(c.queue, now)
				if err != nil {
					return err
				}
				q.Oldest = instant.Time(due)
			}
			all = append(all, q)
		}
		return nil
	})
	return all, err
}

// firstReady selects the first task of each weight of a queue ?1 that is due at ?2. It reads one entry of task_ready for
// each weight, and the due tasks that no claim or promotion has made ready yet, up to MaxTotal of them.
const firstReady = `
WITH RECURSIVE weights (weight) AS (
	SELECT max(weight) FROM task WHERE queue = ?1 AND place = 1
	UNION ALL
	SELECT (SELECT max(task.weight) FROM task WHERE queue = ?1 AND place = 1 AND task.weight < weights.weight)
		FROM weights WHERE weight IS NOT NULL
), late AS (
	SELECT weight, seq, due, deadline FROM task WHERE queue = ?1 AND place = 2 AND due <= ?2 ORDER BY due LIMIT ?3
)
SELECT weight, seq, due FROM task WHERE seq IN (
	SELECT (SELECT seq FROM task WHERE queue = ?1 AND place = 1 AND task.weight = weights.weight
		AND (deadline IS NULL OR deadline > ?2) ORDER BY seq LIMIT 1) FROM weights WHERE weight IS NOT NULL)
UNION ALL
SELECT weight, min(seq), due FROM late WHERE deadline IS NULL OR deadline > ?2 GROUP BY weight`

// oldestDue returns when the task has become due that has been due for longest, of the first ready tasks of each weight,
// or 0 if no task is ready.
func (v *snapshot) oldestDue(queue string, now int64) (oldest int64, err error) {
	type ready struct {
		weight   int
		seq, due int64
	}
	found, err := readFrom(v, func(rows *sql.Rows) (r ready, err error) {
		err = rows.Scan(&r.weight, &r.seq, &r.due)
		return r, err
	}, firstReady, queue, now, backend.MaxTotal)
	if err != nil {
		return 0, err
	}
	first := map[int]ready{} // by weight
	for _, r := range found {
		if f, ok := first[r.weight]; !ok || r.seq < f.seq {
			first[r.weight] = r
		}
	}
	for _, r := range first {
		if oldest == 0 || r.due < oldest {
			oldest = r.due
		}
	}
	return oldest, nil
}

// Ahead implements backend.Store.
func (s *store) Ahead(ctx context.Context, id string) (count backend.Count, err error) {
	now := instant.Of(s.db.now())
	err = s.db.readSnapshot(ctx, func(v *snapshot) error {
		type place struct {
			queue  string
			weight int
			seq    int64
		}
		found, err := readFrom(v, func(rows *sql.Rows) (p place, err error) {
			err = rows.Scan(&p.queue, &p.weight, &p.seq)
			return p, err
		}, "SELECT queue, weight, seq FROM task WHERE id = ?", id)
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return noTask(id)
		}
		p := found[0]
		n, err := readFrom(v, scanOne[int], `SELECT count(*) FROM (
			SELECT 1 FROM (SELECT deadline FROM task WHERE queue = ?1 AND place = 1 AND weight > ?2
				UNION ALL SELECT deadline FROM task WHERE queue = ?1 AND place = 1 AND weight = ?2 AND seq < ?3
				UNION ALL SELECT deadline FROM task WHERE queue = ?1 AND place = 2 AND due <= ?4
					AND (weight > ?2 OR weight = ?2 AND seq < ?3))
			WHERE deadline IS NULL OR deadline > ?4 LIMIT ?5)`, p.queue, p.weight, p.seq, now, backend.MaxTotal+1)
		if err != nil {
			return err
		}
		count.N, count.AtLeast = backend.BoundedTotal(n[0])
		return nil
	})
	return count, err
}
