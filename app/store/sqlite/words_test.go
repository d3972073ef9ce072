package sqlite_test

import (
	"path/filepath"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store/sqlite"
)

// A word for true that is a number is listed as it is read: stored as a text or as
// a number, where the column keeps both.
func TestListsFindANumberThatIsAWord(t *testing.T) {
	path := filepath.Join(dir(t), "flags.sqlite")
	db := plain(t, path)
	for _, statement := range []string{
		`CREATE TABLE flags(id integer primary key, up)`,
		`INSERT INTO flags VALUES(1,'1'),(2,1),(3,'0'),(4,0)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	d := record.Declaration{Old: "sqlite:" + path, New: "mongodb://localhost/x", Collections: []record.Collection{{
		Name: "flags", ID: []string{"id"}, Lists: [][]string{{"up"}},
		Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "up", Type: record.Bool, True: "1", False: "0"}},
	}}}
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	s := open(t, sqlite.Config{Path: path, Collections: d.Collections})
	contact(t, s)
	for _, up := range []bool{true, false} {
		filter, err := d.Collections[0].Filter(record.Equals{Field: "up", Value: record.OfBool(up)})
		if err != nil {
			t.Fatal(err)
		}
		page, _, err := s.List(t.Context(), filter, "", 10)
		if err != nil || len(page.Records) != 2 {
			t.Errorf("%v: %d found, %v; want 2", up, len(page.Records), err)
		}
	}
}
