package store_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/embeddedmongo"
	"migrate.invalid/migrate/app/store/mongo"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/app/store/sqlite"
)

var update = flag.Bool("update", false, "write docs/types.md anew")

// tried are the values of the table, by their fields, as a declaration has them.
var tried = []struct {
	title string // of the type and its form
	field record.Field
	texts []string // canonical; NULL is tried for each
}{
	{"text", record.Field{Type: record.Text}, []string{"", "été", "a\x00b", "\xff"}},
	{"int", record.Field{Type: record.Int}, []string{"0", "-1", "9007199254740993", "9223372036854775807"}},
	{"float", record.Field{Type: record.Float}, []string{"1", "0.1", "-0", "NaN", "+Inf"}},
	{"decimal", record.Field{Type: record.Decimal}, []string{"1", "1.0", "0.10", "1234567890123456789012345678901234", "12345678901234567890123456789012345"}},
	{"decimal, `as: text`", record.Field{Type: record.Decimal, As: "text"}, []string{"1.0", "12345678901234567890123456789012345"}},
	{"bool", record.Field{Type: record.Bool}, []string{"true", "false"}},
	{"bool, `true: t, false: f`", record.Field{Type: record.Bool, True: "t", False: "f"}, []string{"true", "false"}},
	{"bytes", record.Field{Type: record.Bytes}, []string{`\x`, `\x00ff`}},
	{"timestamp", record.Field{Type: record.Timestamp}, []string{"2026-11-30T12:00:00Z", "2026-11-30T12:00:00.000001Z"}},
	{"timestamp, `stored: us`", record.Field{Type: record.Timestamp, Stored: "us"}, []string{"2026-11-30T12:00:00.000001Z"}},
	{"timestamp, `as: text`", record.Field{Type: record.Timestamp, As: "text"}, []string{"2026-11-30T12:00:00.000001Z"}},
	{"timestamp, `as: ms, stored: ms`", record.Field{Type: record.Timestamp, As: "ms", Stored: "ms"}, []string{"2026-11-30T12:00:00.123Z", "2026-11-30T12:00:00.000001Z"}},
	{"timestamp, `stored: s`", record.Field{Type: record.Timestamp, Stored: "s"}, []string{"2026-11-30T12:00:00Z", "2026-11-30T12:00:00.5Z"}},
	{"date", record.Field{Type: record.Date}, []string{"2026-11-30", "0001-01-01"}},
	{"uuid", record.Field{Type: record.UUID}, []string{"0198c5a2-7d1e-7c3b-8f00-1234567890ab"}},
	{"json", record.Field{Type: record.JSON}, []string{`{"a":[1,1.5,null]}`, `"a\u0000b"`, "null", "9223372036854775807", "9223372036854775808", "1.0", "[[1]]", `{"$a":1}`, `{"a.b":1}`}},
	{"json, `as: text`", record.Field{Type: record.JSON, As: "text"}, []string{"null", "9223372036854775808", `{"$a":[[1]]}`}},
	{"raw", record.Field{Type: record.Raw}, []string{"1 day", "[1,5)"}},
}

// value reads one of the texts, those included that no canonical text says.
func value(t *testing.T, f record.Field, text string) record.Value {
	t.Helper()
	if f.Type == record.Text {
		return record.UncheckedText(text)
	}
	if f.Type == record.Float && text == "-0" {
		return record.OfFloat(math.Copysign(0, -1))
	}
	v, err := record.Parse(f.Type, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// declaredAs is a declaration with this one field beside the id.
func declaredAs(t *testing.T, n int, f record.Field) record.Collection {
	t.Helper()
	f.Name = "v"
	d := record.Declaration{Collections: []record.Collection{{
		Name: fmt.Sprint("t", n), ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, f},
	}}}
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	return d.Collections[0]
}

// reason is why a value was refused, without what tells the record.
func reason(t *testing.T, err error, f record.Field) string {
	t.Helper()
	if !errors.Is(err, store.ErrUnfit) {
		t.Errorf("%s: %v, want a refusal as unfit", f.Type, err)
	}
	_, text, _ := strings.Cut(err.Error(), store.ErrUnfit.Error()+": ")
	if _, rest, ok := strings.Cut(text, "field v: "); ok {
		text = rest
	}
	text = strings.TrimPrefix(strings.TrimPrefix(strings.Replace(text, `: v "`, `: "`, 1), "v is "), "v ")
	return "**refused**: " + text
}

func cell(s string) string {
	s = strings.NewReplacer("|", `\|`, "\x00", `\0`, "\xff", `\xff`).Replace(s)
	switch {
	case s == "":
		return "(empty)"
	case strings.HasPrefix(s, "**"):
		return s
	}
	return "`" + s + "`"
}

// The page says what each type becomes: each of its rows is made here, on a file of
// SQLite's, in a table of PostgreSQL's, by what is sent to MongoDB, and on the
// embedded server.
func TestTypesPage(t *testing.T) {
	var page strings.Builder
	page.WriteString(head)
	server, err := embeddedmongo.Start(t.Context(), embeddedmongo.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	client, err := driver.Connect(options.Client().ApplyURI(server.URI()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	pg := pgtest.Start(t, nil).URI("postgres")
	conn, err := pgx.Connect(t.Context(), pg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "set timezone to 'UTC'"); err != nil {
		t.Fatal(err)
	}
	for n, row := range tried {
		c := declaredAs(t, n, row.field)
		table := postgresOf(t, conn, pg, c)
		old, plain := sqliteOf(t, c)
		fresh := mongoOf(t, server.URI(), c)
		for i, text := range append(row.texts, "NULL") {
			v := record.Value{}
			if i < len(row.texts) {
				v = value(t, row.field, text)
			}
			id, err := c.MakeID(record.OfInt(int64(i)))
			if err != nil {
				t.Fatal(err)
			}
			r := store.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: record.NewBody(v)}
			cells := []string{inSQLite(t, old, plain, c, r), inPostgres(t, table, conn, c, r), inMongo(t, c, v), inEmbedded(t, fresh, client, c, r)}
			if v.IsNull() {
				if !slices.Equal(cells, []string{"NULL", "NULL", "null", "null"}) {
					t.Errorf("%s: NULL becomes %q", row.title, cells)
				}
				continue // the page says it once
			}
			title := ""
			if i == 0 {
				title = row.title
			}
			fmt.Fprintf(&page, "| %s | %s | %s | %s | %s | %s |\n", title, cell(text), cell(cells[0]), cell(cells[1]), cell(cells[2]), cell(cells[3]))
		}
	}
	page.WriteString("| any | NULL | `NULL` | `NULL` | `null` | `null` |\n")
	page.WriteString(tail)
	const path = "../../docs/types.md"
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(page.String(), "\n")
	for n, line := range strings.Split(string(held), "\n") {
		if n >= len(want) || line != want[n] {
			t.Fatalf("docs/types.md, line %d, says\n%s\nand what happens is\n%s\nwrite it anew: go test ./app/store -run TestTypesPage -update", n+1, line, want[min(n, len(want)-1)])
		}
	}
}

func sqliteOf(t *testing.T, c record.Collection) (*sqlite.Store, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.sqlite")
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Create: true, Collections: []record.Collection{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Adopt(t.Context(), store.AdoptOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return s, db
}

func inSQLite(t *testing.T, s *sqlite.Store, db *sql.DB, c record.Collection, r store.Record) string {
	t.Helper()
	if err := s.PutIfNewer(t.Context(), 1, r); err != nil {
		return reason(t, err, c.Fields[1])
	}
	var typ, literal string
	row := db.QueryRow(fmt.Sprintf(`SELECT typeof(v), CASE WHEN typeof(v) = 'text' AND instr(v, char(0)) THEN replace(v, char(0), '\0') ELSE quote(v) END FROM %s WHERE id = ?`, c.Table), r.ID.Values()[0].Int64())
	if err := row.Scan(&typ, &literal); err != nil {
		t.Fatal(err)
	}
	if typ == "null" {
		return "NULL"
	}
	return typ + " " + literal
}

func postgresOf(t *testing.T, conn *pgx.Conn, uri string, c record.Collection) *postgres.New {
	t.Helper()
	s, err := postgres.OpenNew(t.Context(), postgres.Config{URI: uri, Collections: []record.Collection{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := conn.Exec(t.Context(), "drop schema if exists migrate_new cascade"); err != nil { // of the collection before
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), "a migration"); err != nil {
		t.Fatal(err)
	}
	return s
}

func inPostgres(t *testing.T, s *postgres.New, conn *pgx.Conn, c record.Collection, r store.Record) string {
	t.Helper()
	if err := s.PutIfNewer(t.Context(), r); err != nil {
		return reason(t, err, c.Fields[1])
	}
	found, err := s.Get(t.Context(), r.ID)
	if err != nil || found[r.ID].Body != r.Body {
		t.Errorf("%s: %v, %v; want %v", c.Fields[1].Type, found, err, r)
	}
	var stored *string
	row := conn.QueryRow(t.Context(), fmt.Sprintf(`select pg_typeof(v)::text || ' ' || v::text from %s where id = $1`, c.Name), r.ID.Values()[0].Int64())
	if err := row.Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored == nil {
		return "NULL"
	}
	return *stored
}

func inMongo(t *testing.T, c record.Collection, v record.Value) string {
	t.Helper()
	stored, err := mongo.Stored(c.Fields[1], v)
	if err != nil {
		return reason(t, err, c.Fields[1])
	}
	return stored
}

func mongoOf(t *testing.T, uri string, c record.Collection) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Database: "types_" + c.Name, Collections: []record.Collection{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Prepare(t.Context(), "a migration"); err != nil {
		t.Fatal(err)
	}
	return s
}

func inEmbedded(t *testing.T, s *mongo.Store, client *driver.Client, c record.Collection, r store.Record) string {
	t.Helper()
	if err := s.PutIfNewer(t.Context(), r); err != nil {
		return reason(t, err, c.Fields[1])
	}
	doc, err := client.Database("types_"+c.Name).Collection(c.Name).FindOne(t.Context(), bson.D{{Key: "_id", Value: r.ID.Values()[0].Int64()}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Get(t.Context(), r.ID)
	if err != nil || found[r.ID] != r {
		t.Errorf("%s: %v, %v; want %v", c.Fields[1].Type, found, err, r)
	}
	return mongo.Shown(doc.Lookup("v"))
}

const head = `# What each type becomes

A value goes over exactly, or its record is refused as unfit: it stays in the old database, marked, with the reason
(` + "`migrate quarantine list`" + `). Nothing is rounded, cut or written in another way. What a field is stored as follows from
its declared type alone, never from the values that are there.

This table is written by a test, which stores every value of it (` + "`go test ./app/store -run TestTypesPage -update`" + `): in a
column that ` + "`migrate`" + ` itself makes in SQLite, in a new table of PostgreSQL, in MongoDB, and in the embedded server, which
is for trying things out. An old table of PostgreSQL keeps a value as it is declared: ` + "`stored`, `true` and `false`" + ` as in SQLite.

| type | value | SQLite | PostgreSQL | MongoDB | embedded server |
|---|---|---|---|---|---|
`

const tail = `
Text is compared bytewise, whatever the collation of a column. An id may be a text, an int or a uuid, or several columns of
these; in MongoDB it is the ` + "`_id`" + `, and of several columns a document in their order. Lists can be filtered by text, int,
bool, timestamp, date, uuid and raw, by equality, and by NULL.
`
