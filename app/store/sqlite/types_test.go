package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/store/storetest"
)

// collections completes a declaration.
func collections(t testing.TB, all ...record.Collection) []record.Collection {
	t.Helper()
	d := record.Declaration{Collections: all}
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	return d.Collections
}

// made makes a file with these statements.
func made(t testing.TB, statements ...string) string {
	t.Helper()
	path := filepath.Join(dir(t), "old.sqlite")
	db := plain(t, path)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return path
}

// TestValues: what is stored is read as its type, or it is unfit with a reason;
// what is read is written back as it was.
func TestValues(t *testing.T) {
	ctx := context.Background()
	const fits = ""
	for _, c := range []struct {
		field  record.Field
		column string // declared type in SQLite
		stored string // SQL
		want   string // the value's text
		unfit  string // a part of the reason
	}{
		{record.Field{Type: record.Text}, "text", `'it''s'`, "it's", fits},
		{record.Field{Type: record.Text}, "text", `'a'||char(0)||'b'`, "a\x00b", fits},
		{record.Field{Type: record.Text}, "text", `17`, "17", fits},
		{record.Field{Type: record.Text}, "text", `''`, "", fits},
		{record.Field{Type: record.Text}, "text", `NULL`, "NULL", fits},
		{record.Field{Type: record.Text, NotNull: true}, "text", `NULL`, "", "is NULL"},
		{record.Field{Type: record.Text}, "text", `x'61'`, "", "stored as a blob"},
		{record.Field{Type: record.Text}, "text", `CAST(x'ff' AS TEXT)`, "", "not valid UTF-8"},
		{record.Field{Type: record.Text}, "", `5`, "", "stored as an integer"},
		{record.Field{Type: record.Int}, "bigint", `-9223372036854775808`, "-9223372036854775808", fits},
		{record.Field{Type: record.Int}, "bigint", `'12'`, "12", fits},
		{record.Field{Type: record.Int}, "bigint", `'twelve'`, "", "stored as a text"},
		{record.Field{Type: record.Int}, "bigint", `1.5`, "", "stored as a real number"},
		{record.Field{Type: record.Int}, "boolean", `7`, "7", fits},
		{record.Field{Type: record.Float}, "real", `3`, "3", fits},
		{record.Field{Type: record.Float}, "real", `0.1`, "0.1", fits},
		{record.Field{Type: record.Float}, "real", `9e999`, "+Inf", fits},
		{record.Field{Type: record.Float}, "numeric", `5.0`, "5", fits},
		{record.Field{Type: record.Float}, "real", `'much'`, "", "stored as a text"},
		{record.Field{Type: record.Float}, "", `9007199254740993`, "", "which no double is"},
		{record.Field{Type: record.Decimal}, "text", `'12.50'`, "12.50", fits},
		{record.Field{Type: record.Decimal}, "text", `'123456789012345678901234567890.123456789'`, "123456789012345678901234567890.123456789", fits},
		{record.Field{Type: record.Decimal}, "text", `'1e3'`, "", "not a plain decimal"},
		{record.Field{Type: record.Decimal}, "text", `'012'`, "", "leading zero"},
		{record.Field{Type: record.Decimal}, "numeric", `12.5`, "12.5", fits},
		{record.Field{Type: record.Decimal}, "numeric", `0.1+0.2`, "", "keeps 15 digits"},
		{record.Field{Type: record.Decimal}, "numeric", `7`, "7", fits},
		{record.Field{Type: record.Bool}, "boolean", `1`, "true", fits},
		{record.Field{Type: record.Bool}, "boolean", `'0'`, "false", fits},
		{record.Field{Type: record.Bool}, "boolean", `2`, "", "neither 0 nor 1"},
		{record.Field{Type: record.Bool}, "boolean", `'true'`, "", "neither 0 nor 1"},
		{record.Field{Type: record.Bool}, "boolean", `NULL`, "NULL", fits},
		{record.Field{Type: record.Bool, True: "t", False: "f"}, "boolean", `'t'`, "true", fits},
		{record.Field{Type: record.Bool, True: "t", False: "f"}, "boolean", `1`, "", "neither f nor t"},
		{record.Field{Type: record.Bool, True: "Y", False: "N"}, "char(1)", `'y'`, "", "neither N nor Y"},
		{record.Field{Type: record.Bool, True: "1", False: "0"}, "text", `1`, "true", fits},
		{record.Field{Type: record.Bytes}, "blob", `x'00ff'`, `\x00ff`, fits},
		{record.Field{Type: record.Bytes}, "blob", `x''`, `\x`, fits},
		{record.Field{Type: record.Bytes}, "blob", `'text'`, "", "stored as a text"},
		{record.Field{Type: record.Timestamp}, "datetime", `'2024-02-29 12:30:00'`, "2024-02-29T12:30:00Z", fits},
		{record.Field{Type: record.Timestamp}, "timestamp", `'2024-02-29 12:30:00.123456'`, "2024-02-29T12:30:00.123456Z", fits},
		{record.Field{Type: record.Timestamp}, "timestamp", `'2024-02-29 12:30:00.120'`, "", "would come back as"},
		{record.Field{Type: record.Timestamp}, "timestamp", `'2023-02-29 12:30:00'`, "", "is not of the layout"},
		{record.Field{Type: record.Timestamp, Stored: "2006-01-02T15:04:05Z07:00"}, "text", `'2024-02-29T12:30:00+02:00'`, "", "would come back as"},
		{record.Field{Type: record.Timestamp, Stored: "s"}, "integer", `-1`, "1969-12-31T23:59:59Z", fits},
		{record.Field{Type: record.Timestamp, Stored: "ms"}, "integer", `1700000000123`, "2023-11-14T22:13:20.123Z", fits},
		{record.Field{Type: record.Timestamp, Stored: "us"}, "timestamp", `1700000000123456`, "2023-11-14T22:13:20.123456Z", fits},
		{record.Field{Type: record.Timestamp, Stored: "s"}, "integer", `9223372036854775807`, "", "9999"},
		{record.Field{Type: record.Timestamp, Stored: "s"}, "integer", `1.5`, "", "not as a number of s"},
		{record.Field{Type: record.Date}, "date", `'2024-02-29'`, "2024-02-29", fits},
		{record.Field{Type: record.Date}, "date", `'2024-2-29'`, "", "can't be read"},
		{record.Field{Type: record.UUID}, "uuid", `'0198c5a2-7d1e-7c3b-8f00-1234567890ab'`, "0198c5a2-7d1e-7c3b-8f00-1234567890ab", fits},
		{record.Field{Type: record.UUID}, "uuid", `'0198C5A2-7D1E-7C3B-8F00-1234567890AB'`, "", "would come back as"},
		{record.Field{Type: record.JSON}, "json", `'{"b": 1.50, "a": [null]}'`, `{"a":[null],"b":1.50}`, fits},
		{record.Field{Type: record.JSON}, "text", `'{"a":1,"a":2}'`, "", "twice"},
		{record.Field{Type: record.Raw}, "text", `'3 days'`, "3 days", fits},
	} {
		name := fmt.Sprintf("%s in %s: %s", c.field.Type, c.column, c.stored)
		c.field.Name = "field"
		all := collections(t, record.Collection{Name: "things", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, c.field}})
		path := made(t, `CREATE TABLE things(id INTEGER PRIMARY KEY, field `+c.column+`)`, `INSERT INTO things VALUES(1,`+c.stored+`)`)
		s := open(t, sqlite.Config{Path: path, Collections: all, Accept: []string{"decimal:things.field"}})
		contact(t, s)
		r := scan(t, s)["1"]
		if c.unfit != "" {
			if !strings.Contains(r.Unfit, c.unfit) || !strings.HasPrefix(r.Unfit, "field ") || r.Body != "" {
				t.Errorf("%s: unfit because %q, want %q; %q", name, r.Unfit, c.unfit, r.Body.Values())
			}
			if list, n, err := s.Quarantine(ctx, 0); err != nil || n != 1 || list[0].Reason != r.Unfit || list[0].ID != "1" || list[0].Collection != "things" {
				t.Errorf("%s: quarantine %+v, %v", name, list, err)
			}
			continue
		}
		if v := r.Body.Values(); r.Unfit != "" || len(v) != 1 || v[0].String() != c.want || !v[0].IsNull() && v[0].Type() != c.field.Type {
			t.Errorf("%s: read as %q, unfit %q; want %q", name, v, r.Unfit, c.want)
			continue
		}
		before := rows(t, plain(t, path), `SELECT typeof(field), quote(field) FROM things`)
		next := r
		next.Rev, next.Epoch = 2, 1
		if err := s.CompareAndSwap(ctx, 1, next, r.Pair); err != nil {
			t.Errorf("%s: written back: %v", name, err)
		}
		if after := rows(t, plain(t, path), `SELECT typeof(field), quote(field) FROM things`); after != before && c.field.Type != record.JSON && !strings.Contains(c.stored, "char(0)") {
			t.Errorf("%s: %s became %s", name, before, after)
		}
		if got := scan(t, s)["1"]; got != next {
			t.Errorf("%s: %+v became %+v", name, next, got)
		}
		s.Close()
	}
}

// TestValuesThatCantBeStored: they are refused, never rounded.
func TestValuesThatCantBeStored(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		field  record.Field
		column string
		value  string // canonical text
	}{
		{record.Field{Type: record.Decimal}, "numeric", "12.50"},
		{record.Field{Type: record.Decimal}, "numeric", "12345678901234567.5"},
		{record.Field{Type: record.Float}, "real", "NaN"},
		{record.Field{Type: record.Float}, "real", "-0"},
		{record.Field{Type: record.Timestamp, Stored: "s"}, "integer", "2024-02-29T12:30:00.5Z"},
		{record.Field{Type: record.Timestamp, Stored: "2006-01-02 15:04:05"}, "text", "2024-02-29T12:30:00.5Z"},
		{record.Field{Type: record.Raw}, "", "\xff"},
		{record.Field{Type: record.JSON}, "numeric", "1.50"},
	} {
		c.field.Name = "field"
		all := collections(t, record.Collection{Name: "things", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, c.field}})
		s := open(t, sqlite.Config{Path: made(t, `CREATE TABLE things(id INTEGER PRIMARY KEY, field `+c.column+`)`), Collections: all, Accept: []string{"decimal:things.field"}})
		contact(t, s)
		v, err := record.Parse(c.field.Type, c.value)
		if err != nil {
			v = record.UncheckedText(c.value)
		}
		id, err := record.NewID("things", record.OfInt(1))
		if err != nil {
			t.Fatal(err)
		}
		r := sqlite.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: record.NewBody(v)}
		what := fmt.Sprintf("%s %s in %s", c.field.Type, c.value, c.column)
		only(t, "swap "+what, s.CompareAndSwap(ctx, 1, r, store.Pair{}), store.ErrUnfit)
		only(t, "put "+what, s.PutIfNewer(ctx, 1, r), store.ErrUnfit)
		if got := scan(t, s); len(got) != 0 {
			t.Errorf("%s: %v", what, got)
		}
		s.Close()
	}
}

// weird is a declaration whose names are as bad as SQLite lets them be.
func weird(t testing.TB) []record.Collection {
	return collections(t,
		record.Collection{Name: "select", Table: `a "b" 'c';--`, ID: []string{"x", "n"}, Fields: []record.Field{
			{Name: "x", Column: `"; DROP`, Type: record.Text}, {Name: "n", Column: "rowid", Type: record.Int}, {Name: "body", Column: "k1", Type: record.Text},
		}, Lists: [][]string{{"body"}}},
		record.Collection{Name: "keys", Table: "keys", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.UUID}}},
		record.Collection{Name: "é", Table: "numbers", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "t", Column: "pending", Type: record.Text}}},
	)
}

const weirdSQL = `CREATE TABLE "a ""b"" 'c';--"("""; DROP" text not null, rowid integer, k1 text, PRIMARY KEY("""; DROP", rowid));
	CREATE TABLE keys(id text);
	CREATE TABLE numbers(id integer, pending text);`

// TestNamesAndComposites: any name is quoted, ids of several columns are in the
// order of their types, and foreign changes of such ids are followed.
func TestNamesAndComposites(t *testing.T) {
	ctx := context.Background()
	path := made(t, weirdSQL, `INSERT INTO "a ""b"" 'c';--" VALUES('b',-5,'x'),('b',10,'x'),('b',9,NULL),('a',1,'x'),('a'||char(0),1,'x')`,
		`INSERT INTO keys VALUES('0198c5a2-7d1e-7c3b-8f00-1234567890ab'),('0198C5A2-7D1E-7C3B-8F00-1234567890AB'),('00000000-0000-0000-0000-000000000000')`,
		`INSERT INTO numbers VALUES(1,'x'),(1,'again'),(-7,'x'),('text','x'),(NULL,'x'),(2.5,'x'),(10,'x')`)
	s := open(t, sqlite.Config{Path: path, Collections: weird(t)})
	if c := contact(t, s); c.Rows != 10 || c.Quarantined != 5 {
		t.Errorf("%+v", c)
	}
	if err := s.Guarded(ctx); err != nil {
		t.Error(err)
	}
	order := func() string {
		var all []string
		for after := record.ID(""); ; {
			page, _, err := s.Scan(ctx, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				text := fmt.Sprintf("%s%q@%d", r.ID.Collection()[:1], r.ID.String(), r.Rev)
				if r.Deleted {
					text += "-"
				}
				all = append(all, text)
			}
			if page.End {
				return strings.ReplaceAll(strings.ReplaceAll(strings.Join(all, " "), `\"`, `'`), `"`, "")
			}
			after = page.Next
		}
	}
	want := `k00000000-0000-0000-0000-000000000000@1 k0198c5a2-7d1e-7c3b-8f00-1234567890ab@1 ` +
		`s['a','1']@1 s['a\\u0000','1']@1 s['b','-5']@1 s['b','9']@1 s['b','10']@1 ` + "\xc3-7@1 \xc31@1 \xc310@1"
	if got := order(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	db := plain(t, path)
	if _, err := db.Exec(`UPDATE "a ""b"" 'c';--" SET rowid=11 WHERE """; DROP"='b' AND rowid=10; DELETE FROM numbers WHERE id=10;
		REPLACE INTO "a ""b"" 'c';--" VALUES('a',1,'y'); UPDATE keys SET id='00000000-0000-0000-0000-000000000001' WHERE id LIKE '0198C5A2%' AND id<'0198a';
		INSERT INTO "a ""b"" 'c';--"(oid,"""; DROP",rowid) SELECT oid,'z',0 FROM "a ""b"" 'c';--" WHERE rowid=9`); err == nil {
		t.Error("a taken row number is granted")
	}
	if _, err := db.Exec(`REPLACE INTO "a ""b"" 'c';--"(oid,"""; DROP",rowid) SELECT oid,'z',0 FROM "a ""b"" 'c';--" WHERE rowid=9`); err != nil {
		t.Error(err)
	}
	want = `k00000000-0000-0000-0000-000000000000@1 k00000000-0000-0000-0000-000000000001@1 k0198c5a2-7d1e-7c3b-8f00-1234567890ab@1 ` +
		`s['a','1']@2 s['a\\u0000','1']@1 s['b','-5']@1 s['b','9']@2- s['b','10']@2- s['b','11']@1 s['z','0']@1 ` + "\xc3-7@1 \xc31@1 \xc310@2-"
	if got := order(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, wrong := range []string{`INSERT INTO keys VALUES('0198C5A2-7D1E-7C3B-8F00-1234567890AC')`, `INSERT INTO numbers VALUES('more text','x')`,
		`INSERT INTO numbers VALUES(NULL,'x')`, `UPDATE numbers SET id=1.5 WHERE id=1`} {
		if _, err := db.Exec(wrong); err == nil || !strings.Contains(err.Error(), "id must be") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	filter, err := weird(t)[0].Filter(record.Equals{Field: "body"}, record.Equals{Field: "x", Value: record.UncheckedText("z")})
	if err != nil {
		t.Fatal(err)
	}
	if page, _, err := s.List(ctx, filter, "", 5); err != nil || len(page.Records) != 1 || !page.End {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestShop: a declaration with every type is created, and stored as it is sent.
func TestShop(t *testing.T) {
	s := open(t, sqlite.Config{Path: filepath.Join(dir(t), "shop.sqlite"), Create: true, Collections: storetest.Shop().Collections})
	contact(t, s)
	if err := s.Guarded(context.Background()); err != nil {
		t.Error(err)
	}
}
