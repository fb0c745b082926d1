-- The limit of crashes set by the last claim; a backend.Suspect as JSON; whether the task is suspected now.
ALTER TABLE task  ADD COLUMN max_crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task  ADD COLUMN suspect     TEXT;
ALTER TABLE task  ADD COLUMN suspected   INTEGER NOT NULL DEFAULT 0;
-- When the owner's count last rose; 0 if unknown.
ALTER TABLE owner ADD COLUMN heard       INTEGER NOT NULL DEFAULT 0;

CREATE INDEX task_suspects ON task (queue, weight DESC, seq) WHERE place = 1 AND suspected = 1;
CREATE INDEX task_refund   ON task (seq)                     WHERE suspect IS NOT NULL AND status < 4;
