-- The last log lines of a task's handler, separated by newlines, and the traceparent of its submission.
ALTER TABLE task ADD COLUMN log   TEXT;
ALTER TABLE task ADD COLUMN trace TEXT NOT NULL DEFAULT '';
-- A JSON array of the addresses and networks whose instances may run the task; NULL means any.
ALTER TABLE task ADD COLUMN allow TEXT;
