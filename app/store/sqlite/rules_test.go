package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// verdicts returns what a survey says of the rules, by name.
func verdicts(t testing.TB, s *sqlite.Store, accept ...string) map[string]store.Verdict {
	t.Helper()
	survey, err := s.Survey(context.Background(), accept...)
	if err != nil {
		t.Fatalf("Survey: %v", err)
	}
	found := map[string]store.Verdict{}
	for _, r := range survey.Rules {
		found[r.Name] = r.Verdict
		if r.Detail == "" {
			t.Errorf("%s says nothing", r.Name)
		}
	}
	return found
}

// TestRules: every rule of a table that the new database does not have is listed
// by its name, and nothing is touched before all of them are accepted.
func TestRules(t *testing.T) {
	const plainTable = `CREATE TABLE tasks(id text primary key, assignee text, description text, done boolean`
	for _, c := range []struct {
		name, sql string
		want      map[string]store.Verdict
		error     string // what a take-over that accepts nothing says; "": it goes on
	}{
		{"nothing", plainTable + `)`, nil, ""},
		{"a second unique key", plainTable + `, UNIQUE(assignee,description))`,
			map[string]store.Verdict{"unique:sqlite_autoindex_tasks_2": store.Open}, "--accept unique:sqlite_autoindex_tasks_2"},
		{"a unique index of some rows", plainTable + `); CREATE UNIQUE INDEX some ON tasks(assignee) WHERE done=0`,
			map[string]store.Verdict{"unique:some": store.Open}, "--accept unique:some"},
		{"a unique index of an expression", plainTable + `); CREATE UNIQUE INDEX lowered ON tasks(lower(assignee))`,
			map[string]store.Verdict{"unique:lowered": store.Open}, "lowered"},
		{"a unique key with the id in it", plainTable + `, UNIQUE(assignee,id))`, map[string]store.Verdict{"unique:sqlite_autoindex_tasks_2": store.Carried}, ""},
		{"an id without case", `CREATE TABLE tasks(id text collate nocase primary key, assignee text, description text, done boolean)`,
			map[string]store.Verdict{"collation:sqlite_autoindex_tasks_1": store.Refused}, "nocase"},
		{"a CHECK", plainTable + ` CHECK(done IN (0,1)))`, map[string]store.Verdict{"check:tasks": store.Open}, "CHECK"},
		{"a foreign key", `CREATE TABLE users(name text primary key); ` + plainTable + `, FOREIGN KEY(assignee) REFERENCES users(name))`,
			map[string]store.Verdict{"foreign-key:tasks.users": store.Carried}, ""},
		{"a child", plainTable + `); CREATE TABLE comments(n integer primary key, task text REFERENCES tasks(id) ON DELETE CASCADE)`,
			map[string]store.Verdict{"foreign-key:comments.tasks": store.Carried}, ""},
		{"a column more", plainTable + `, note text NOT NULL DEFAULT '')`, map[string]store.Verdict{"column:tasks.note": store.Carried}, ""},
		{"a column that no create fills", plainTable + `, created_at datetime NOT NULL)`, map[string]store.Verdict{"notnull:tasks.created_at": store.Refused}, "created_at"},
		{"a generated column more", plainTable + `, long int AS (length(description)))`, map[string]store.Verdict{"column:tasks.long": store.Carried}, ""},
		{"a generated column that is declared", `CREATE TABLE tasks(id text primary key, assignee text, description text AS (assignee), done boolean)`,
			map[string]store.Verdict{"column:tasks.description": store.Refused}, "generated"},
		{"a number of its own", `CREATE TABLE tasks(n integer primary key, id text, assignee text, description text, done boolean)`,
			map[string]store.Verdict{"column:tasks.n": store.Carried}, ""},
		{"a column called rowid", plainTable + `, rowid integer)`, map[string]store.Verdict{"column:tasks.rowid": store.Carried}, ""},
		{"another case", strings.Replace(plainTable, "tasks", "Tasks", 1) + `)`, map[string]store.Verdict{"table:tasks": store.Refused}, "the table is called Tasks"},
		{"a conflict clause", `CREATE TABLE tasks(id text primary key ON CONFLICT REPLACE, assignee text, description text, done boolean)`,
			map[string]store.Verdict{"conflict:tasks": store.Refused}, "ON CONFLICT REPLACE"},
		{"a trigger that writes elsewhere", plainTable + `); CREATE TABLE log(x); CREATE TRIGGER logs AFTER UPDATE ON tasks BEGIN INSERT INTO log VALUES(NEW.id); END`,
			map[string]store.Verdict{"trigger:logs": store.Carried}, ""},
		{"a trigger that raises", plainTable + `); CREATE TRIGGER never BEFORE INSERT ON tasks WHEN NEW.assignee='' BEGIN SELECT RAISE(ABORT,'no'); END`,
			map[string]store.Verdict{"trigger:never": store.Open}, "--accept trigger:never"},
		{"a trigger with a name like ours", plainTable + `); CREATE TABLE log(x); CREATE TRIGGER migrate_undo AFTER INSERT ON log BEGIN DELETE FROM tasks; END`,
			map[string]store.Verdict{"trigger:migrate_undo": store.Open}, "--accept trigger:migrate_undo"},
		{"a trigger with a remark", plainTable + `); CREATE TABLE log(x); CREATE TRIGGER undo AFTER INSERT ON log BEGIN UPDATE /* all */ tasks SET done=1; END`,
			map[string]store.Verdict{"trigger:undo": store.Open}, "--accept trigger:undo"},
		{"a remark that is no CHECK", plainTable + ` -- CHECK (nothing)` + "\n)", nil, ""},
		{"a trigger elsewhere that writes here", plainTable + `); CREATE TABLE log(x); CREATE TRIGGER undo AFTER INSERT ON log BEGIN DELETE FROM tasks; END`,
			map[string]store.Verdict{"trigger:undo": store.Open}, "--accept trigger:undo"},
		{"a view", plainTable + `); CREATE VIEW mine AS SELECT * FROM tasks`, map[string]store.Verdict{"view:mine": store.Carried}, ""},
		{"two at once", plainTable + `, a NOT NULL, b NOT NULL)`,
			map[string]store.Verdict{"notnull:tasks.a": store.Refused, "notnull:tasks.b": store.Refused}, "column b"},
		{"a trigger that calls what we lack", plainTable + `); CREATE TABLE audit(at,what); CREATE TRIGGER aud AFTER UPDATE ON tasks BEGIN INSERT INTO audit VALUES(app_now(),NEW.id); END; INSERT INTO tasks VALUES('a','b','c',0)`,
			map[string]store.Verdict{"trigger:aud": store.Carried, "write": store.Refused}, "no such function: app_now"},
		{"a trigger that alters its own row", plainTable + `); CREATE TRIGGER stamp AFTER UPDATE ON tasks BEGIN UPDATE tasks SET assignee='x' WHERE id=NEW.id; END; INSERT INTO tasks VALUES('a','b','c',0)`,
			map[string]store.Verdict{"trigger:stamp": store.Open}, "--accept trigger:stamp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := made(t, c.sql)
			db := plain(t, path)
			schema := rows(t, db, `SELECT name, sql FROM sqlite_master ORDER BY name`)
			s := open(t, sqlite.Config{Path: path})
			found := verdicts(t, s)
			for name, want := range c.want {
				if found[name] != want {
					t.Errorf("%s is %q, want %q", name, found[name], want)
				}
			}
			if len(found) != len(c.want) && (len(c.want) > 0 || len(found) > 0) {
				t.Errorf("found %v", found)
			}
			if after := rows(t, db, `SELECT name, sql FROM sqlite_master ORDER BY name`); after != schema {
				t.Errorf("the survey left %s", after)
			}
			_, err := s.FirstContact(context.Background())
			if c.error == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			only(t, "first contact", err, store.ErrUnsuited)
			if !strings.Contains(fmt.Sprint(err), c.error) || rows(t, db, `SELECT name, sql FROM sqlite_master ORDER BY name`) != schema || len(copies(t, path)) != 0 {
				t.Errorf("%v; copies %v", err, copies(t, path))
			}
			var accept []string
			for name, v := range found {
				if v == store.Open {
					accept = append(accept, name)
				}
			}
			if slices.Contains(accept, "trigger:stamp") || len(accept) == 0 {
				return
			}
			a, err := s.Adopt(context.Background(), store.AdoptOptions{Accept: accept})
			if err != nil || !slices.Equal(a.Accepted, accept) {
				t.Errorf("accepted: %+v, %v", a, err)
			}
		})
	}
}

// TestTryOut: a trigger that makes every copy another one is accepted by its
// name, and still refused, since no copy of ours could be made.
func TestTryOut(t *testing.T) {
	path := made(t, `CREATE TABLE tasks(id text primary key, assignee text, description text, done boolean);
		CREATE TRIGGER stamp AFTER UPDATE ON tasks BEGIN UPDATE tasks SET assignee='x' WHERE id=NEW.id; END; INSERT INTO tasks VALUES('a','b','c',0)`)
	s := open(t, sqlite.Config{Path: path, Accept: []string{"trigger:stamp"}})
	_, err := s.FirstContact(context.Background())
	only(t, "first contact", err, store.ErrUnsuited)
	if !strings.Contains(fmt.Sprint(err), "stored otherwise") {
		t.Error(err)
	}
	// Where an id isn't unique yet, that is found out once there is an index.
	path = legacy(t, `CREATE TABLE audit(at)`, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO tasks(id) SELECT i FROM n`,
		`CREATE TRIGGER theirs AFTER DELETE ON tasks BEGIN INSERT INTO audit VALUES(app_now()); END`)
	s = open(t, sqlite.Config{Path: path})
	_, err = s.FirstContact(context.Background())
	only(t, "first contact", err, store.ErrUnsuited)
	db := plain(t, path)
	if left := rows(t, db, `SELECT name FROM sqlite_master WHERE name LIKE 'migrate%'`); left != "" || len(copies(t, path)) != 0 {
		t.Errorf("left: %s, %v", left, copies(t, path))
	}
	if mode := rows(t, db, `PRAGMA journal_mode`); mode != "string:delete" {
		t.Errorf("journal mode %s", mode)
	}
	if _, err := db.Exec(`DROP TRIGGER theirs`); err != nil {
		t.Fatal(err)
	}
	if c := contact(t, s); c.Rows != 20000 || rows(t, db, `SELECT count(*) FROM migrate_tasks WHERE rev<>1`) != "int64:0" {
		t.Errorf("%+v", c)
	}
}

// SQLite keeps a number in a NUMERIC column without the zeros at its end.
func TestADecimalThatIsKeptAsANumberIsARule(t *testing.T) {
	for column, ruled := range map[string]bool{"numeric": true, "decimal(10,2)": true, "real": true, "integer": true, "text": false, "": false, "blob": false} {
		all := collections(t, record.Collection{Name: "things", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "price", Type: record.Decimal}}})
		s := open(t, sqlite.Config{Path: made(t, `CREATE TABLE things(id INTEGER PRIMARY KEY, price `+column+`)`), Collections: all})
		found, err := s.Survey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if open := slices.ContainsFunc(found.Rules, func(r store.Rule) bool { return r.Name == "decimal:things.price" && r.Verdict == store.Open }); open != ruled || found.Suits() == ruled {
			t.Errorf("%q: %+v", column, found.Rules)
		}
	}
}

// Somebody's own table where one of ours would be is refused before anything is
// changed, with every other reason.
func TestANameOfOursThatIsTakenIsARule(t *testing.T) {
	path := made(t, `CREATE TABLE things(id INTEGER PRIMARY KEY, price numeric); CREATE TABLE Migrate_Things(x); CREATE TABLE migrate_guard(x); CREATE TABLE migrate_other(x)`)
	all := collections(t, record.Collection{Name: "things", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "price", Type: record.Decimal}}})
	s := open(t, sqlite.Config{Path: path, Collections: all})
	found, err := s.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range found.Rules {
		names = append(names, r.Name)
	}
	if want := []string{"decimal:things.price", "name:Migrate_Things", "name:migrate_guard"}; !slices.Equal(names, want) {
		t.Errorf("the rules are %q, want %q", names, want)
	}
	if _, err := s.FirstContact(t.Context()); !errors.Is(err, store.ErrUnsuited) || !strings.Contains(err.Error(), "migrate_guard") {
		t.Errorf("FirstContact: %v", err)
	}
}
