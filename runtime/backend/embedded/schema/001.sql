-- Instants are nanoseconds since 1970 by the machine's clock. Statuses are numbers: 0 waiting, 1 pending, 2 running,
-- 3 retrying, 4 success, 5 failed, 6 stopped; those from 4 on are final.

-- One row is one task, the only truth about it. The payload, which never changes and may be large, is in another table, so
-- that a change of status writes little.
CREATE TABLE task (
  seq           INTEGER PRIMARY KEY, -- creation time, made unique: the order of age
  id            TEXT    NOT NULL UNIQUE,
  queue         TEXT    NOT NULL,
  status        INTEGER NOT NULL,
  weight        INTEGER NOT NULL,
  place         INTEGER NOT NULL,           -- 1 ready, 2 not due yet, 0 neither
  gate          INTEGER NOT NULL,           -- 0 open, 1 closed, 2 its batch is not committed
  due           INTEGER NOT NULL,
  deadline      INTEGER,
  attempt       INTEGER NOT NULL DEFAULT 0,
  crashes       INTEGER NOT NULL DEFAULT 0,
  fence         INTEGER NOT NULL DEFAULT 0,
  owner         TEXT,                       -- while it runs
  nonce         TEXT    NOT NULL DEFAULT '', -- of the last claim, then of its settle
  settled       INTEGER NOT NULL DEFAULT 0, -- the last claim was settled, with this nonce
  stopping      INTEGER NOT NULL DEFAULT 0, -- it runs and was requested to stop
  reason        TEXT    NOT NULL DEFAULT '', -- for that stop
  fan_in        INTEGER NOT NULL DEFAULT 0, -- set by the last claim
  hints         INTEGER NOT NULL DEFAULT 0, -- sent since it last began to wait
  hinted        INTEGER NOT NULL DEFAULT 0, -- when the last one was sent
  unique_key    TEXT,
  source        TEXT,                       -- the task that this is a subtask of
  batch         TEXT    NOT NULL DEFAULT '',
  root          TEXT,                       -- of its tree; NULL for roots and uncommitted subtasks
  on_failure    TEXT    NOT NULL DEFAULT '',
  done_of       TEXT    NOT NULL DEFAULT '',
  retry_of      TEXT    NOT NULL DEFAULT '',
  fingerprint   TEXT    NOT NULL DEFAULT '',
  timeout       INTEGER NOT NULL DEFAULT 0,
  started       INTEGER NOT NULL DEFAULT 0,
  ended         INTEGER NOT NULL DEFAULT 0,
  closed        INTEGER,                    -- only for roots: when the tree ended; NULL while it has not
  progress      BLOB,
  result        BLOB,
  error_code    TEXT,
  error_message TEXT,
  subtasks      TEXT                        -- JSON: the counts of a finished set
);

CREATE TABLE payload (
  seq     INTEGER PRIMARY KEY, -- the task's
  payload BLOB
);

CREATE INDEX task_ready    ON task (queue, weight DESC, seq) WHERE place = 1;
CREATE INDEX task_delayed  ON task (queue, due)              WHERE place = 2;
CREATE INDEX task_running  ON task (owner, nonce)            WHERE status = 2;
CREATE INDEX task_deadline ON task (queue, deadline)         WHERE deadline IS NOT NULL AND status < 4;
CREATE INDEX task_closed   ON task (queue, closed)           WHERE closed IS NOT NULL;
CREATE INDEX task_trouble  ON task (status, seq)             WHERE status > 4;
CREATE INDEX task_kin      ON task (source, seq)             WHERE source IS NOT NULL;
CREATE INDEX task_gated    ON task (source, batch)           WHERE gate > 0;
CREATE INDEX task_family   ON task (root, seq)               WHERE root IS NOT NULL;
CREATE INDEX task_live     ON task (root, source)            WHERE root IS NOT NULL AND status < 4;
CREATE INDEX task_culprit  ON task (source)                  WHERE on_failure = 'fail' AND status = 5;

-- The live tasks of a queue have different keys.
CREATE UNIQUE INDEX task_key ON task (queue, unique_key) WHERE unique_key IS NOT NULL AND status < 4;

-- The number of tasks by queue and status.
CREATE TABLE tally (
  queue  TEXT    NOT NULL,
  status INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (queue, status)
) WITHOUT ROWID;

-- One row is the set of subtasks of a source. It exists once a batch was committed.
CREATE TABLE family (
  source   TEXT    NOT NULL PRIMARY KEY,
  root     TEXT    NOT NULL,           -- of the source's tree
  changed  INTEGER NOT NULL,           -- when the last batch was committed
  finished INTEGER NOT NULL DEFAULT 0,
  done     INTEGER NOT NULL DEFAULT 0  -- the task that runs SubtasksDone was inserted
) WITHOUT ROWID;

CREATE INDEX family_open ON family (root) WHERE finished = 0;

-- A batch is the subtasks of one call to Subtasks.
CREATE TABLE batch (
  source    TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  since     INTEGER NOT NULL,           -- the last insert
  held      INTEGER NOT NULL,           -- it has uncommitted tasks
  committed INTEGER NOT NULL DEFAULT 0,
  discarded INTEGER NOT NULL DEFAULT 0, -- while its source existed, and not inserted again since
  PRIMARY KEY (source, name)
) WITHOUT ROWID;

CREATE INDEX batch_held ON batch (source) WHERE held = 1;

-- An owner is a process that claims tasks. convicted is 1 once it was declared dead.
CREATE TABLE owner (
  name      TEXT    NOT NULL PRIMARY KEY,
  count     INTEGER NOT NULL,
  convicted INTEGER NOT NULL DEFAULT 0,
  peer      TEXT    NOT NULL            -- of the same process
) WITHOUT ROWID;

CREATE TABLE doc (
  name     TEXT    NOT NULL PRIMARY KEY,
  revision INTEGER NOT NULL,
  value    BLOB    NOT NULL
) WITHOUT ROWID;

-- Raw messages, oldest first.
CREATE TABLE raw (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT    NOT NULL,
  body  BLOB    NOT NULL,
  rests INTEGER NOT NULL DEFAULT 0, -- not delivered before, after its receiver did not accept it
  taken TEXT                        -- the peer that handles it
);

CREATE INDEX raw_waiting ON raw (queue, id) WHERE taken IS NULL;
CREATE INDEX raw_taken   ON raw (taken)     WHERE taken IS NOT NULL;

-- A peer is one opening of the file, with a lock file and a socket. It is alive while its lock is held.
CREATE TABLE peer (
  id      TEXT    NOT NULL PRIMARY KEY,
  joined  INTEGER NOT NULL,           -- order of registration
  network TEXT    NOT NULL,
  address TEXT    NOT NULL,
  token   TEXT    NOT NULL
) WITHOUT ROWID;

-- The services that peers serve and the queues that they listen to.
CREATE TABLE offer (
  kind  TEXT NOT NULL,
  name  TEXT NOT NULL,
  peer  TEXT NOT NULL,
  facts TEXT NOT NULL,
  PRIMARY KEY (kind, name, peer)
) WITHOUT ROWID;

CREATE INDEX offer_peer ON offer (peer);

-- Queues to which a hint was sent while there was no listener.
CREATE TABLE unheard (queue TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;

-- Announcements, and when they expire.
CREATE TABLE present (
  kind  TEXT    NOT NULL,
  name  TEXT    NOT NULL,
  facts BLOB    NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;

-- One row of counters that only rise: the registry's generation, the last revision of a document, the last peer.
CREATE TABLE counter (
  one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  registry INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  joined   INTEGER NOT NULL
);

INSERT INTO counter VALUES (1, 0, 0, 0);
