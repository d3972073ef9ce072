package postgres_test

import (
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// dump is the database as pg_dump writes it, without the token that each dump has.
func dump(t *testing.T, uri string) string {
	t.Helper()
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		if os.Getenv("MIGRATE_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	cmd := exec.Command(program, "--host", u.Hostname(), "--port", u.Port(), "--username", u.User.Username(), strings.TrimPrefix(u.Path, "/"))
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// What is undone leaves nothing behind: the dump is as it was.
func TestRelease(t *testing.T) {
	uri, conn := legacy(t, `create table people(id bigint generated always as identity primary key, name text)`,
		`create table tasks(id text primary key, title text, who bigint references people, done boolean not null default false)`, `create index theirs on tasks(title)`,
		`create function f() returns trigger language plpgsql as 'begin return new; end'`, `create trigger theirs before insert on tasks for each row execute function f()`,
		`insert into people(name) values ('p'), ('q')`, abc)
	d := tasksOf()
	d.Collections[0].Lists = [][]string{{"done", "title"}}
	d.Collections = append(d.Collections, record.Collection{Name: "people", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "name", Type: record.Text}}})
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	before := dump(t, uri)
	if !strings.Contains(before, "COPY public.tasks") {
		t.Fatalf("the dump has no rows: %s", before)
	}
	o := adopted(t, uri, d, "trigger:theirs")
	if dump(t, uri) == before {
		t.Fatal("the take-over has changed nothing")
	}
	if path, err := o.Release(t.Context()); err != nil || path != "" {
		t.Fatalf("%q, %v", path, err)
	}
	if after := dump(t, uri); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
	if _, err := o.Release(t.Context()); !isOnly(err, store.ErrStranger) {
		t.Errorf("undone again: %v", err)
	}
	// And it can be taken over again, and not undone once the primary has moved.
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{Accept: []string{"trigger:theirs"}}); err != nil {
		t.Fatal(err)
	}
	fences := []store.Fence{{Epoch: 1, Primary: store.PrimaryOld}, {Epoch: 2, Primary: store.PrimaryNew}, {Epoch: 3, Primary: store.PrimaryOld}}
	for n := range 2 {
		if err := o.MoveFence(t.Context(), fences[n], fences[n+1]); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Release(t.Context()); !isOnly(err, store.ErrFenceMoved) {
			t.Errorf("undone at epoch %d: %v", n+2, err)
		}
	}
	do(t, conn, `insert into tasks(id) values ('d')`)
}

// A role with no right but those that the script gives goes on from what an owner
// has run.
func TestScript(t *testing.T) {
	program, err := exec.LookPath("psql")
	if err != nil {
		if os.Getenv("MIGRATE_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	uri, conn := legacy(t, `create table people(id text primary key)`, `create table tasks(id text primary key, title text unique references people, done boolean not null default false)`,
		`insert into people values ('A'), ('B'), ('C')`, abc)
	role := "service_" + strings.ToLower(text(t, conn, `select current_database()`))
	do(t, conn, `create role `+role+` login password 'secret'`)
	do(t, conn, `grant select, insert, update, delete on tasks to `+role)
	d := tasksOf()
	d.Collections[0].Lists = [][]string{{"title"}}
	o := opened(t, as(t, uri, role, "secret"), d)
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{Accept: []string{"unique:tasks_title_key"}}); !isOnly(err, store.ErrUnsuited) || !strings.Contains(err.Error(), "owner:tasks") || !strings.Contains(err.Error(), "rights") {
		t.Fatalf("adopted without rights: %v", err)
	}
	if _, err := o.Script(t.Context()); !isOnly(err, store.ErrUnsuited) || !strings.Contains(err.Error(), "unique:tasks_title_key") {
		t.Fatalf("a script with an open rule: %v", err)
	}
	script, err := o.Script(t.Context(), "unique:tasks_title_key")
	if err != nil {
		t.Fatal(err)
	}
	run := func() ([]byte, error) {
		cmd := exec.Command(program, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", "-", uri)
		cmd.Stdin = strings.NewReader(script)
		return cmd.CombinedOutput()
	}
	if out, err := run(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	if out, err := run(); err == nil {
		t.Errorf("it ran twice: %s", out)
	}
	a, err := o.Adopt(t.Context(), store.AdoptOptions{}) // what was accepted is in the script
	if err != nil || a.Rows != 3 {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := o.Guarded(t.Context()); err != nil {
		t.Error(err)
	}
	records := scan(t, o)
	rec := records["a"]
	rec.Pair, rec.Pending = store.Pair{Rev: 2, Epoch: 1}, true
	if err := o.CompareAndSwap(t.Context(), 1, rec, store.Pair{Rev: 1}); err != nil {
		t.Error(err)
	}
	if err := o.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Error(err)
	}
	rec.Pair = store.Pair{Rev: 3, Epoch: 2}
	if err := o.PutIfNewer(t.Context(), 2, rec); err != nil {
		t.Error(err)
	}
	if _, err := conn.Exec(t.Context(), `update tasks set done = true`); err == nil || !strings.Contains(err.Error(), "writes have moved") {
		t.Errorf("a foreign write under new: %v", err)
	}
	if _, err := o.Script(t.Context()); !isOnly(err, store.ErrStranger) {
		t.Errorf("a script for a database that was taken over: %v", err)
	}
	// A trigger of the person's, or a key, needs the right that only a superuser grants.
	do(t, conn, `revoke set on parameter session_replication_role from `+role)
	do(t, conn, `drop table tasks; drop schema migrate cascade; create table public.tasks(id text primary key, title text references people, done boolean); grant all on tasks to `+role+`; alter table tasks owner to `+role+`; grant create on database `+text(t, conn, `select current_database()`)+` to `+role)
	_, err = opened(t, as(t, uri, role, "secret"), tasksOf(d.Collections[0].Fields...)).Adopt(t.Context(), store.AdoptOptions{})
	if !isOnly(err, store.ErrUnsuited) || !strings.Contains(err.Error(), "foreign-key:tasks_title_fkey") {
		t.Errorf("without the right to session_replication_role: %v", err)
	}
}
