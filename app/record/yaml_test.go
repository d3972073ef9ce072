package record_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"migrate.invalid/migrate/app/record"
)

const shop = `# what moves
old: sqlite:./shop.sqlite
new: mongodb://127.0.0.1:27117/shop
collections:
  orders:
    table: Orders
    id: [shop, number]
    fields:
      shop: text
      number: int
      total: {type: decimal, as: text}
      paid: {type: bool, null: false, true: t, false: f}
      placed: {column: placed_at, type: timestamp, stored: "2006-01-02 15:04:05"}
    lists: [[shop, paid]]
  customers:
    id: key
    fields:
      key: uuid
      name: text
`

func read(t *testing.T, text string) record.Declaration {
	t.Helper()
	d, err := record.ReadYAML("migrate.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReadYAML(t *testing.T) {
	want := record.Declaration{
		Old: "sqlite:./shop.sqlite",
		New: "mongodb://127.0.0.1:27117/shop",
		Collections: []record.Collection{{
			Name: "orders", Table: "Orders", ID: []string{"shop", "number"},
			Fields: []record.Field{
				{Name: "shop", Column: "shop", Type: record.Text, NotNull: true},
				{Name: "number", Column: "number", Type: record.Int, NotNull: true},
				{Name: "total", Column: "total", Type: record.Decimal, As: "text"},
				{Name: "paid", Column: "paid", Type: record.Bool, NotNull: true, True: "t", False: "f"},
				{Name: "placed", Column: "placed_at", Type: record.Timestamp, As: "int", Stored: "2006-01-02 15:04:05"},
			},
			Lists: [][]string{{"shop", "paid"}},
		}, {
			Name: "customers", Table: "customers", ID: []string{"key"},
			Fields: []record.Field{
				{Name: "key", Column: "key", Type: record.UUID, NotNull: true},
				{Name: "name", Column: "name", Type: record.Text},
			},
		}},
	}
	if diff := cmp.Diff(want, read(t, shop)); diff != "" {
		t.Error(diff)
	}
}

// Each fault of a file is told with line, column and the way to mend it.
func TestReadYAMLRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "table: Orders", "tabel: Orders", `migrate.yaml:6:5: collections.orders.tabel: is no key here; did you mean "table"?`},
		{"unknown key of a field", "as: text", "az: text", `migrate.yaml:11:30: collections.orders.fields.total.az: is no key here; did you mean "as"?`},
		{"unknown key at the top", "new: mongodb", "now: mongodb", `migrate.yaml:3:1: now: is no key here; did you mean "new"?`},
		{"unknown type", "number: int", "number: itn", `migrate.yaml:10:15: collections.orders.fields.number: "itn" is no type; did you mean "int"?`},
		{"no type", "total: {type: decimal, as: text}", "total: {column: t}", `migrate.yaml:11:7: collections.orders.fields.total.type: a type is needed: text,`},
		{"a key twice", "number: int", "shop: int", `migrate.yaml:10:7: collections.orders.fields.shop: is there twice`},
		{"a collection twice", "customers:", "orders:", `migrate.yaml:15:3: collections.orders: is there twice`},
		{"id that is no field", "id: key", "id: kye", `migrate.yaml:16:5: collections.customers.id.0: there is no field "kye"; did you mean "key"?`},
		{"id of a type that can't be one", "id: [shop, number]", "id: [shop, total]", `migrate.yaml:11:15: collections.orders.fields.total.type: an id can't have a column of type decimal`},
		{"id column twice", "id: [shop, number]", "id: [shop, shop]", `migrate.yaml:7:16: collections.orders.id.1: "shop" is in the id twice`},
		{"list by an unknown field", "[[shop, paid]]", "[[shop, padi]]", `migrate.yaml:14:13: collections.orders.lists.0: there is no field "padi"; did you mean "paid"?`},
		{"list by a type with several spellings", "[[shop, paid]]", "[[total]]", `collections.orders.lists.0: a list can't be filtered by total`},
		{"list that is none", "[[shop, paid]]", "shop", `migrate.yaml:14:12: collections.orders.lists: want a list, not "shop"`},
		{"form of another type", "as: text", "as: ms", `migrate.yaml:11:30: collections.orders.fields.total.as: "ms" is no form of decimal: decimal, text`},
		{"one word for both", "false: f", "false: t", `collections.orders.fields.paid.false: "t" can't mean both`},
		{"half of the words", ", false: f", "", `collections.orders.fields.paid: both words are needed`},
		{"layout that loses the day", `"2006-01-02 15:04:05"`, `"15:04:05"`, `collections.orders.fields.placed.stored: "15:04:05" leaves a part of the time out`},
		{"layout that loses the century", `"2006-01-02 15:04:05"`, `"06-01-02 15:04:05"`, `leaves a part of the time out`},
		{"unit of time that is none", `"2006-01-02 15:04:05"`, `ns`, `"ns" leaves a part of the time out; want s, ms, us`},
		{"null that is no truth value", "null: false", "null: maybe", `migrate.yaml:12:32: collections.orders.fields.paid.null: want true or false, not "maybe"`},
		{"two columns in one", "column: placed_at", "column: PAID", `collections.orders.fields.placed.column: the column PAID is that of field paid too`},
		{"two tables in one", "    id: key", "    table: ORDERS\n    id: key", `collections.customers.table: the table ORDERS is that of collection orders too`},
		{"reserved name", "name: text", "_migrate: text", `collections.customers.fields._migrate: _migrate is a name of the new database's own, or of the protocol`},
		{"name with a dot", "name: text", "na.me: text", `collections.customers.fields.na.me: MongoDB has no names that begin with $ or contain a dot; name the column apart: {column: "na.me", …}`},
		{"empty text", "old: sqlite:./shop.sqlite", `old: ""`, `migrate.yaml:2:6: old: is empty; leave the key out for the default`},
		{"alias", "name: text", "name: &a text", `collections.customers.fields.name: want a mapping, each key one of the keys as, column, false, loose, null, stored, true, type, not an anchor or alias`},
		{"tag", "id: key", "id: !!str key", `collections.customers.id: want a list, not a tag, which this file can't have`},
		{"nothing where a mapping is wanted", "    fields:\n      key: uuid\n      name: text\n", "    fields:\n", `collections.customers.fields: want a mapping, each key the name of a field, not nothing`},
		{"not YAML", "id: key", "id: [key", `migrate.yaml:17:5: `},
		{"two documents", "# what moves", "a: b\n---", `migrate.yaml: holds 2 YAML documents; want one`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(shop, c.old, c.new, 1)
			if text == shop {
				t.Fatalf("%q is not in the file", c.old)
			}
			_, err := record.ReadYAML("migrate.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
		})
	}
}

// Several faults are told at once, in the order of the file.
func TestReadYAMLTellsEveryFault(t *testing.T) {
	text := strings.NewReplacer("table: Orders", "tabel: Orders", "number: int", "number: itn", "id: key", "idd: key").Replace(shop)
	_, err := record.ReadYAML("migrate.yaml", []byte(text))
	if err == nil {
		t.Fatal("no error")
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.Split(line, ": ")[0])
	}
	if diff := cmp.Diff([]string{"migrate.yaml:6:5", "migrate.yaml:10:15", "migrate.yaml:16:5"}, lines); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}

func TestReadYAMLOfNothing(t *testing.T) {
	for _, text := range []string{"", "# a comment\n", "old: sqlite:x\n", "collections: {}\n"} {
		_, err := record.ReadYAML("migrate.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "there is no collection") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzReadYAML(f *testing.F) {
	f.Add(shop)
	f.Add("collections: {a: {id: [b], fields: {b: text}}}")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := record.ReadYAML("migrate.yaml", []byte(text))
		if err == nil {
			if err := d.Complete(); err != nil {
				t.Errorf("read without a fault, then: %v", err)
			}
		}
	})
}
