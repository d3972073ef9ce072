package driver

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func TestAURIPicksTheDriver(t *testing.T) {
	for _, c := range []struct{ uri, old, new string }{
		{"sqlite:a.db", "", "a database of scheme sqlite can't be the new one"},
		{"SQLite:a.db", "", "can't be the new one"},
		{"mongodb://h:1/", "a database of scheme mongodb can't be the old one, whose scheme is one of sqlite, postgres, postgresql", ""},
		{"mongodb+srv://h/", "can't be the old one", ""},
		{"postgres://u:hunter2@h/db", "", ""},
		{"PostgreSQL://h/db", "", ""},
		{"todo.sqlite", "it has no scheme", "it has no scheme"},
		{"", "it has no scheme", "it has no scheme"},
		{"mysql://u:hunter2@h/db", `nothing here opens the scheme "mysql"`, `nothing here opens the scheme "mysql"`},
		{strings.Repeat("hunter", 9) + ":x", `"hunterhunterhunterhu…"`, "hunterhunterhunterhu…"},
	} {
		_, oldErr := OfOld(c.uri)
		_, newErr := OfNew(c.uri)
		for _, e := range []struct {
			role string
			err  error
			want string
		}{{"old", oldErr, c.old}, {"new", newErr, c.new}} {
			switch {
			case e.want == "":
				if e.err != nil {
					t.Errorf("%s as %s: %v", c.uri, e.role, e.err)
				}
			case !errors.Is(e.err, ErrURI), !strings.Contains(e.err.Error(), e.want), strings.Contains(e.err.Error(), "hunter2"):
				t.Errorf("%s as %s: %v, want %s", c.uri, e.role, e.err, e.want)
			}
		}
	}
}

func TestAnOldDatabaseHasOneSpelling(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want := "sqlite:" + dir + "/data/a b.db"
	for _, uri := range []string{"sqlite:data/a b.db", "sqlite:./data/../link/a b.db", "sqlite:" + dir + "/link/a b.db", "sqlite://" + dir + "/data/a b.db", "SQLITE:data/a b.db"} {
		d, err := OfOld(uri)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Resolve(uri, dir)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", uri, got, err, want)
		}
		if p := d.Place(got); p != (Place{Scheme: "sqlite", Where: dir + "/data/a b.db"}) || p.String() != dir+"/data/a b.db" {
			t.Errorf("%s: %+v", uri, p)
		}
	}
	for _, uri := range []string{"sqlite:", "sqlite: ", "sqlite://host/a.db"} {
		if got, err := (sqliteDriver{}).Resolve(uri, dir); !errors.Is(err, ErrURI) {
			t.Errorf("%q: %s, %v", uri, got, err)
		}
	}
}

func TestAnOldDatabaseIsIdentifiedWithoutAChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	d, uri := sqliteDriver{}, "sqlite:"+path
	if _, err := d.Identify(t.Context(), uri); !errors.Is(err, fs.ErrNotExist) || !d.Missing(uri) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := d.Identify(t.Context(), "sqlite:"+dir); !errors.Is(err, store.ErrStranger) {
		t.Errorf("a folder: %v", err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE tasks(id text)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if id, err := d.Identify(t.Context(), uri); id != "" || err != nil || d.Missing(uri) {
		t.Errorf("%q, %v", id, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v beside it, %v", entries, err)
	}
	if folder, bytes := d.Room(uri); folder != dir || bytes == 0 {
		t.Errorf("%s, %d bytes", folder, bytes)
	}
}

func TestPostgreSQLIsShownWithoutSecrets(t *testing.T) {
	const uri = "postgres://bill:hunter2@h:1,i:2/shop?sslmode=disable"
	for _, p := range []Place{oldPostgres{}.Place(uri), newPostgres{}.Place(uri, "todo")} {
		if p.Scheme != "postgres" || p.Name != "" || strings.Contains(p.String(), "hunter2") || !strings.Contains(p.String(), "h:1,i:2/shop") {
			t.Errorf("%+v", p)
		}
	}
	for _, bad := range []string{"postgres://bill:hunter2@h:port/shop", "postgres://bill:hunter2@h/shop?sslmode=hunter2"} {
		if err := (newPostgres{}).Check(bad); !errors.Is(err, ErrURI) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
		if _, err := (oldPostgres{}).Resolve(bad, "."); !errors.Is(err, ErrURI) {
			t.Errorf("%v", err)
		}
	}
	if same, err := (oldPostgres{}).Same(uri, "postgres://jane@h:1,i:2/shop"); err != nil || !same {
		t.Errorf("another user of one database: %v, %v", same, err)
	}
	if same, err := (oldPostgres{}).Same(uri, "postgres://bill@h:1/other"); err != nil || same {
		t.Errorf("another database: %v, %v", same, err)
	}
	if name := (newPostgres{}).Naming("postgres://h", "todo"); name != "postgres://h/todo" {
		t.Error(name)
	}
}

func TestACopyIsNotTheSame(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "sqlite:" + path
	}
	a, copied := file("a/t.db"), file("b/t.db")
	if err := os.Link(filepath.Join(dir, "a/t.db"), filepath.Join(dir, "a/u.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		other string
		same  bool
	}{
		{a, true}, {copied, false},
		{"sqlite:" + dir + "/a/u.db", false}, // the same file, whose -wal would be another
		{"sqlite:" + dir + "/c/t.db", true},
	} {
		if same, err := (sqliteDriver{}).Same(a, c.other); same != c.same || err != nil {
			t.Errorf("%s: %v, %v", c.other, same, err)
		}
	}
	if _, err := (sqliteDriver{}).Same(a, "sqlite:"+dir+"/d/t.db"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
}

func TestANewDatabaseIsNamedAndShownWithoutSecrets(t *testing.T) {
	d := mongoDriver{}
	for _, c := range []struct{ uri, name string }{
		{"mongodb://h:1/", ""}, {"mongodb://h:1/shop?x=1", "shop"}, {"mongodb://u:p@h:1/admin", ""},
	} {
		if name := d.Named(c.uri); name != c.name {
			t.Errorf("%s: %q", c.uri, name)
		}
	}
	p := d.Place("mongodb://bill:hunter2@h:1/", "shop")
	if p.Scheme != "mongodb" || p.Name != "shop" || strings.Contains(p.String(), "hunter2") || !strings.HasSuffix(p.String(), "h:1/, shop") {
		t.Errorf("%+v", p)
	}
	if err := d.Check("mongodb://h:x/"); !errors.Is(err, ErrURI) {
		t.Errorf("%v", err)
	}
	if _, err := d.Open(context.Background(), "mongodb://bill:hunt:er2/@h/", Options{Declaration: someDeclaration(t)}); !errors.Is(err, ErrURI) || strings.Contains(err.Error(), "er2") {
		t.Errorf("%v", err)
	}
	if text := d.Remedy("server selection: the name does not resolve: h"); !strings.Contains(text, "MIGRATE_NEW") {
		t.Errorf("%q", text)
	}
	if text := d.Remedy("disk on fire"); text != "" {
		t.Errorf("%q", text)
	}
}

func someDeclaration(t *testing.T) record.Declaration {
	t.Helper()
	d := record.Declaration{Collections: []record.Collection{{Name: "orders", ID: []string{"number"}, Fields: []record.Field{{Name: "number", Type: record.Int}}}}}
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	return d
}
