-- The batch is committed, and not all of its tasks are part of the set yet: held is 1 until they are.
ALTER TABLE batch ADD COLUMN entering INTEGER NOT NULL DEFAULT 0;
