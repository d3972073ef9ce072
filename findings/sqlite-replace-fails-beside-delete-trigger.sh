#!/usr/bin/env bash
# SQLite (modernc.org/sqlite v1.60.1): a trigger that only writes a log makes UPDATE OR REPLACE fail.
#
# Guess: UPDATE OR REPLACE takes away each row that stands in the way of the new values and then succeeds. With
# `PRAGMA recursive_triggers=ON` delete triggers fire for the rows that it takes away. A delete trigger that writes a
# line into a table of its own changes nothing else.
#
# Seen: the statement succeeds without the trigger, and with the trigger while recursive_triggers is off. With both it
# fails: "UNIQUE constraint failed: t.email", though no other row has this email. The row meets itself: it gives its
# email a value again that does not change, and takes the id of another row. SQLite then also looks for rows that the
# trigger might have put in, and takes the row that is being updated for one.
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
	"database/sql"
	"fmt"
	"os"

	_ "modernc.org/sqlite"
)

// attempt says what becomes of the rows ('a','A') and ('b','B').
func attempt(recursive string, trigger bool) string {
	db, err := sql.Open("sqlite", ":memory:")
	check(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	statements := []string{
		`PRAGMA recursive_triggers=` + recursive,
		`CREATE TABLE t(id TEXT PRIMARY KEY, email TEXT UNIQUE)`,
		`CREATE TABLE log(id)`,
		`INSERT INTO t VALUES('a','A'),('b','B')`,
	}
	if trigger {
		statements = append(statements, `CREATE TRIGGER gone AFTER DELETE ON t BEGIN INSERT INTO log VALUES(OLD.id); END`)
	}
	for _, s := range statements {
		_, err := db.Exec(s)
		check(err)
	}
	if _, err := db.Exec(`UPDATE OR REPLACE t SET id='b', email='A' WHERE id='a'`); err != nil {
		return err.Error()
	}
	var left string
	check(db.QueryRow(`SELECT group_concat(id||' '||email) FROM t`).Scan(&left))
	return left
}

func main() {
	var version string
	db, err := sql.Open("sqlite", ":memory:")
	check(err)
	check(db.QueryRow(`SELECT sqlite_version()`).Scan(&version))
	fmt.Println("SQLite", version)
	want := map[string]string{"OFF false": "b A", "ON false": "b A", "OFF true": "b A", "ON true": "constraint failed: UNIQUE constraint failed: t.email (2067)"}
	changed := false
	for _, recursive := range []string{"OFF", "ON"} {
		for _, trigger := range []bool{false, true} {
			got := attempt(recursive, trigger)
			fmt.Printf("recursive_triggers %-3s, a delete trigger %-5v: %s\n", recursive, trigger, got)
			changed = changed || got != want[fmt.Sprint(recursive, " ", trigger)]
		}
	}
	if changed {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
timeout 300 go mod tidy >/dev/null 2>&1 || { echo "the Go modules can't be had"; exit 77; }
timeout 600 go build -o finding . && timeout 60 ./finding
