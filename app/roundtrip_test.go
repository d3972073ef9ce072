package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	_ "modernc.org/sqlite"
	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/embeddedmongo"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// bench is both databases, and a foreign program's connection to the old one.
type bench struct {
	t       rapid.TB
	ctx     context.Context
	foreign *sql.DB
	old     store.Old
	new     store.New
}

// lay writes the rows as the original program would have.
func lay(t rapid.TB, path string, rows []row) *sql.DB {
	db := foreignly(t, path)
	if _, err := db.Exec(`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := insert(db, r); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// foreignly opens a file as a foreign program does.
func foreignly(t rapid.TB, path string) *sql.DB {
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func insert(db *sql.DB, r row) error {
	_, err := db.Exec(`INSERT INTO tasks VALUES(?,?,?,?)`, r.id, r.assignee, r.description, r.done)
	return err
}

// contact makes first contact and copies.
func (b *bench) contact(db Databases) {
	log := slog.New(slog.DiscardHandler)
	var err error
	if b.old, err = OpenOld(b.ctx, db, log); err != nil {
		b.t.Fatal(err)
	}
	if b.new, err = OpenNew(b.ctx, db, log); err != nil {
		b.t.Fatal(err)
	}
	if _, err := takeOver(b.ctx, b.old); err != nil {
		b.t.Fatal(err)
	}
	fence, err := b.old.Fence(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.new.Prepare(b.ctx, fence.Migration); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) copyAll() {
	if _, err := migration.CopyAll(b.ctx, b.old, b.new, migration.BackfillOptions{Batch: 3}); err != nil {
		b.t.Fatalf("copy: %v", err)
	}
}

func (b *bench) close() {
	for _, err := range []error{b.new.Close(), b.old.Close(), b.foreign.Close()} {
		if err != nil {
			b.t.Error(err)
		}
	}
}

// differs says how the live records of the new database differ from these.
func (b *bench) differs(want map[string]task.Task) string {
	got := map[string]task.Task{}
	for after := record.ID(""); ; {
		page, err := b.new.Scan(b.ctx, after, 7)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range page.Records {
			if !r.Deleted {
				got[r.ID.String()] = todo.Task(r.Body)
			}
		}
		if page.End {
			break
		}
		after = page.Next
	}
	return cmp.Diff(want, got)
}

func (b *bench) holds(what string, want map[string]task.Task) {
	if diff := b.differs(want); diff != "" {
		b.t.Fatalf("%s: the new database differs (-want +got):\n%s", what, diff)
	}
}

// setAside wants each of these rows in quarantine, whole, with its reason, and no others.
func (b *bench) setAside(rows []row, reasons []string) {
	legacy, ok := store.As[store.Legacy](b.old)
	if !ok {
		b.t.Fatal("the old database has no quarantine")
	}
	list, _, err := legacy.Quarantine(b.ctx, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	for i, r := range rows {
		if reasons[i] == "" {
			continue
		}
		at := slices.IndexFunc(list, func(q store.Quarantined) bool { return strings.Contains(q.Reason, reasons[i]) && b.same(q.Row, r) })
		if at < 0 {
			b.t.Fatalf("%q should be in quarantine (%s), which holds %+v", r, reasons[i], list)
		}
		list = slices.Delete(list, at, at+1)
	}
	if len(list) > 0 {
		b.t.Fatalf("in quarantine without need: %+v", list)
	}
}

// same reports whether a row that is shown as SQL is this one, after the same
// conversions as in its own table.
func (b *bench) same(shown string, r row) (same bool) {
	tx, err := b.foreign.Begin()
	if err != nil {
		b.t.Fatal(err)
	}
	defer tx.Rollback()
	for _, statement := range []string{`CREATE TEMP TABLE shown(id text, assignee text, description text, done boolean)`, `INSERT INTO shown DEFAULT VALUES`, `UPDATE shown SET ` + shown,
		`CREATE TEMP TABLE stored(id text, assignee text, description text, done boolean)`} {
		if _, err := tx.Exec(statement); err != nil {
			b.t.Fatalf("%s: %v", statement, err)
		}
	}
	if _, err := tx.Exec(`INSERT INTO stored VALUES(?,?,?,?)`, r.id, r.assignee, r.description, r.done); err != nil {
		b.t.Fatal(err)
	}
	err = tx.QueryRow(`SELECT count(*) FROM shown a JOIN stored b ON a.id IS b.id AND a.assignee IS b.assignee
		AND a.description IS b.description AND a.done IS b.done`).Scan(&same)
	if err != nil {
		b.t.Fatal(err)
	}
	return same
}

// advance makes new the primary, and everything in it final.
func (b *bench) advance() {
	from, err := b.old.Fence(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	to := from
	to.Epoch, to.Primary = from.Epoch+1, store.PrimaryNew
	if err := b.old.MoveFence(b.ctx, from, to); err != nil {
		b.t.Fatal(err)
	}
	if err := b.new.RaiseMirror(b.ctx, store.Mirror{Migration: to.Migration, Epoch: to.Epoch, Primary: to.Primary}); err != nil {
		b.t.Fatal(err)
	}
	b.copyAll()
}

// work changes, deletes and creates records in new, and says what is there then.
func (b *bench) work(t *rapid.T, was map[string]task.Task) map[string]task.Task {
	now := map[string]task.Task{}
	text := rapid.String()
	newBody := func() task.Task {
		return task.Task{Assignee: text.Draw(t, "assignee"), Description: text.Draw(t, "description"), Done: rapid.Bool().Draw(t, "done")}
	}
	commit := func(r store.Record, expect store.Pair) {
		r.Rev, r.Epoch, r.Pending = expect.Rev+1, 2, true
		if err := b.new.CompareAndSwap(b.ctx, r, expect); err != nil {
			b.t.Fatal(err)
		}
	}
	for id, was := range was {
		key := b.key(id)
		held, err := b.new.Get(b.ctx, key)
		if err != nil {
			b.t.Fatal(err)
		}
		switch r := held[key]; rapid.IntRange(0, 2).Draw(t, "change") {
		case 0:
			now[id] = was
		case 1:
			now[id] = newBody()
			r.Body = b.body(now[id])
			commit(r, held[key].Pair)
		case 2:
			r.Deleted, r.Body = true, ""
			commit(r, held[key].Pair)
		}
	}
	for i := range 3 {
		id := fmt.Sprint("new ", i, text.Draw(t, "new id"))
		now[id] = newBody()
		commit(store.Record{ID: b.key(id), Body: b.body(now[id])}, store.Pair{})
	}
	return now
}

func (b *bench) key(id string) record.ID {
	key, err := todo.ID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

func (b *bench) body(of task.Task) record.Body {
	body, err := todo.Body(of)
	if err != nil {
		b.t.Fatal(err)
	}
	return body
}

// comesBack returns the primary, and wants exactly these rows in the original's
// table, beside the ones that are in quarantine, which stay where they are.
func (b *bench) comesBack(want map[string]task.Task, quarantined []row) {
	if _, err := migration.ReturnPrimary(b.ctx, b.old, b.new, migration.ReturnOptions{
		Token: "t", Gone: func(store.Registration) error { return errors.New("it lives") },
	}); err != nil {
		b.t.Fatal(err)
	}
	rows, err := b.foreign.Query(`SELECT id, CAST(assignee AS TEXT), CAST(description AS TEXT), NOT coalesce(done=0,0) FROM tasks`)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	got := map[string]task.Task{}
	for rows.Next() {
		var id any
		var assignee, description sql.NullString
		var t task.Task
		if err := rows.Scan(&id, &assignee, &description, &t.Done); err != nil {
			b.t.Fatal(err)
		}
		t.Assignee, t.Description = assignee.String, description.String
		text, ok := id.(string)
		_, wanted := want[text]
		if !ok || !wanted && slices.ContainsFunc(quarantined, func(r row) bool { return r.unfit() != "" && asText(r.id) == text }) {
			continue
		}
		got[text] = t
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Fatalf("the original's table differs (-want +got):\n%s", diff)
	}
}

// Whatever a foreign program has stored, or stores while we are there, is in
// the new database at the end, or in quarantine with all of its row and the
// reason; and what was changed there comes back as it is.
func TestRoundTrip(t *testing.T) {
	uri, prefix := server(t)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir, err := os.MkdirTemp("", "roundtrip")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		ids := rapid.OneOf(anyValue(), rapid.SampledFrom([]any{"a", "b", "B", "5", int64(5), "a ", "á", "a\x00"}))
		rows := rapid.SliceOfN(anyRow(ids), 0, 12).Draw(t, "rows")
		db := Databases{Old: "sqlite:" + filepath.Join(dir, "todo.sqlite"), New: uri, Name: fmt.Sprint(prefix, runs)}
		b := &bench{t: t, ctx: context.Background(), foreign: lay(t, db.OldPlace().Where, rows)}
		b.contact(db)
		defer b.close()
		records, reasons := judge(rows)
		for _, r := range rapid.SliceOfN(anyRow(ids), 0, 4).Draw(t, "later rows") {
			if insert(b.foreign, r) == nil { // else it was never there
				rows, reasons = later(rows, reasons, records, r)
			}
		}
		b.copyAll()
		b.holds("copied", records)
		b.setAside(rows, reasons)
		b.advance()
		b.holds("under new", records)
		b.comesBack(b.work(t, records), rows)
	})
}

// bring lays the rows down and copies them, to through as the new database.
func bring(t *testing.T, rows []row, through func(store.New) store.New) *bench {
	t.Helper()
	uri, prefix := server(t)
	db := Databases{Old: "sqlite:" + filepath.Join(t.TempDir(), "todo.sqlite"), New: uri, Name: prefix}
	b := &bench{t: t, ctx: t.Context(), foreign: lay(t, db.OldPlace().Where, rows)}
	b.contact(db)
	t.Cleanup(b.close)
	b.new = through(b.new)
	b.copyAll()
	return b
}

// What is too large for a MongoDB document is set aside, what is merely large is not.
func TestTooLarge(t *testing.T) {
	rows := []row{
		{"large", "Bill", strings.Repeat("ž", 1<<19), int64(0)},
		{"too large", "Bill", strings.Repeat("ž", 8<<20), int64(0)},
	}
	b := bring(t, rows, func(s store.New) store.New { return s })
	b.holds("copied", map[string]task.Task{"large": rows[0].body()})
	b.setAside(rows, []string{"", "bytes, a document may have"})
}

// careless ends a text at its first NUL, as C does.
type careless struct {
	store.New
}

func (c careless) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for i := range recs {
		cut := todo.Task(recs[i].Body)
		cut.Description, _, _ = strings.Cut(cut.Description, "\x00")
		body, err := todo.Body(cut)
		if err != nil {
			return err
		}
		recs[i].Body = body
	}
	return c.New.PutIfNewer(ctx, recs...)
}

func TestCarelessStoreIsCaught(t *testing.T) {
	rows := []row{{"a", "Bill", "x\x00y", int64(0)}}
	b := bring(t, rows, func(s store.New) store.New { return careless{s} })
	if b.differs(map[string]task.Task{"a": rows[0].body()}) == "" {
		t.Error("a store that cuts texts passed")
	}
}

// server is the one that the tests were given, else an embedded one, and how
// databases there are to be called.
func server(t *testing.T) (uri, prefix string) {
	t.Helper()
	prefix = fmt.Sprintf("migrate_test_%d_%s_", os.Getpid(), t.Name())
	if uri := os.Getenv("MIGRATE_TEST_MONGO_URI"); uri != "" {
		t.Cleanup(func() { drop(t, uri, prefix) })
		return uri, prefix
	}
	s, err := embeddedmongo.Start(t.Context(), embeddedmongo.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.URI(), prefix
}

// drop removes what the test has left on a server that goes on running.
func drop(t *testing.T, uri, prefix string) {
	ctx := context.Background()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	names, err := client.ListDatabaseNames(ctx, bson.D{})
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			err = errors.Join(err, client.Database(name).Drop(ctx))
		}
	}
	if err := errors.Join(err, client.Disconnect(ctx)); err != nil {
		t.Error(err)
	}
}
