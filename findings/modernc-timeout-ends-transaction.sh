#!/usr/bin/env bash
# modernc.org/sqlite 1.60.1 (SQLite 3.53.4): a row that was written in a transaction is there after Rollback.
#
# Guess: a statement of a transaction that runs into the time limit of its context has done nothing, and the transaction
# goes on: with the next statement, or with ROLLBACK TO a savepoint. Tx.Rollback takes back whatever was done in it.
#
# Seen: the driver ends a statement that is late by sqlite3_interrupt. SQLite answers an interrupted INSERT, UPDATE or
# DELETE by rolling back the whole transaction. Nobody tells database/sql, whose Tx stays usable. What was written before is
# gone. Each later statement of the Tx commits by itself. A SAVEPOINT opens a transaction of its own, and its RELEASE
# commits. Then Rollback fails, "cannot rollback - no transaction is active", and the rows stay. Code that logs the error of
# a slow statement and goes on writes half a transaction. A SELECT that is late does no such harm. One remedy: after any
# error of a write, use the Tx for nothing but Rollback. (SQLite's page on sqlite3_interrupt tells of the rollback; issue 769
# of mattn/go-sqlite3 tells the same of that driver. The SAVEPOINT that commits is told nowhere that we found.)
set -euo pipefail
command -v go >/dev/null || { echo "needs go"; exit 77; }
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding
go 1.23
require modernc.org/sqlite v1.60.1
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	_ "modernc.org/sqlite"
)

const (
	lateUpdate = "UPDATE n SET i = (SELECT count(*) FROM n a, n b, n c WHERE a.i + b.i + c.i > n.i)"
	lateSelect = "SELECT count(*) FROM n a, n b, n c WHERE a.i + b.i > c.i"
)

func main() {
	db, err := sql.Open("sqlite", "x.db")
	check(err)
	var version string
	check(db.QueryRow("SELECT sqlite_version()").Scan(&version))
	fmt.Println("SQLite", version)
	_, err = db.Exec(`CREATE TABLE paid(what TEXT); CREATE TABLE n(i INTEGER);
		INSERT INTO n WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 5000) SELECT i FROM c`)
	check(err)
	same := true
	for _, c := range []struct{ what, late, want string }{
		{"a late UPDATE", lateUpdate, "after,inside"},
		{"a late SELECT", lateSelect, ""},
	} {
		left := transaction(db, c.what, c.late)
		fmt.Printf("  in the database after Rollback: %q\n", left)
		same = same && left == c.want
	}
	if !same {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}

// transaction writes rows around a statement that is late, rolls back, and returns what is left.
func transaction(db *sql.DB, what, late string) string {
	_, err := db.Exec("DELETE FROM paid")
	check(err)
	tx, err := db.Begin()
	check(err)
	run(tx, "INSERT INTO paid VALUES('before')")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if strings.HasPrefix(late, "SELECT") {
		var n int
		err = tx.QueryRowContext(ctx, late).Scan(&n)
	} else {
		_, err = tx.ExecContext(ctx, late)
	}
	fmt.Printf("%s: %v\n", what, err)
	run(tx, "INSERT INTO paid VALUES('after')", "SAVEPOINT s", "INSERT INTO paid VALUES('inside')", "RELEASE s")
	fmt.Println("  Rollback:", tx.Rollback())
	var left sql.NullString
	check(db.QueryRow("SELECT group_concat(what) FROM paid").Scan(&left))
	return left.String
}

func run(tx *sql.Tx, statements ...string) {
	for _, s := range statements {
		_, err := tx.Exec(s)
		check(err) // each succeeds, in both cases
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
timeout 300 go mod tidy >/dev/null 2>&1 || { echo "the Go modules can't be had"; exit 77; }
timeout 300 go build -o finding . && timeout 60 ./finding
