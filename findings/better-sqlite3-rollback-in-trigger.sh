#!/usr/bin/env bash
# better-sqlite3 12.11.1 (SQLite 3.53.2): transaction() throws, and half of the transaction is committed.
#
# Guess: if the function that better-sqlite3's transaction() wraps throws, or transaction() itself throws, nothing of it
# is in the database: that is what the wrapper is for.
#
# Seen: where a trigger of the database refuses a row by RAISE(ROLLBACK, …), SQLite ends the whole transaction at that
# statement. A function that catches the error and goes on runs outside any transaction: what it wrote before is gone,
# each statement after it is committed at once, by itself. Then transaction() throws "cannot commit - no transaction is
# active", and the caller takes everything for undone. db.inTransaction tells, if one looks at it after each error.
set -euo pipefail
for tool in node npm; do command -v $tool >/dev/null || { echo "needs $tool"; exit 77; }; done
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private":true}' >package.json
echo "installing better-sqlite3, which may compile for two minutes"
timeout 600 npm install --silent --no-audit --no-fund better-sqlite3@12.11.1 >npm.log 2>&1 || { tail -n 5 npm.log; echo "better-sqlite3 can't be installed"; exit 77; }
cat >finding.js <<'JS'
const Database = require('better-sqlite3');
const db = new Database(':memory:');
console.log('better-sqlite3', require('better-sqlite3/package.json').version, 'SQLite', db.prepare('SELECT sqlite_version() AS v').get().v);
db.exec(`CREATE TABLE orders(id TEXT); CREATE TABLE lines(n INTEGER);
  CREATE TRIGGER closed BEFORE INSERT ON orders WHEN NEW.id = 'closed' BEGIN SELECT RAISE(ROLLBACK, 'closed'); END`);
const place = db.transaction((id) => {
  db.prepare('INSERT INTO lines VALUES(1)').run();
  try {
    db.prepare('INSERT INTO orders VALUES(?)').run(id);
  } catch (err) {
    console.log('caught:', err.code, err.message, '; in a transaction:', db.inTransaction);
  }
  db.prepare('INSERT INTO lines VALUES(2)').run();
});
let thrown = '';
try { place('closed'); } catch (err) { thrown = err.message; }
const lines = db.prepare('SELECT n FROM lines').pluck().all();
console.log('transaction() threw:', thrown);
console.log('lines in the database:', lines);
const same = thrown === 'cannot commit - no transaction is active' && JSON.stringify(lines) === '[2]';
if (!same) console.log('CHANGED');
process.exit(same ? 0 : 1);
JS
timeout 60 node finding.js
