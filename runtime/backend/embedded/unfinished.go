package embedded

import (
	"context"
	"database/sql"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// unfinishedQuery selects work that is unfinished for at least an age ?2, with the instant since when it is: of
// unfinished sets, of uncommitted batches, and of queues with tasks that have a deadline. It reads no other rows.
const unfinishedQuery = `
WITH RECURSIVE queues (name) AS (
	SELECT min(queue) FROM task WHERE deadline IS NOT NULL AND status < 4
	UNION ALL
	SELECT (SELECT min(queue) FROM task WHERE queue > name AND deadline IS NOT NULL AND status < 4) FROM queues
		WHERE name IS NOT NULL
), sets AS (
	SELECT family.source, family.root, family.changed, task.status, task.ended,
		EXISTS (SELECT 1 FROM task AS kid WHERE kid.root = family.root AND kid.source = family.source
			AND kid.root IS NOT NULL AND kid.status < 4) AS live,
		EXISTS (SELECT 1 FROM task AS kid WHERE kid.root = family.root AND kid.source = family.source
			AND kid.root IS NOT NULL AND kid.status < 4 AND NOT kid.stopping) AS unstopped,
		(SELECT min(kid.ended) FROM task AS kid WHERE kid.source = family.source
			AND kid.on_failure = 'fail' AND kid.status = 5 AND kid.root IS NOT NULL) AS culprit
	FROM family JOIN task ON task.id = family.source WHERE family.finished = 0
), ends AS (
	SELECT 'batch' AS what, source, name, '' AS queue, since FROM batch WHERE held = 1
	UNION ALL
	SELECT 'gate', source, '', '', ended FROM sets WHERE status = 4 AND EXISTS (
		SELECT 1 FROM task AS kid WHERE kid.source = sets.source AND kid.gate = 1 AND kid.gate > 0)
	UNION ALL
	SELECT 'set', source, '', '', max(ended, changed, ifnull(
		(SELECT max(kid.ended) FROM task AS kid WHERE kid.source = sets.source AND kid.source IS NOT NULL), 0))
	FROM sets WHERE status >= 4 AND NOT live
		AND NOT EXISTS (SELECT 1 FROM batch WHERE batch.source = sets.source AND held = 1 AND entering)
	UNION ALL
	SELECT 'family', source, '', '', CASE WHEN status > 4 THEN min(ended, ifnull(culprit, ended)) ELSE culprit END
	FROM sets WHERE unstopped AND (status > 4 OR culprit IS NOT NULL)
	UNION ALL
	SELECT 'late', '', '', name, since FROM (SELECT name, (SELECT min(deadline) FROM task
		WHERE queue = name AND deadline <= ?1 AND deadline IS NOT NULL AND status < 4 AND status <> 2) AS since
		FROM queues WHERE name IS NOT NULL)
	WHERE since IS NOT NULL
)
SELECT what, source, name, queue, since FROM ends WHERE ?1 - since >= ?2`

// Unfinished implements backend.Store.
func (s *store) Unfinished(ctx context.Context, age time.Duration, max int) ([]backend.Unfinished, error) {
	now := instant.Of(s.db.now())
	work, err := readAll(ctx, s.db, func(rows *sql.Rows) (u backend.UnfinishedSince, err error) {
		err = rows.Scan((*string)(&u.What), &u.Source, &u.Batch, &u.Queue, &u.Since)
		return u, err
	}, unfinishedQuery, now, int64(age))
	if err != nil {
		return nil, err
	}
	return backend.OldestUnfinished(work, now, age, max), nil
}
