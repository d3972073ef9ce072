CREATE TABLE migrate_fence(one INTEGER PRIMARY KEY CHECK(one=1), migration TEXT NOT NULL, epoch INT NOT NULL,
  prim TEXT NOT NULL, state TEXT NOT NULL, token TEXT, deadline INT);
CREATE TABLE migrate_record(id TEXT NOT NULL PRIMARY KEY, rev INT NOT NULL, epoch INT NOT NULL,
  pending INT NOT NULL, deleted INT NOT NULL, request TEXT) WITHOUT ROWID;
CREATE INDEX migrate_pending ON migrate_record(id) WHERE pending=1;
CREATE TABLE migrate_quarantine(n INTEGER PRIMARY KEY, reason TEXT NOT NULL, id, assignee, description, done, extra TEXT);

-- Our own transactions hold a row here, at which the triggers stand aside. The
-- deferred key has nothing to refer to, so COMMIT fails if the row is left behind.
CREATE TABLE migrate_never(k INTEGER PRIMARY KEY);
CREATE TABLE migrate_ours(k INTEGER PRIMARY KEY REFERENCES migrate_never(k) DEFERRABLE INITIALLY DEFERRED);
