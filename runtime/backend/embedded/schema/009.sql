-- Lists. A successful task that is a tree by itself is found by task_closed, and costs one entry in task_current: made
-- when it is inserted, and deleted when it ends.
CREATE INDEX task_current      ON task (queue, seq)                WHERE ended = 0;
CREATE INDEX task_apart        ON task (queue, ended, seq)         WHERE ended > 0 AND closed IS NOT ended;
CREATE INDEX task_failed       ON task (queue, status, seq)        WHERE status > 4;
CREATE INDEX task_failed_ended ON task (queue, status, ended, seq) WHERE status > 4;

DROP INDEX task_trouble;
