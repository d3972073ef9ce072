package storetest

import "migrate.invalid/migrate/app/record"

// Tasks is the declaration of one collection, with ids that are texts and
// values that are read loosely.
func Tasks() record.Declaration { return declared(collection) }

// collection is what most records of the suite are of.
var collection = record.Collection{
	Name: "tasks", Table: "tasks", ID: []string{"id"},
	Fields: []record.Field{
		{Name: "id", Column: "id", Type: record.Text, NotNull: true},
		{Name: "assignee", Column: "assignee", Type: record.Text, NotNull: true, Loose: true},
		{Name: "description", Column: "description", Type: record.Text, NotNull: true, Loose: true},
		{Name: "done", Column: "done", Type: record.Bool, NotNull: true, Loose: true},
	},
	Lists: [][]string{{"assignee", "done"}},
}

// Names of the collections of [Shop], in the order of ids.
const (
	accounts = "accounts"
	items    = "items"
	orders   = "orders"
)

// Shop is a declaration of three collections: accounts, by a uuid; items, by an
// integer, with a field of every type and form; orders, by a text and an integer.
func Shop() record.Declaration {
	return declared(
		record.Collection{
			Name: accounts, ID: []string{"id"},
			Fields: []record.Field{
				{Name: "id", Type: record.UUID},
				{Name: "name", Type: record.Text},
				{Name: "open", Column: "is_open", Type: record.Bool, NotNull: true, True: "t", False: "f"},
			},
		},
		record.Collection{
			Name: items, Table: "Items", ID: []string{"number"},
			Fields: []record.Field{
				{Name: "number", Type: record.Int},
				{Name: "title", Type: record.Text},
				{Name: "stock", Type: record.Int},
				{Name: "weight", Type: record.Float},
				{Name: "price", Type: record.Decimal},
				{Name: "exact", Type: record.Decimal, As: "text"},
				{Name: "sold", Type: record.Bool},
				{Name: "picture", Type: record.Bytes},
				{Name: "made", Type: record.Timestamp, Stored: "us"},
				{Name: "seen", Type: record.Timestamp, As: "text", Stored: "2006-01-02T15:04:05.999999Z"},
				{Name: "checked", Type: record.Timestamp, As: "ms", Stored: "ms"},
				{Name: "day", Type: record.Date},
				{Name: "maker", Type: record.UUID},
				{Name: "tags", Type: record.JSON},
				{Name: "notes", Type: record.JSON, As: "text"},
				{Name: "size", Column: "sizes", Type: record.Raw},
			},
			Lists: [][]string{{"title"}, {"sold", "day"}, {"maker"}},
		},
		record.Collection{
			Name: orders, Table: "shop orders", ID: []string{"shop", "number"},
			Fields: []record.Field{
				{Name: "note", Type: record.Text},
				{Name: "number", Column: "no", Type: record.Int},
				{Name: "shop", Type: record.Text},
				{Name: "paid", Type: record.Bool},
				{Name: "total", Type: record.Decimal, As: "text"},
			},
			Lists: [][]string{{"shop", "paid"}, {"note"}},
		},
	)
}

// declared puts the defaults in.
func declared(collections ...record.Collection) record.Declaration {
	d := record.Declaration{Collections: collections}
	if err := d.Complete(); err != nil {
		panic("storetest: " + err.Error()) // a test completes both
	}
	return d
}
