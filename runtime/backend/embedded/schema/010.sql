-- Of the last claim: its fence, the claimer's address and its instance, separated by spaces. It is valid if the fence is
-- the task's, because older programs claim without it, and if the task runs or its attempt has ended it: see ended_by.
ALTER TABLE task ADD COLUMN claimer  TEXT;
-- How the task ended: 0 unknown or not by an attempt, 1 by its last attempt, 2 by one that attempts has already.
ALTER TABLE task ADD COLUMN ended_by INTEGER NOT NULL DEFAULT 0;
-- A JSON array of the attempts that have ended without ending the task, oldest first.
ALTER TABLE task ADD COLUMN attempts TEXT;

-- Failed tasks by the code of their error. They are rare, and other tasks have no entry.
CREATE INDEX task_code       ON task (queue, error_code, seq)        WHERE status = 5;
CREATE INDEX task_code_ended ON task (queue, error_code, ended, seq) WHERE status = 5;
