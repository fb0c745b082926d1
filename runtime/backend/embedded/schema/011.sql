-- Lists of a queue's successful tasks by creation. They may be few among many others, or all older than these, so walking
-- other tasks to find them is not bounded.
CREATE INDEX task_done ON task (queue, seq) WHERE status = 4;
