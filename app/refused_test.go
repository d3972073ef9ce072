package app

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/store/sqlite"
)

// An SQLite file with a unique column is left for a database without that rule: what
// the rule refuses one by one, a swap, goes back together; what it refuses for good
// is listed, keeps the primary from returning before any write waits, and is decided
// by a change through the service.
func TestWhatAnSQLiteFileRefuses(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("needs sqlite3")
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "people.sqlite")
	plain := func(statement string) string {
		t.Helper()
		out, err := exec.Command(shell, "-cmd", ".timeout 5000", file, statement).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	plain(`CREATE TABLE people(id INTEGER PRIMARY KEY, email TEXT NOT NULL);
		CREATE UNIQUE INDEX people_email ON people(email);
		INSERT INTO people VALUES(1,'ann'),(2,'bob'),(3,'cal')`)
	people := record.Declaration{Old: "sqlite:x", New: "mongodb://x/x", Collections: []record.Collection{{
		Name: "people", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "email", Type: record.Text, NotNull: true}},
	}}}
	must(people.Complete())
	old, err := sqlite.Open(ctx, sqlite.Config{Path: file, Collections: people.Collections, Accept: []string{"unique:people_email"}})
	must(err)
	t.Cleanup(func() { must(old.Close()) })
	_, err = old.FirstContact(ctx)
	must(err)
	to := memory.NewNew()
	at := func(step migration.Step) *migration.Service {
		t.Helper()
		s, err := migration.New(migration.Config{Step: step, Old: old, New: to, Instance: store.Registration{Instance: step.Name()}})
		must(err)
		must(s.Start(ctx))
		return s
	}
	must(at(migration.ReadBoth).Flush(ctx))
	_, err = migration.CopyAll(ctx, old, to, migration.BackfillOptions{})
	must(err)
	must(at(migration.NewPrimary).Advance(ctx))
	s := at(migration.ReadBoth)

	id := func(n int64) record.ID {
		id, err := record.NewID("people", record.OfInt(n))
		must(err)
		return id
	}
	set := func(n int64, email string) {
		t.Helper()
		v, err := record.OfText(email)
		must(err)
		_, err = s.Apply(ctx, id(n), false, func(store.Record, bool) (store.Record, bool, error) {
			return store.Record{Body: record.NewBody(v)}, true, nil
		})
		must(err)
	}
	set(1, "bob") // refused: bob is there
	set(2, "ann") // refused: ann is there
	set(4, "cal") // refused for good: cal is there in both
	must(s.Flush(ctx))
	if got := plain(`SELECT group_concat(id||email,' ') FROM (SELECT * FROM people ORDER BY id)`); got != "1bob 2ann 3cal" {
		t.Errorf("the file holds %s; want the swap, and no fourth", got)
	}
	gone := migration.ReturnOptions{Token: "t", Gone: func(store.Registration) error { return nil }}
	_, err = migration.ReturnPrimary(ctx, old, to, gone)
	if !errors.Is(err, migration.ErrOldRefuses) || !strings.Contains(err.Error(), `people "4"`) || !strings.Contains(err.Error(), "people.email") {
		t.Errorf("the return says %v; want the record and the rule", err)
	}
	fence, err := old.Fence(ctx)
	must(err)
	if fence.Primary != store.PrimaryNew || fence.Closing {
		t.Errorf("the fence is %+v", fence)
	}
	set(4, "dan")
	_, err = migration.ReturnPrimary(ctx, old, to, gone)
	must(err)
	if got := plain(`SELECT group_concat(id||email,' ') FROM (SELECT * FROM people ORDER BY id)`); got != "1bob 2ann 3cal 4dan" {
		t.Errorf("the file holds %s", got)
	}
	plain(`UPDATE people SET email='eve' WHERE id=4`) // old is primary again, and takes it
	if rec, _, err := s.Get(ctx, id(4)); err != nil || rec.Body.Values()[0].String() != "eve" {
		t.Errorf("read back %+v, %v", rec, err)
	}
}
