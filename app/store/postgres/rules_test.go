package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

func intID() record.Declaration {
	return tasksOf(record.Field{Name: "id", Type: record.Int}, record.Field{Name: "title", Type: record.Text})
}

// Each rule of a table has a name, a meaning and, where it is refused, a remedy; and
// what is open can be accepted, and then the table is taken over.
func TestRules(t *testing.T) {
	text := []record.Field{{Name: "id", Type: record.Text}, {Name: "title", Type: record.Text}}
	only := func(f record.Field) record.Declaration { return tasksOf(text[0], f) }
	for _, c := range []struct {
		name, sql string
		of        record.Declaration
		rule      string
		verdict   store.Verdict
	}{
		{"nothing", `create table tasks(id text primary key, title text)`, tasksOf(text...), "", ""},
		{"unique beyond the id", `create table tasks(id text primary key, title text unique)`, tasksOf(text...), "unique:tasks_title_key", store.Open},
		{"unique of some rows", `create table tasks(id text primary key, title text); create unique index one on tasks(title) where title <> ''`, tasksOf(text...), "unique:one", store.Open},
		{"unique with the id", `create table tasks(id text primary key, title text); create unique index pair on tasks(id, title)`, tasksOf(text...), "unique:pair", store.Open},
		{"a key that includes a column", `create table tasks(id text not null, title text, unique (id) include (title))`, tasksOf(text...), "", ""},
		{"check", `create table tasks(id text primary key, title text constraint short check (length(title) < 9))`, tasksOf(text...), "check:short", store.Open},
		{"exclusion", `create table tasks(id text primary key, title text, at int4range, exclude using gist (at with &&))`, tasksOf(text...), "exclude:tasks_at_excl", store.Open},
		{"foreign key", `create table people(id text primary key); create table tasks(id text primary key, title text constraint who references people)`, tasksOf(text...), "foreign-key:who", store.Carried},
		{"foreign key to it", `create table tasks(id text primary key, title text); create table notes(task text constraint on_task references tasks on delete cascade)`, tasksOf(text...), "foreign-key:on_task", store.Carried},
		{"not null", `create table tasks(id text primary key, title text not null)`, tasksOf(text...), "notnull:tasks.title", store.Open},
		{"not null, not declared", `create table tasks(id text primary key, title text, owner text not null)`, tasksOf(text...), "undeclared:tasks.owner", store.Refused},
		{"not declared, with a default", `create table tasks(id text primary key, title text, owner text not null default 'me')`, tasksOf(text...), "column:tasks.owner", store.Carried},
		{"generated, declared", `create table tasks(id text primary key, title text generated always as (id || '!') stored)`, tasksOf(text...), "column:tasks.title", store.Refused},
		{"generated, not declared", `create table tasks(id text primary key, title text, loud text generated always as (title || '!') stored)`, tasksOf(text...), "generated:tasks.loud", store.Carried},
		{"identity", `create table tasks(id bigint generated always as identity primary key, title text)`, intID(), "identity:tasks.id", store.Carried},
		{"a column of another type", `create table tasks(id text primary key, title bytea)`, tasksOf(text...), "column:tasks.title", store.Refused},
		{"a column that is missing", `create table tasks(id text primary key)`, tasksOf(text...), "column:tasks.title", store.Refused},
		{"numeric(p,s)", `create table tasks(id text primary key, n numeric(9,2))`, only(record.Field{Name: "n", Type: record.Decimal}), "limit:tasks.n", store.Open},
		{"varchar(n)", `create table tasks(id text primary key, title varchar(9))`, tasksOf(text...), "limit:tasks.title", store.Open},
		{"char(n)", `create table tasks(id text primary key, title char(9))`, tasksOf(text...), "limit:tasks.title", store.Open},
		{"timestamp(p)", `create table tasks(id text primary key, at timestamp(0))`, only(record.Field{Name: "at", Type: record.Timestamp}), "limit:tasks.at", store.Open},
		{"money", `create table tasks(id text primary key, n money)`, only(record.Field{Name: "n", Type: record.Raw}), "column:tasks.n", store.Refused},
		{"a trigger", `create table tasks(id text primary key, title text); create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger theirs before insert on tasks for each row execute function f()`,
			tasksOf(text...), "trigger:theirs", store.Open},
		{"a trigger that fires always", `create table tasks(id text primary key, title text); create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger theirs before insert on tasks for each row execute function f(); alter table tasks enable always trigger theirs`,
			tasksOf(text...), "trigger:theirs", store.Open},
		{"a rule", `create table tasks(id text primary key, title text); create rule theirs as on delete to tasks do instead nothing`, tasksOf(text...), "rule:theirs", store.Refused},
		{"a collation for which texts are equal", `create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); create table tasks(id text collate loose primary key, title text)`, tasksOf(text...), "id:tasks.id", store.Refused},
		{"char(n) as id", `create table tasks(id char(9) primary key, title text)`, tasksOf(text...), "id:tasks.id", store.Refused},
		{"numeric as id", `create table tasks(id numeric primary key, title text)`, intID(), "id:tasks.id", store.Refused},
		{"float as id", `create table tasks(id float8 primary key, title text)`, intID(), "id:tasks.id", store.Refused},
		{"interval as id", `create table tasks(id interval primary key, title text)`, tasksOf(text...), "id:tasks.id", store.Refused},
		{"an id that may be NULL", `create table tasks(id text unique, title text)`, tasksOf(text...), "null:tasks.id", store.Refused},
		{"no key", `create table tasks(id text not null, title text)`, tasksOf(text...), "key:tasks", store.Refused},
		{"a deferrable key", `create table tasks(id text primary key deferrable, title text)`, tasksOf(text...), "key:tasks", store.Refused},
		{"a key of more", `create table tasks(id text, title text, primary key (id, title))`, tasksOf(text...), "key:tasks", store.Refused},
		{"children", `create table tasks(id text primary key, title text); create table child() inherits (tasks)`, tasksOf(text...), "table:tasks", store.Refused},
		{"a child", `create table parent(id text primary key, title text); create table tasks(primary key (id)) inherits (parent)`, tasksOf(text...), "table:tasks", store.Refused},
		{"partitioned", `create table tasks(id text primary key, title text) partition by hash (id)`, tasksOf(text...), "table:tasks", store.Refused},
		{"a view", `create view tasks as select 'a'::text as id, ''::text as title`, tasksOf(text...), "table:tasks", store.Refused},
		{"UNLOGGED", `create unlogged table tasks(id text primary key, title text)`, tasksOf(text...), "table:tasks", store.Refused},
		{"row security", `create table tasks(id text primary key, title text); alter table tasks enable row level security`, tasksOf(text...), "row-security:tasks", store.Refused},
		{"no table", `select 1`, tasksOf(text...), "table:tasks", store.Refused},
		{"a schema of our name", `create schema migrate; create table public.tasks(id text primary key, title text)`, tasksOf(text...), "schema", store.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uri, conn := legacy(t, c.sql)
			o := opened(t, uri, c.of)
			s, err := o.Survey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(s.Rules, func(r store.Rule) bool { return r.Name == c.rule })
			if c.rule != "" && (at < 0 || s.Rules[at].Verdict != c.verdict) {
				t.Fatalf("rules %+v, want %s to be %s", s.Rules, c.rule, c.verdict)
			}
			for _, r := range s.Rules {
				if r.Detail == "" || r.Meaning == "" || r.Verdict == store.Refused && r.Remedy == "" {
					t.Errorf("it says too little: %+v", r)
				}
				if r.Name != c.rule && (r.Verdict == store.Open || r.Verdict == store.Refused) && !strings.HasPrefix(r.Name, "notnull:") && c.verdict != store.Refused {
					t.Errorf("another rule: %+v", r)
				}
			}
			_, err = o.Adopt(t.Context(), store.AdoptOptions{})
			if refused := c.verdict == store.Open || c.verdict == store.Refused; refused != isOnly(err, store.ErrUnsuited) || !refused && err != nil || refused == s.Suits() {
				t.Errorf("adopted: %v; it suits: %v", err, s.Suits())
			}
			if c.verdict == store.Open {
				a, err := o.Adopt(t.Context(), store.AdoptOptions{Accept: []string{c.rule}})
				if err != nil || !slices.Equal(a.Accepted, []string{c.rule}) {
					t.Errorf("accepted: %+v, %v", a, err)
				}
			}
			if c.verdict == store.Refused && c.rule != "schema" {
				var any bool
				if err := conn.QueryRow(t.Context(), `select to_regnamespace('migrate') is not null`).Scan(&any); err != nil || any {
					t.Errorf("something was changed: %v, %v", any, err)
				}
			}
		})
	}
}

// A table on which no write of ours works is refused before anything is changed.
func TestTryOut(t *testing.T) {
	const function = `create function f() returns trigger language plpgsql as $$ begin %s end $$; create trigger theirs %s on tasks for each row execute function f()`
	for _, c := range []struct{ name, body, when, refused string }{
		{"a trigger that changes nothing", `return new;`, "before insert or update", ""},
		{"one that stamps a declared column", `new.title := 'stamped'; return new;`, "before update", "stored otherwise"},
		{"one that refuses deletions", `raise exception 'not here';`, "before delete", "not here"},
		{"one that keeps rows", `return null;`, "before delete", "keeps the row"},
		{"one that needs what is gone", `perform nobody(); return new;`, "before insert", "nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uri, conn := legacy(t, legacyTable, abc, strings.Replace(strings.Replace(function, "%s", c.body, 1), "%s", c.when, 1))
			o := opened(t, uri, tasksOf())
			s, err := o.Survey(t.Context(), "trigger:theirs")
			if err != nil || s.Suits() != (c.refused == "") {
				t.Errorf("survey: %+v, %v", s.Rules, err)
			}
			_, err = o.Adopt(t.Context(), store.AdoptOptions{Accept: []string{"trigger:theirs"}})
			if c.refused == "" && err != nil || c.refused != "" && (!isOnly(err, store.ErrUnsuited) || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("adopted: %v, want %q", err, c.refused)
			}
			if got := text(t, conn, `select string_agg(id || title, '' order by id) from tasks`); got != "aAbBcC" {
				t.Errorf("rows %s", got)
			}
			if c.refused != "" && text(t, conn, `select (to_regnamespace('migrate') is null)::text`) != "true" {
				t.Error("something was left")
			}
		})
	}
}

// The rules of a row that others refer to, and of one that nobody can make up, are
// no reason to refuse a table.
func TestTryOutBearsRules(t *testing.T) {
	uri, _ := legacy(t, `create table people(id text primary key)`, `create table tasks(id text primary key, title text not null references people)`,
		`create table notes(task text references tasks)`, `insert into people values ('p')`, `insert into tasks values ('a', 'p')`, `insert into notes values ('a')`)
	d := tasksOf(record.Field{Name: "id", Type: record.Text}, record.Field{Name: "title", Type: record.Text, NotNull: true})
	adopted(t, uri, d)
	uri, _ = legacy(t, `create table people(id text primary key)`, `create table tasks(id text primary key, title text not null references people)`)
	adopted(t, uri, d)
}

// A deletion that takes long for what it cascades to is no reason either, and is not
// waited for.
func TestTryOutBearsACascade(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc, `create table notes(task text references tasks on delete cascade)`, `insert into notes select id from tasks`,
		`create function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(3600); return old; end'`, `create trigger slowly before delete on notes for each row execute function slowly()`)
	adopted(t, uri, tasksOf())
	if got := text(t, conn, `select count(*)::text from notes`); got != "3" {
		t.Errorf("%s notes", got)
	}
}

// What a database in another encoding can't hold is no text of ours.
func TestEncoding(t *testing.T) {
	s := pgtest.Shared(t)
	if err := s.Exec(t.Context(), "postgres", `create database latin encoding 'LATIN1' locale 'C' template template0`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Exec(t.Context(), "postgres", `drop database latin with (force)`) })
	conn := plain(t, s.URI("latin"))
	do(t, conn, legacyTable)
	_, err := opened(t, s.URI("latin"), tasksOf()).Adopt(t.Context(), store.AdoptOptions{})
	if !isOnly(err, store.ErrUnsuited) || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("adopted: %v", err)
	}
}
