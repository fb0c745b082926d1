-- When progress was set; NULL if a program has set it that does not know this column.
ALTER TABLE task ADD COLUMN progressed INTEGER;
