#!/usr/bin/env bash
# PostgreSQL 15, pgx 5.13.0: a context that ends during COMMIT shows a row to everybody that no synchronous standby has.
#
# Guess: with synchronous_standby_names set and no standby there, a COMMIT waits, and nobody sees its row until a standby has
# it. A client that gives up waiting learns nothing of the outcome, and changes nothing for the others.
#
# Seen: if the client is killed, the server process goes on waiting, and the row stays hidden. But when a context ends, pgx sends a
# cancel request, too. The server takes that as "do not wait for the standby": from then on everybody sees a row that a
# failover loses. With pgx's handler that cancels first, COMMIT even returns no error: the server's warning is a notice.
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
"${as[@]}" "$programs/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-c listen_addresses= -c unix_socket_directories=$dir/server -c synchronous_standby_names=nobody" start >/dev/null
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
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

func main() {
	ctx := context.Background()
	other := must(pgx.Connect(ctx, os.Args[1]))
	must(other.Exec(ctx, "set synchronous_commit = local"))
	must(other.Exec(ctx, "create table if not exists things(id int)"))
	changed := false
	for id, way := range []string{"the client is killed", "the context ends", "the context ends, with pgx's handler that cancels"} {
		cfg := must(pgx.ParseConfig(os.Args[1]))
		if id == 0 && len(os.Args) < 3 {
			child := exec.Command(os.Args[0], os.Args[1], "child")
			check(child.Start())
			time.Sleep(2 * time.Second)
			check(child.Process.Kill())
			child.Wait()
		}
		if id == 2 {
			cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
				return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 5 * time.Second}
			}
		}
		var err error = errors.New("nothing, it is dead")
		if id > 0 || len(os.Args) > 2 {
			conn := must(pgx.ConnectConfig(ctx, cfg))
			must(conn.Exec(ctx, "begin"))
			must(conn.Exec(ctx, "insert into things values ($1)", id))
			patience := time.Second
			if id == 0 {
				patience = time.Minute // it is killed before
			}
			short, cancel := context.WithTimeout(ctx, patience)
			_, err = conn.Exec(short, "commit")
			cancel()
		}
		time.Sleep(time.Second)
		var seen bool
		check(other.QueryRow(ctx, "select exists(select from things where id = $1)", id).Scan(&seen))
		fmt.Printf("%s: COMMIT says %q; a second later another session sees the row: %v\n", way, fmt.Sprint(err), seen)
		changed = changed || seen != (id > 0) || (err == nil) != (id == 2)
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
