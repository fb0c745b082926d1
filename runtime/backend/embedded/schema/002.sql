-- The last lines that a task's handler has logged, with newlines between, and the traceparent with which it was submitted.
ALTER TABLE task ADD COLUMN log   TEXT;
ALTER TABLE task ADD COLUMN trace TEXT NOT NULL DEFAULT '';
-- A JSON array of the addresses and networks whose instances may run it; NULL is any.
ALTER TABLE task ADD COLUMN allow TEXT;
