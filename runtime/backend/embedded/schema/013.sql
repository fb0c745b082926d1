-- The traceparent of the attempt that has ended the task, if ended_by is 1; NULL if it has none. Those of other attempts
-- are in attempts.
ALTER TABLE task ADD COLUMN ended_trace TEXT;
