package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

// onPostgres is a shop whose old database is PostgreSQL's.
func onPostgres(t *testing.T) *shop {
	t.Helper()
	s := newShop(t, "testdata/shop/postgres.yaml")
	s.oldURI = pgtest.Database(t)
	s.shell = func(statement string) (string, error) {
		if _, err := exec.LookPath("psql"); err != nil {
			return s.statement(statement)
		}
		cmd := exec.Command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", s.oldURI, "-c", statement)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	s.strangeOrder = `["aachen","1000003"]`
	s.programs = s.withTransactions
	s.foreigners = []string{"the shell", "read committed", "repeatable read", "serializable"}
	schema, err := os.ReadFile("testdata/shop/postgres.sql")
	s.must(err)
	if out, err := s.shell(string(schema)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// statement is the shell where psql is missing.
func (s *shop) statement(sql string) (string, error) {
	conn, err := pgx.Connect(s.t.Context(), s.oldURI)
	if err != nil {
		return err.Error(), err
	}
	defer conn.Close(context.Background())
	var text string
	rows, err := conn.PgConn().Exec(s.t.Context(), sql).ReadAll()
	if err != nil {
		return err.Error(), err
	}
	for _, r := range rows {
		for _, row := range r.Rows {
			text += string(row[0]) + "\n"
		}
	}
	return strings.TrimSpace(text), nil
}

// toPostgres has the shop move to PostgreSQL.
func (s *shop) toPostgres() { s.newURI = pgtest.Database(s.t) }

// withTransactions adds a program for each isolation level, and one that does to a
// table what people do: COPY, upserts, other ids, TRUNCATE.
func (s *shop) withTransactions(l *load) {
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		conn := s.connect()
		l.all.Go(func() {
			defer conn.Close(context.Background())
			l.until(func(n int) {
				time.Sleep(30 * time.Millisecond) // a record that changes all the time is never found equal
				at, token := l.target(), fmt.Sprintf("%s-%d", strings.ReplaceAll(string(level), " ", "-"), n)
				answer := l.inTransaction(conn, level, fmt.Sprintf(`UPDATE "%s" SET log=log||'%s;' WHERE %s`, at.table, token, at.where))
				s.ledger.foreign(string(level), at.table+" "+at.key, token, answer)
			})
		})
	}
	visits, err := s.collection("visits").Filter()
	s.must(err)
	l.all.Go(func() { // the service reads them, too: reads are what is compared
		l.until(func(int) {
			time.Sleep(10 * time.Millisecond)
			if err := s.serve(func(i *shopInstance) error {
				_, err := i.List(context.WithoutCancel(s.t.Context()), visits, "", 20)
				return err
			}); err != nil {
				s.ledger.fault("a list of visits: %v", err)
			}
		})
	})
	conn := s.connect()
	l.all.Go(func() {
		defer conn.Close(context.Background())
		l.until(func(n int) {
			time.Sleep(20 * time.Millisecond) // a copy of many rows takes the embedded server long
			if err := unruly(s.t.Context(), conn, n); err != nil && !moved(err) {
				s.ledger.fault("the unruly program: %v", err)
			}
		})
	})
}

func (s *shop) connect() *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.oldURI)
	s.must(err)
	return conn
}

// moved reports whether the fence refused a statement.
func moved(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "MG001"
}

// again reports whether a program has to run its transaction again.
func again(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}

// inTransaction runs a statement as a program does that runs its transaction again
// where PostgreSQL asks for that.
func (l *load) inTransaction(conn *pgx.Conn, level pgx.TxIsoLevel, statement string) string {
	for {
		err := pgx.BeginTxFunc(context.Background(), conn, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			tag, err := tx.Exec(context.Background(), statement)
			if err == nil && tag.RowsAffected() != 1 {
				err = fmt.Errorf("%d rows", tag.RowsAffected())
			}
			return err
		})
		switch {
		case again(err):
			continue
		case moved(err):
			return "refused"
		case err != nil:
			return err.Error()
		}
		return "ok"
	}
}

// unruly does one of these to the table of visits.
func unruly(ctx context.Context, conn *pgx.Conn, n int) error {
	id := rand.IntN(60)
	switch n % 6 {
	case 0:
		_, err := conn.Exec(ctx, `insert into visits values ($1, $2) on conflict (id) do update set page = excluded.page`, id, fmt.Sprint("page ", n))
		return err
	case 1:
		_, err := conn.Exec(ctx, `update visits set id = -id where id = $1::bigint and not exists (select from visits where id = -$1::bigint)`, id)
		return err
	case 2:
		_, err := conn.Exec(ctx, `with gone as (delete from visits where id in ($1::bigint, -$1::bigint) returning page) insert into visits select 1000 + $2::bigint, max(page) from gone having count(*) > 0 on conflict do nothing`, id, id)
		return err
	case 3:
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `delete from visits where id >= 1000000`); err != nil {
				return err
			}
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"visits"}, []string{"id", "page"}, pgx.CopyFromSlice(5, func(i int) ([]any, error) {
				return []any{1_000_000 + int64(i), fmt.Sprint("copied ", n)}, nil
			}))
			return err
		})
	case 4:
		_, err := conn.Exec(ctx, `update visits set page = page || '.' where id > $1`, id)
		return err
	}
	if n%60 != 5 {
		_, err := conn.Exec(ctx, `begin; savepoint a; delete from visits where id < 0; rollback to a; delete from visits where id > 1000000; commit`)
		if err != nil {
			_, _ = conn.Exec(ctx, "rollback")
		}
		return err
	}
	_, err := conn.Exec(ctx, `truncate visits`)
	return err
}

func (s *shop) concludePostgres() {
	s.conclude(map[string]string{
		"a column that nobody declared is lost": `SELECT count(*) FROM "Orders" WHERE extra IS DISTINCT FROM 'theirs'`,
		"a token that was deleted":              `SELECT count(*) FROM tokens WHERE log IS NULL AND id::text NOT LIKE 'ffffffff%'`,
	})
}

// toAndFro goes to step 3, from there to 5 and back to 3, as walk does to 8.
func (s *shop) toAndFro() {
	t := s.t
	s.move(migration.DeployNew)
	busy := s.load()
	s.move(migration.AddDAO)
	s.move(migration.WriteBoth)
	s.copied(nil)
	s.move(migration.ReadBoth)
	for id, fields := range map[record.ID]map[string]record.Value{
		s.id("customers", "1000001"): {"name": record.UncheckedText("a")}, s.id("customers", "1000002"): {"name": record.UncheckedText("b")},
		s.id("orders", "aachen", "1000003"): nil, s.id("tokens", "ffffffff-0000-4000-8000-000000000002"): nil,
	} {
		s.decide(id, fields)
	}
	s.move(migration.NewPrimary)
	s.move(migration.ReadBoth)
	s.comeBack()
	s.move(migration.WriteBoth)
	busy.end()
	tool := s.spawnTool()
	defer tool.close()
	s.must(s.active.Load().Flush(t.Context()))
	rep, err := migration.Verify(t.Context(), tool.old, tool.new, migration.VerifyOptions{Batch: 50})
	if err != nil || !rep.Clean || rep.Equal == 0 {
		t.Errorf("the verify in the end: %+v, %v", rep, err)
	}
}

// whole reports whether the walks that CI makes short are to be whole.
func whole() bool { return os.Getenv("MIGRATE_TEST_PAIRS") != "" }

func TestSQLiteToPostgreSQL(t *testing.T) {
	s := newShop(t, "testdata/shop/migrate.yaml")
	s.toPostgres()
	if out, err := s.shell(".read testdata/shop/schema.sql"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.walk(false, `UPDATE customers SET active='N' WHERE id=1000002`)
	s.conclude(map[string]string{
		"a column that nobody declared is lost": `SELECT count(*) FROM "Orders" WHERE extra IS NOT 'theirs'`,
		"a timestamp in another layout":         `SELECT count(*) FROM "Orders" WHERE placed_at NOT GLOB '????-??-?? ??:??:??'`,
	})
}

func TestPostgreSQLToMongoDB(t *testing.T) {
	s := onPostgres(t)
	s.walk(true, `UPDATE customers SET balance=1.50 WHERE id=1000002`)
	s.concludePostgres()
}

func TestPostgreSQLToPostgreSQL(t *testing.T) {
	s := onPostgres(t)
	s.toPostgres()
	if whole() {
		s.walk(false, `UPDATE customers SET balance=1.50 WHERE id=1000002`)
	} else {
		s.toAndFro()
	}
	s.concludePostgres()
}

// The new database of a walk is a typed table that a plain program reads.
func TestANewPostgreSQLIsPlain(t *testing.T) {
	s := newShop(t, "testdata/shop/migrate.yaml")
	s.toPostgres()
	if out, err := s.shell(".read testdata/shop/schema.sql"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for step := migration.DeployNew; step <= migration.WriteBoth; step++ {
		s.move(step)
	}
	s.copied(nil)
	conn, err := pgx.Connect(t.Context(), s.newURI)
	s.must(err)
	defer conn.Close(context.Background())
	var types string
	s.must(conn.QueryRow(t.Context(), `select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) from pg_attribute where attrelid = 'orders'::regclass and attnum > 0`).Scan(&types))
	if want := "shop text, number bigint, total numeric, placed timestamp with time zone, note jsonb, log text"; types != want {
		t.Errorf("the columns are %s, want %s", types, want)
	}
	var count int
	s.must(conn.QueryRow(t.Context(), `select count(*) from orders where shop = 'Köln' and placed > '2024-01-01' and total < 1`).Scan(&count))
	if count != 20 {
		t.Errorf("%d orders", count)
	}
}
