package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
)

// isOnly reports whether an error wraps this sentinel and no other.
func isOnly(err, want error) bool {
	for _, other := range []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrQuarantined, store.ErrStranger, store.ErrUnsuited, store.ErrTooLong} {
		if errors.Is(err, other) != (other == want) {
			return false
		}
	}
	return true
}

// Each way in which rows can change unseen is a gap: nothing moves to the new
// database until the table was taken over again, and then no companion of it is
// believed.
func TestGuards(t *testing.T) {
	for _, c := range []struct{ name, sql, missing, after string }{
		{"nothing happened", `select 1`, "", "a(1,0) b(1,0) c(1,0)"},
		{"rows written", `update tasks set title = 'AA' where id = 'a'`, "", "a(2,1)P b(1,0) c(1,0)"},
		{"VACUUM", `vacuum tasks`, "", "a(1,0) b(1,0) c(1,0)"},
		{"a column and an index more", `alter table tasks add column note text; create index on tasks(note)`, "", "a(1,0) b(1,0) c(1,0)"},
		{"renamed there and back", `alter table tasks rename to x; alter table x rename to tasks`, "", "a(1,0) b(1,0) c(1,0)"},
		{"TRUNCATE", `truncate tasks`, "", "a(2,1)TP b(2,1)TP c(2,1)TP"},
		{"TRUNCATE twice, and a row", `truncate tasks; truncate tasks; insert into tasks(id) values ('a')`, "", "a(3,1)P b(2,1)TP c(2,1)TP"},
		{"the key made anew", `alter table tasks drop constraint tasks_pkey; alter table tasks add primary key (id)`, "", "a(1,0) b(1,0) c(1,0)"},
		{"replica role", `set session_replication_role = replica; update tasks set title = 'AA' where id = 'a'`, "", "a(2,1)P b(1,0) c(1,0)"},

		{"a trigger disabled, rows written", `alter table tasks disable trigger migrate_row; update tasks set title = 'X' where id = 'a'`, "triggers", "a(2,1)P b(2,1)P c(2,1)P"},
		{"disabled and enabled", `alter table tasks disable trigger user; update tasks set title = 'X'; alter table tasks enable trigger user`, "triggers", "a(2,1)P b(2,1)P c(2,1)P"},
		{"disabled and enabled as ours are", `alter table tasks disable trigger migrate_row; delete from tasks where id = 'b'; insert into tasks(id) values ('d'); alter table tasks enable always trigger migrate_row`,
			"triggers", "a(2,1)P b(2,1)TP c(2,1)P d(2,1)P"},
		{"every row gone unseen", `alter table tasks disable trigger user; delete from tasks; alter table tasks enable trigger user`, "triggers", "a(2,1)TP b(2,1)TP c(2,1)TP"},
		{"the statement's trigger dropped", `drop trigger migrate_statement on tasks`, "triggers", "a(2,1)P b(2,1)P c(2,1)P"},
		{"the truncate trigger dropped", `drop trigger migrate_truncate on tasks; truncate tasks`, "rewritten", "a(2,1)TP b(2,1)TP c(2,1)TP"},
		{"a trigger of our name and another condition", `drop trigger migrate_row on tasks; create trigger migrate_row after insert on tasks for each row execute function migrate."foreign.tasks"(); alter table tasks enable always trigger migrate_row`,
			"triggers", "a(2,1)P b(2,1)P c(2,1)P"},
		{"a function replaced", `create or replace function migrate."foreign.tasks"() returns trigger language plpgsql as 'begin return null; end'`, "function", "a(2,1)P b(2,1)P c(2,1)P"},
		{"the fence's function replaced", `create or replace function migrate.epoch() returns bigint language sql as 'select 1::bigint'`, "function", "a(2,1)P b(2,1)P c(2,1)P"},
		{"content changed by ALTER", `alter table tasks alter column title type text using title || '!'`, "rewritten", "a(2,1)P b(2,1)P c(2,1)P"},
		{"VACUUM FULL", `vacuum full tasks`, "rewritten", "a(2,1)P b(2,1)P c(2,1)P"},
		{"the id's type", `alter table tasks alter column id type varchar`, "id", "a(2,1)P b(2,1)P c(2,1)P"},
		{"create, copy, drop, rename", `create table public.new (like tasks including all); insert into new select * from tasks where id <> 'b'; drop table tasks; alter table new rename to tasks`,
			"another table", "a(2,1)P b(2,1)TP c(2,1)P"},
		{"renamed, and another one made", `alter table tasks rename to kept; set local search_path to public; ` + legacyTable + `; insert into tasks(id) values ('a')`, "another table", "a(2,1)P b(2,1)TP c(2,1)TP"},
		{"a child", `create table child() inherits (tasks)`, "inherit", ""},
		{"dropped", `drop table tasks`, "not there", ""},
		{"its key gone", `alter table tasks drop constraint tasks_pkey`, "unique key", ""},
		{"its key deferrable", `alter table tasks drop constraint tasks_pkey; alter table tasks add primary key (id) deferrable`, "unique key", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uri, conn := legacy(t, legacyTable, abc)
			o := adopted(t, uri, tasksOf())
			if err := o.Guarded(t.Context()); err != nil {
				t.Fatal(err)
			}
			do(t, conn, c.sql)
			from := store.Fence{Epoch: 1, Primary: store.PrimaryOld}
			to := store.Fence{Epoch: 2, Primary: store.PrimaryNew}
			if c.missing == "" {
				if err := o.Guarded(t.Context()); err != nil {
					t.Error(err)
				}
				if got := shown(scan(t, o)); got != c.after {
					t.Errorf("records %s, want %s", got, c.after)
				}
				if err := o.MoveFence(t.Context(), from, to); err != nil {
					t.Error(err)
				}
				return
			}
			for what, err := range map[string]error{"guarded": o.Guarded(t.Context()), "new becomes primary": o.MoveFence(t.Context(), from, to)} {
				if !isOnly(err, store.ErrStranger) || !strings.Contains(err.Error(), c.missing) {
					t.Errorf("%s: %v, want %q", what, err, c.missing)
				}
			}
			if n, err := o.Sweep(t.Context()); n != 0 {
				t.Errorf("without guards it swept %d, %v", n, err)
			}
			_, err := o.Adopt(t.Context(), store.AdoptOptions{})
			if c.after == "" {
				if c.missing != "unique key" && !isOnly(err, store.ErrUnsuited) {
					t.Errorf("adopted again: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("adopted again: %v", err)
			}
			if got := shown(scan(t, o)); got != c.after {
				t.Errorf("records %s, want %s", got, c.after)
			}
			if err := o.MoveFence(t.Context(), from, to); err != nil {
				t.Error(err)
			}
		})
	}
}

// While new is primary, what old holds after a gap is not taken over by itself.
func TestNoGapIsMendedUnderNew(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	if err := o.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Fatal(err)
	}
	do(t, conn, `alter table tasks disable trigger user; update tasks set title = 'X'; alter table tasks enable trigger user`)
	if err := o.Guarded(t.Context()); !isOnly(err, store.ErrStranger) {
		t.Errorf("guarded: %v", err)
	}
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{}); !isOnly(err, store.ErrFenceMoved) {
		t.Errorf("adopted again: %v", err)
	}
	if n, err := o.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(1,0) c(1,0)" {
		t.Errorf("records %s", got)
	}
}

// The index by which pages go is no guard: adopt makes it anew, and nothing is sent
// again for it.
func TestOrderIndexIsMadeAnew(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	do(t, conn, `drop index migrate_tasks_id`)
	if err := o.Guarded(t.Context()); err != nil {
		t.Error(err)
	}
	do(t, conn, `create unique index migrate_tasks_id on tasks(id)`)
	do(t, conn, `update pg_index set indisvalid = false where indexrelid = 'migrate_tasks_id'::regclass`)
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := text(t, conn, `select indisvalid::text || ' ' || pg_get_indexdef(indexrelid) from pg_index where indexrelid = 'migrate_tasks_id'::regclass`); !strings.HasPrefix(got, "true ") || !strings.Contains(got, "COLLATE") {
		t.Errorf("the index: %s", got)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(1,0) c(1,0)" {
		t.Errorf("records %s", got)
	}
}

// Rows that came and went past the triggers of a session that stood aside are swept,
// both ways.
func TestSweep(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	for _, s := range []string{ // as our own write names a row, so that its trigger stands aside
		`set migrate.ours = 'tasks:b'; delete from tasks where id = 'b'`,
		`set migrate.ours = 'tasks:d'; insert into tasks(id) values ('d')`,
	} {
		do(t, conn, s)
	}
	do(t, conn, `reset migrate.ours`)
	if n, err := o.Sweep(t.Context()); err != nil || n != 2 {
		t.Fatalf("swept %d, %v", n, err)
	}
	if got := shown(scan(t, o)); got != "a(1,0) b(2,1)TP c(1,0) d(1,1)P" {
		t.Errorf("records %s", got)
	}
	if n, err := o.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("again: swept %d, %v", n, err)
	}
	for _, id := range []string{"a", "c", "d"} {
		do(t, conn, `set migrate.ours = 'tasks:`+id+`'; delete from tasks where id = '`+id+`'`)
	}
	if n, err := o.Sweep(t.Context()); n != 0 || !isOnly(err, store.ErrStranger) {
		t.Errorf("everything seems to be gone: swept %d, %v", n, err)
	}
}

// A row that comes while a sweep waits for it is no tombstone afterwards.
func TestSweepSeesARowThatComes(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	o := adopted(t, uri, tasksOf())
	do(t, conn, `set migrate.ours = 'tasks:b'; delete from tasks where id = 'b'`)
	do(t, conn, `reset migrate.ours; begin; insert into tasks(id) values ('b')`)
	swept := make(chan error, 1)
	go func() {
		_, err := o.Sweep(t.Context())
		swept <- err
	}()
	waits := plain(t, uri)
	for text(t, waits, `select exists(select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')::text`) != "true" {
		select {
		case err := <-swept:
			t.Fatalf("the sweep has ended: %v", err)
		default:
		}
	}
	do(t, conn, `commit`)
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	if r := scan(t, o)["b"]; r.Deleted || text(t, conn, `select deleted::text from migrate."record.tasks" where k1 = 'b'`) != "false" {
		t.Errorf("a living row has a tombstone: %v", r)
	}
}
