-- The owner has begun to shut down: what it still runs when it is declared dead is not charged.
ALTER TABLE owner ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
