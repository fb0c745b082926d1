-- Of raw messages: how often each was delivered to its queue, when a delivery first failed, its metadata and trace as
-- JSON, and for a dead letter its backend.DeadLetter as JSON.
ALTER TABLE raw ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE raw ADD COLUMN failed   INTEGER;
ALTER TABLE raw ADD COLUMN extra    TEXT;
ALTER TABLE raw ADD COLUMN dead     TEXT;
