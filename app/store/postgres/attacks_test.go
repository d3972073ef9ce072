package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

// around is what stands beside the table, by which programs write to it.
const around = `create view seen as select * from tasks;
	create view open_ones as select id, title from tasks where not done;
	create rule through as on insert to open_ones do instead insert into tasks(id, title) values (new.id, new.title);
	create table notes(task text references tasks on delete cascade on update cascade);
	create function fill(x text) returns void language sql as $$ insert into tasks(id, title) values (x, 'by a function') $$`

// Each way in which programs write is counted, for each row that it touches, and
// refused once the new database is primary.
func TestForeignWrites(t *testing.T) {
	for _, c := range []struct{ name, sql, after string }{
		{"INSERT", `insert into tasks(id) values ('d'), ('e')`, "a(1,0) b(1,0) c(1,0) d(1,1)P e(1,1)P"},
		{"UPDATE", `update tasks set title = 'X' where id <= 'b'`, "a(2,1)P b(2,1)P c(1,0)"},
		{"DELETE", `delete from tasks where id = 'b'`, "a(1,0) b(2,1)TP c(1,0)"},
		{"an id that changes", `update tasks set id = 'z' where id = 'b'`, "a(1,0) b(2,1)TP c(1,0) z(1,1)P"},
		{"ids that move on", `alter table notes drop constraint notes_task_fkey; update tasks set id = case id when 'c' then 'd' else id end`, "a(2,1)P b(2,1)P c(2,1)TP d(1,1)P"},
		{"ON CONFLICT", `insert into tasks(id, title) values ('a', 'X'), ('d', 'X') on conflict (id) do update set title = excluded.title`, "a(2,1)P b(1,0) c(1,0) d(1,1)P"},
		{"MERGE", `merge into tasks t using (values ('a'), ('d')) s(id) on s.id = t.id when matched then delete when not matched then insert (id) values (s.id)`, "a(2,1)TP b(1,0) c(1,0) d(1,1)P"},
		{"a writing WITH", `with gone as (delete from tasks where id = 'a' returning title) insert into tasks(id, title) select 'd', title from gone`, "a(2,1)TP b(1,0) c(1,0) d(1,1)P"},
		{"a cursor", `begin; declare k cursor for select * from tasks for update; fetch k; update tasks set title = 'X' where current of k; commit`, "a(2,1)P b(1,0) c(1,0)"},
		{"DO", `do $$ begin for n in 1..2 loop update tasks set title = n::text where id = 'a'; end loop; end $$`, "a(3,1)P b(1,0) c(1,0)"},
		{"a savepoint", `begin; update tasks set title = 'X' where id = 'a'; savepoint s; update tasks set title = 'X' where id = 'b'; rollback to s; commit`, "a(2,1)P b(1,0) c(1,0)"},
		{"a view", `update seen set title = 'X' where id = 'a'`, "a(2,1)P b(1,0) c(1,0)"},
		{"a rule on a view", `insert into open_ones values ('d', 'X')`, "a(1,0) b(1,0) c(1,0) d(1,1)P"},
		{"a function", `select fill('d')`, "a(1,0) b(1,0) c(1,0) d(1,1)P"},
		{"TRUNCATE … CASCADE", `truncate tasks cascade`, "a(2,1)TP b(2,1)TP c(2,1)TP"},
		{"deleted and made again", `begin; delete from tasks where id = 'a'; insert into tasks(id) values ('a'); commit`, "a(3,1)P b(1,0) c(1,0)"},
		{"an empty search_path", `set search_path = ''; update public.tasks set title = 'X' where id = 'a'`, "a(2,1)P b(1,0) c(1,0)"},
		{"a schema of the same names before ours", `create schema evil; create table evil.fence(prim text); set search_path = evil, public; update tasks set title = 'X' where id = 'a'`, "a(2,1)P b(1,0) c(1,0)"},
		{"settings that change texts", `set datestyle = 'German'; set bytea_output = 'escape'; update tasks set title = 'X' where id = 'a'`, "a(2,1)P b(1,0) c(1,0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uri, conn := legacy(t, legacyTable, abc, around)
			o := adopted(t, uri, tasksOf())
			do(t, conn, c.sql)
			if got := shown(scan(t, o)); got != c.after {
				t.Errorf("records %s, want %s", got, c.after)
			}
			if n, err := o.Sweep(t.Context()); n != 0 || err != nil && !strings.HasPrefix(c.name, "TRUNCATE") {
				t.Errorf("swept %d, %v", n, err)
			}
			uri, conn = legacy(t, legacyTable, abc, around)
			o = adopted(t, uri, tasksOf())
			if err := o.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
				t.Fatal(err)
			}
			_, err := conn.PgConn().Exec(t.Context(), c.sql).ReadAll()
			if stateOf(err) != "MG001" {
				t.Errorf("under new: %v", err)
			}
			if _, err := conn.PgConn().Exec(t.Context(), "rollback").ReadAll(); err != nil {
				t.Error(err)
			}
			if got := shown(scan(t, o)); got != "a(1,0) b(1,0) c(1,0)" {
				t.Errorf("under new: %s", got)
			}
		})
	}
}

// A bulk load is many inserts.
func TestForeignCopy(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	load := func(id string) error {
		_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"tasks"}, []string{"id"}, pgx.CopyFromRows([][]any{{id}}))
		return err
	}
	if err := load("d"); err != nil {
		t.Fatal(err)
	}
	if err := o.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Fatal(err)
	}
	if err := load("e"); stateOf(err) != "MG001" {
		t.Errorf("under new: %v", err)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(1,0) c(1,0) d(1,1)P" {
		t.Errorf("records %s", got)
	}
}

// A program needs no right on what is kept beside the table.
func TestForeignRole(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	role := "clerk_" + text(t, conn, `select current_database()`)
	do(t, conn, `create role `+role+`; grant update on tasks to `+role+`; grant select on tasks to `+role+`; set role `+role)
	do(t, conn, `update tasks set title = 'X' where id = 'a'`)
	if _, err := conn.Exec(t.Context(), `select from migrate.fence`); stateOf(err) != "42501" {
		t.Errorf("it reads the fence: %v", err)
	}
	do(t, conn, `reset role; drop owned by `+role+`; drop role `+role)
	if got := shown(scan(t, o)); got != "a(2,1)P b(1,0) c(1,0)" {
		t.Errorf("records %s", got)
	}
}

// Who holds up the move of the fence is named, a prepared transaction too, which no
// process has and which a restart does not end.
func TestWhoHoldsUpAFlip(t *testing.T) {
	for name, c := range map[string]struct{ sql, end, named string }{
		"idle in transaction": {`set application_name = 'nightly'; begin; update tasks set title = 'X' where id = 'a'`, `rollback`, "nightly"},
		"prepared":            {`begin; update tasks set title = 'X' where id = 'a'; prepare transaction 'half done'`, `rollback prepared 'half done'`, "half done"},
	} {
		t.Run(name, func(t *testing.T) {
			s := pgtest.Start(t, map[string]string{"max_prepared_transactions": "2", "fsync": "off"})
			uri := s.URI("postgres")
			conn := plain(t, uri)
			do(t, conn, legacyTable+";"+abc)
			adopted(t, uri, tasksOf())
			o, err := postgres.OpenOld(t.Context(), postgres.Config{URI: uri, Collections: tasksOf().Collections, Timeout: 1e9})
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			do(t, conn, c.sql)
			from, to := store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}
			held := func() {
				t.Helper()
				if err := o.MoveFence(t.Context(), from, to); !isOnly(err, store.ErrUnavailable) || !strings.Contains(err.Error(), c.named) {
					t.Errorf("it was held up by %s: %v", c.named, err)
				}
			}
			held()
			if name == "prepared" {
				if err := s.Restart(t.Context(), "immediate"); err != nil {
					t.Fatal(err)
				}
				held()
				conn = plain(t, uri)
			}
			do(t, conn, c.end)
			if err := o.MoveFence(context.Background(), from, to); err != nil {
				t.Error(err)
			}
		})
	}
}

// A subscription's rows are counted, and its worker is refused under the new primary.
func TestSubscription(t *testing.T) {
	publisher := pgtest.Start(t, map[string]string{"wal_level": "logical", "fsync": "off"})
	from := plain(t, publisher.URI("postgres"))
	do(t, from, legacyTable)
	do(t, from, abc)
	do(t, from, `create publication p for table tasks`)
	uri, conn := legacy(t, legacyTable)
	o := adopted(t, uri, tasksOf())
	do(t, conn, fmt.Sprintf(`create subscription s connection '%s' publication p`, strings.ReplaceAll(publisher.URI("postgres"), "'", "''")))
	defer do(t, conn, `drop subscription s`)
	until := func(want string) {
		t.Helper()
		for shown(scan(t, o)) != want {
			if t.Context().Err() != nil {
				t.Fatal("it does not come")
			}
		}
	}
	until("a(1,1)P b(1,1)P c(1,1)P")
	do(t, from, `update tasks set title = 'X' where id = 'a'; delete from tasks where id = 'b'`)
	until("a(2,1)P b(2,1)TP c(1,1)P")
	do(t, from, `truncate tasks`)
	until("a(3,1)TP b(2,1)TP c(2,1)TP")
	if err := o.Guarded(t.Context()); err != nil {
		t.Error(err)
	}
	if err := o.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Fatal(err)
	}
	do(t, from, `insert into tasks(id) values ('d')`)
	for text(t, conn, `select (apply_error_count > 0)::text from pg_stat_subscription_stats`) != "true" {
		if t.Context().Err() != nil {
			t.Fatal("its worker meets no error")
		}
	}
	if got := shown(scan(t, o)); got != "a(3,1)TP b(2,1)TP c(2,1)TP" {
		t.Errorf("under new: %s", got)
	}
}
