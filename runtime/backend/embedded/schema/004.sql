-- The task that retries a finished one, and since when the payload has not decoded at workers of other versions.
ALTER TABLE task ADD COLUMN retried_by  TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN wrong_since INTEGER;

CREATE INDEX task_unfit ON task (queue, fingerprint) WHERE wrong_since IS NOT NULL AND place = 2;
