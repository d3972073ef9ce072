#!/usr/bin/env bash
# PostgreSQL 15, pgx 5.13.0: a statement that has ended keeps its snapshot, or not, depending on the protocol that sent it.
#
# Guess: in a READ COMMITTED transaction each statement has a snapshot of its own, which ends with the statement. While such
# a transaction is idle, it has none: its backend_xmin is NULL, and CREATE INDEX CONCURRENTLY of another session on another
# table doesn't wait for it.
#
# Seen: so it is after a SELECT by the simple protocol. After the same SELECT by the extended protocol, which drivers use for
# statements with parameters, the unnamed portal stays, and with it the snapshot, until the session's next statement. CREATE INDEX
# CONCURRENTLY waits for as long as the transaction is idle. A pg_advisory_xact_lock($1) under which several steps of a
# migration are kept in order blocks the index that one of them makes.
set -euo pipefail
command -v go >/dev/null || { echo "needs go"; exit 77; }
programs=$(dirname "$(readlink -f "$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | tail -1)")") ||
	{ echo "needs a PostgreSQL server's programs (Debian: postgresql)"; exit 77; }
dir=$(mktemp -d); chmod 711 "$dir"
as=(); [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
finish() { "${as[@]}" "$programs/pg_ctl" -D "$dir/server/data" -m immediate stop >/dev/null 2>&1 || true; chmod -R u+w "$dir"; rm -rf "$dir"; }
trap finish EXIT
mkdir "$dir/server"; [ "${#as[@]}" -eq 0 ] || chown nobody "$dir/server"
cd "$dir/server"
"${as[@]}" "$programs/initdb" -D "$dir/server/data" -U finding -A trust --no-sync >/dev/null
"${as[@]}" "$programs/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-c listen_addresses= -c unix_socket_directories=$dir/server -c fsync=off" start >/dev/null
cd "$dir"
cat >go.mod <<'MOD'
module finding
go 1.25.0
require github.com/jackc/pgx/v5 v5.13.0
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	connect := func() *pgx.Conn { return must(pgx.Connect(ctx, os.Args[1])) }
	other := connect()
	must(other.Exec(ctx, "create table things(id int)"))
	must(other.Exec(ctx, "set statement_timeout = '2s'"))
	changed := false
	for _, simple := range []bool{true, false} {
		idle := connect()
		must(idle.Exec(ctx, "begin isolation level read committed"))
		mode := pgx.QueryExecModeExec
		if simple {
			mode = pgx.QueryExecModeSimpleProtocol
		}
		must(idle.Exec(ctx, "select pg_advisory_xact_lock($1::bigint)", mode, int64(1)))
		var held bool
		check(other.QueryRow(ctx, "select backend_xmin is not null from pg_stat_activity where pid = $1", int32(idle.PgConn().PID())).Scan(&held))
		name := fmt.Sprint("by_", simple)
		_, err := other.Exec(ctx, "create index concurrently "+name+" on things(id)")
		var e *pgconn.PgError
		waited := errors.As(err, &e) && e.Code == "57014"
		fmt.Printf("simple protocol: %v; the idle transaction holds a snapshot: %v; CREATE INDEX CONCURRENTLY waited for it for 2 s: %v (%v)\n", simple, held, waited, err)
		changed = changed || held == simple || waited == simple || err != nil && !waited
		check(idle.Close(ctx))
	}
	if changed {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}

func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}
GO
"$programs/postgres" --version
go mod tidy >/dev/null 2>&1
timeout 120 go run . "postgres://finding@/postgres?host=$dir/server"
