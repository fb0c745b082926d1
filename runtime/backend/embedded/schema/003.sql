-- The owner is shutting down: if it is declared dead, its tasks are not charged.
ALTER TABLE owner ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
