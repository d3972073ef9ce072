#!/usr/bin/env bash
# modernc.org/sqlite 1.60.1: a time.Time that the driver stores in a DATETIME column can't always be scanned back.
#
# Guess: a time.Time that goes through the driver into a DATETIME column comes back as the same instant, in whatever
# zone it was.
#
# Seen: the driver stores the text of Time.String(), which ends in the abbreviation of the zone. It reads the text back
# only if Go's package time takes the abbreviation for one: letters, or a sign and two digits. The zones of the IANA
# database whose offset has minutes and that have no name are none of these: Asia/Kathmandu is "+0545", Asia/Tehran
# "+0330", Asia/Colombo "+0530". There the INSERT succeeds, and each later Scan into a time.Time fails: "unsupported
# Scan, storing driver.Value type string into type *time.Time". A program that is tested in Berlin and deployed in
# Colombo writes rows that it can't read. UTC() before the INSERT avoids it.
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
	"time"
	_ "time/tzdata"

	_ "modernc.org/sqlite"
)

func main() {
	db, err := sql.Open("sqlite", "x.db")
	check(err)
	_, err = db.Exec("CREATE TABLE t(zone TEXT, at DATETIME)")
	check(err)
	same := true
	for _, c := range []struct {
		zone  string
		fails bool // as seen with the pinned version
	}{{"UTC", false}, {"Europe/Berlin", false}, {"Asia/Kolkata", false}, {"Asia/Dubai", false},
		{"Asia/Colombo", true}, {"Asia/Kathmandu", true}, {"Asia/Tehran", true}, {"Pacific/Chatham", true}} {
		zone, err := time.LoadLocation(c.zone)
		check(err)
		at := time.Date(2026, 11, 30, 12, 0, 0, 0, zone)
		_, err = db.Exec("INSERT INTO t VALUES(?,?)", c.zone, at)
		check(err)
		var text string
		check(db.QueryRow("SELECT CAST(at AS TEXT) FROM t WHERE zone=?", c.zone).Scan(&text))
		var back time.Time
		err = db.QueryRow("SELECT at FROM t WHERE zone=?", c.zone).Scan(&back)
		fmt.Printf("%-18s stored as %q; read back: %v, %v\n", c.zone, text, back.Equal(at), err)
		same = same && (err != nil) == c.fails
	}
	if !same {
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
timeout 300 go build -o finding . && timeout 60 ./finding
