-- How many failed attempts are followed by another; NULL leaves it to the worker. The details of error_message as JSON.
ALTER TABLE task    ADD COLUMN retries       INTEGER;
ALTER TABLE task    ADD COLUMN error_details TEXT;
-- The submitter's metadata as a JSON object. It is large and never changes, as the payload.
ALTER TABLE payload ADD COLUMN metadata      TEXT;
