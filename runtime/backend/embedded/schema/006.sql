-- The batch is committed, but some of its tasks are not part of the set yet: held stays 1 until they are.
ALTER TABLE batch ADD COLUMN entering INTEGER NOT NULL DEFAULT 0;
