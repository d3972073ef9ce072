package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

// legacyTable is a table as somebody has it, and its rows.
const legacyTable = `create table tasks(id text primary key, title text, done boolean not null default false, extra text)`

const abc = `insert into tasks(id, title) values ('a', 'A'), ('b', 'B'), ('c', 'C')`

// tasksOf is a declaration of that table.
func tasksOf(fields ...record.Field) record.Declaration {
	if fields == nil {
		fields = []record.Field{{Name: "id", Type: record.Text}, {Name: "title", Type: record.Text}, {Name: "done", Type: record.Bool, NotNull: true}}
	}
	d := record.Declaration{Collections: []record.Collection{{Name: "tasks", ID: []string{"id"}, Fields: fields}}}
	if err := d.Complete(); err != nil {
		panic(err)
	}
	return d
}

// plain is a connection of a program that knows nothing of the migration.
func plain(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// do runs SQL as such a program.
func do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// text asks for one text.
func text(t *testing.T, conn *pgx.Conn, sql string) (s string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// legacy makes a database with these statements.
func legacy(t *testing.T, statements ...string) (uri string, conn *pgx.Conn) {
	t.Helper()
	uri = pgtest.Database(t)
	conn = plain(t, uri)
	for _, s := range statements {
		do(t, conn, s)
	}
	return uri, conn
}

// opened opens a legacy database, which is not taken over yet.
func opened(t *testing.T, uri string, d record.Declaration) *postgres.Old {
	t.Helper()
	o, err := postgres.OpenOld(t.Context(), postgres.Config{URI: uri, Collections: d.Collections})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// adopted opens a legacy database and takes it over.
func adopted(t *testing.T, uri string, d record.Declaration, accept ...string) *postgres.Old {
	t.Helper()
	o := opened(t, uri, d)
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{Accept: accept}); err != nil {
		t.Fatal(err)
	}
	return o
}

// scan returns all records by their ids.
func scan(t *testing.T, o *postgres.Old) map[string]store.Record {
	t.Helper()
	found := map[string]store.Record{}
	for after := record.ID(""); ; {
		page, _, err := o.Scan(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			found[r.ID.String()] = r
		}
		if page.End {
			return found
		}
		after = page.Next
	}
}

// shown is what people see of records: pair, and T for a tombstone, P for pending.
func shown(records map[string]store.Record) string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(records)) {
		r := records[id]
		s := id + r.Pair.String()
		if r.Deleted {
			s += "T"
		}
		if r.Pending {
			s += "P"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// as is a connection string with another user.
func as(t *testing.T, uri, user, password string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", user, password, cfg.Host, cfg.Port, cfg.Database)
}

func TestAdopt(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := opened(t, uri, tasksOf())
	var phases []string
	a, err := o.Adopt(t.Context(), store.AdoptOptions{Progress: func(p store.AdoptProgress) { phases = append(phases, p.Phase) }})
	if err != nil || !a.Fresh || a.Rows != 3 || a.Quarantined != 0 || a.Waited <= 0 || a.Migration == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	if got := slices.Compact(phases); !slices.Equal(got, []string{"guard", "index", "fill"}) {
		t.Errorf("phases %q", got)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(1,0) c(1,0)" {
		t.Errorf("records %s", got)
	}
	do(t, conn, `update tasks set title = 'AA' where id = 'a'; delete from tasks where id = 'b'; insert into tasks(id) values ('d'); update tasks set id = 'e' where id = 'c'`)
	if got := shown(scan(t, o)); got != "a(2,1)P b(2,1)TP c(2,1)TP d(1,1)P e(1,1)P" {
		t.Errorf("after foreign writes: %s", got)
	}
	again, err := o.Adopt(t.Context(), store.AdoptOptions{})
	if err != nil || again.Fresh || again.Migration != a.Migration {
		t.Errorf("adopted again: %+v, %v", again, err)
	}
	if s, err := o.Survey(t.Context()); err != nil || !s.Adopted || s.Begun {
		t.Errorf("survey: %+v, %v", s, err)
	}
}

// Several take-overs at once do one take-over.
func TestAdoptRace(t *testing.T) {
	uri, conn := legacy(t, legacyTable, `insert into tasks(id, title) select 'x' || n, 'y' from generate_series(1, 5000) n`)
	const many = 4
	type result struct {
		a   store.Adopted
		err error
	}
	results := make(chan result, many)
	d := tasksOf()
	d.Collections[0].Lists = [][]string{{"title"}}
	for range many {
		o := opened(t, uri, d)
		go func() {
			a, err := o.Adopt(t.Context(), store.AdoptOptions{})
			results <- result{a, err}
		}()
	}
	ids := map[string]bool{}
	for range many {
		r := <-results
		if r.err != nil {
			t.Errorf("%+v", r.err)
		}
		if r.a.Migration != "" {
			ids[r.a.Migration] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("migrations %v", ids)
	}
	if got := text(t, conn, `select count(*)::text || ' ' || min(rev) || max(rev) || max(epoch) from migrate."record.tasks"`); got != "5000 110" {
		t.Errorf("companions: %s", got)
	}
	if got := text(t, conn, `select count(*)::text from pg_index where indrelid = 'tasks'::regclass and indisvalid`); got != "3" {
		t.Errorf("%s indexes", got)
	}
}

// A take-over that was killed goes on where it was, with the rules that were
// accepted at its begin.
func TestAdoptGoesOn(t *testing.T) {
	uri, conn := legacy(t, `create table tasks(id text primary key, title text unique, done boolean not null default false)`,
		`insert into tasks(id, title) select 'x' || lpad(n::text, 5, '0'), n from generate_series(1, 3500) n`)
	o := opened(t, uri, tasksOf())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := o.Adopt(ctx, store.AdoptOptions{Accept: []string{"unique:tasks_title_key"}, Progress: func(p store.AdoptProgress) {
		if p.Phase == "fill" && p.Done > 0 {
			cancel()
		}
	}})
	if err == nil {
		t.Fatal("it was not cut off")
	}
	if err := o.Filled(t.Context()); err == nil {
		t.Fatal("it is filled")
	}
	if s, err := o.Survey(t.Context()); err != nil || !s.Begun || s.Adopted {
		t.Errorf("survey: begun %v, adopted %v, %v", s.Begun, s.Adopted, err)
	}
	was := text(t, conn, `select count(*)::text from migrate."record.tasks"`)
	if was == "0" || was == "3500" {
		t.Fatalf("%s companions when it was cut off", was)
	}
	first := int64(-1)
	a, err := o.Adopt(t.Context(), store.AdoptOptions{Progress: func(p store.AdoptProgress) {
		if p.Phase == "fill" && first < 0 {
			first = p.Done
		}
	}})
	if err != nil || a.Fresh || a.Rows != 3500 {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := o.Filled(t.Context()); err != nil {
		t.Error(err)
	}
}

// A row that somebody is writing is filled in later, and holds up no other row.
func TestFillGoesAroundWriters(t *testing.T) {
	uri, conn := legacy(t, legacyTable, `insert into tasks(id, title) select 'x' || lpad(n::text, 5, '0'), 'y' from generate_series(1, 3000) n`)
	do(t, conn, `begin`)
	began := false
	o := opened(t, uri, tasksOf())
	other := plain(t, uri)
	_, err := o.Adopt(t.Context(), store.AdoptOptions{Progress: func(p store.AdoptProgress) {
		switch {
		case p.Phase == "fill" && !began: // rows are locked before the second batch
			began = true
			do(t, conn, `update tasks set title = 'z' where id in ('x00005', 'x01500', 'x02999')`)
		case p.Phase == "fill" && p.Done == 2998:
			if text(t, other, `select filled::text from migrate.collection`) == "true" {
				t.Error("it is filled while a row is left")
			}
			do(t, conn, `rollback; begin`)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	do(t, conn, `rollback`)
	if got := text(t, conn, `select count(*)::text || ' ' || max(rev) from migrate."record.tasks"`); got != "3000 1" {
		t.Errorf("companions: %s", got)
	}
}

// Rows that the new database can't hold are marked while they are filled in.
func TestFillMarks(t *testing.T) {
	d := tasksOf(record.Field{Name: "id", Type: record.Text}, record.Field{Name: "due", Type: record.Timestamp})
	uri, conn := legacy(t, `create table tasks(id text primary key, due timestamptz)`, `insert into tasks values ('a', now()), ('b', 'infinity'), ('c', '0044-03-15 BC'), ('d', null)`)
	o := opened(t, uri, d)
	s, err := o.Survey(t.Context())
	if err != nil || len(s.Tables) != 1 || s.Tables[0].Unfit != 2 || s.Tables[0].Lost["due"] != 2 || s.Tables[0].Rows != 4 || len(s.Tables[0].Samples) != 4 {
		t.Fatalf("survey: %+v, %v", s, err)
	}
	if text(t, conn, `select (to_regnamespace('migrate') is null)::text`) != "true" {
		t.Fatal("the survey has changed something")
	}
	a, err := o.Adopt(t.Context(), store.AdoptOptions{})
	if err != nil || a.Rows != 2 || a.Quarantined != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	list, total, err := o.Quarantine(t.Context(), 1)
	if err != nil || total != 2 || len(list) != 1 || list[0].ID != "b" || !strings.Contains(list[0].Row, "infinity") || list[0].Reason == "" {
		t.Fatalf("quarantine: %+v of %d, %v", list, total, err)
	}
	do(t, conn, `update tasks set due = '2026-01-01' where id = 'b'; update tasks set due = '-infinity' where id = 'd'`)
	list, total, err = o.Quarantine(t.Context(), 0)
	if err != nil || total != 2 || list[0].ID != "c" || list[1].ID != "d" {
		t.Fatalf("one was mended, one has become unfit: %+v of %d, %v", list, total, err)
	}
	if err := o.Restore(t.Context(), list[0].Key); !isOnly(err, store.ErrConflict) {
		t.Errorf("restore: %v", err)
	}
	seen := list[1].Key
	do(t, conn, `update tasks set due = 'infinity' where id = 'd'`)
	if err := o.Drop(t.Context(), seen); !isOnly(err, store.ErrConflict) {
		t.Errorf("a row that has changed since it was listed was dropped: %v", err)
	}
	list, _, err = o.Quarantine(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range list {
		if err := o.Drop(t.Context(), q.Key); err != nil {
			t.Errorf("drop %s: %v", q.Key, err)
		}
		if err := o.Drop(t.Context(), q.Key); !isOnly(err, store.ErrConflict) {
			t.Errorf("drop %s again: %v", q.Key, err)
		}
	}
	if got := text(t, conn, `select string_agg(id, '' order by id) from tasks`); got != "ab" {
		t.Errorf("rows %s", got)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(2,1)P c(2,1)TP d(4,1)TP" {
		t.Errorf("records %s", got)
	}
}
