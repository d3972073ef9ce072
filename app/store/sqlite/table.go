package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// table is one collection in its table, with the companion beside it: t and m in
// the statements. The columns of the companion that hold the id are k1, k2, ….
type table struct {
	record.Collection
	key, body []field

	name      string // quoted name of the table
	companion string // quoted name of the companion

	start, end record.ID // the collection's ids are between them
	sql        statements
}

// statements are those that need no value to be written.
type statements struct {
	get, gone          string
	exists             string
	create, swap       string // create: if there is a row, or if there is none
	adoptRow           string // makes (1,0) of a row without a companion real
	put, insert        string
	update, delete     string
	stored             string
	guard, unguard     string
	clear, mark        string
	scan, scanStart    string
	pending, pendStart string
}

// taken are the names that companions can't have: the protocol's own tables.
var taken = []string{"fence", "guard", "collection"}

// newTables compiles the collections, in the order of their ids.
func newTables(collections []record.Collection) ([]*table, error) {
	d := record.Declaration{Collections: slices.Clone(collections)}
	for n := range d.Collections {
		d.Collections[n].Fields = slices.Clone(d.Collections[n].Fields)
	}
	if err := d.Complete(); err != nil {
		return nil, err
	}
	tables := make([]*table, len(d.Collections))
	for n, c := range d.Collections {
		if slices.Contains(taken, strings.ToLower(c.Name)) {
			return nil, fmt.Errorf("collections.%s: the name is the protocol's own; give the collection another one and name its table: {table: %s}", c.Name, c.Table)
		}
		for _, other := range tables[:n] {
			if strings.EqualFold(other.Name, c.Name) {
				return nil, fmt.Errorf("collections.%s: another collection is called %s, and SQLite doesn't tell names apart by case", c.Name, other.Name)
			}
		}
		tables[n] = newTable(c)
	}
	slices.SortFunc(tables, func(a, b *table) int { return strings.Compare(string(a.start), string(b.start)) })
	return tables, nil
}

// declaration is what the tables are of.
func declaration(tables []*table) record.Declaration {
	var d record.Declaration
	for _, t := range tables {
		d.Collections = append(d.Collections, t.Collection)
	}
	return d
}

func newTable(c record.Collection) *table {
	t := &table{
		Collection: c, name: ident(c.Table), companion: ident("migrate_" + c.Name),
		start: record.Start(c.Name), end: record.End(c.Name),
	}
	for _, f := range c.Key() {
		t.key = append(t.key, field{f})
	}
	for _, f := range c.Body() {
		t.body = append(t.body, field{f})
	}
	t.compile()
	return t
}

// object returns the quoted name of a trigger or an index of this collection.
// No collection's name has a dot.
func (t *table) object(what string) string { return ident("migrate_" + t.Name + "." + what) }

// keys writes something for each column of the id, k being the companion's
// column and column the table's.
func (t *table) keys(separator string, item func(k, column string) string) string {
	return list(len(t.key), separator, func(n int) string { return item(fmt.Sprintf("k%d", n), t.key[n-1].column()) })
}

// bodies writes something for each column of the body.
func (t *table) bodies(separator string, item func(column string) string) string {
	return list(len(t.body), separator, func(n int) string { return item(t.body[n-1].column()) })
}

// meta reads the protocol's fields of a row: those of (1,0) if it has no
// companion.
const meta = `coalesce(m.rev,1),coalesce(m.epoch,0),coalesce(m.pending,0),coalesce(m.deleted,0),m.request,m.unfit`

func (t *table) compile() {
	params := func(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }
	ks := t.keys(",", func(k, _ string) string { return k })
	columns := t.keys(",", func(_, c string) string { return c })
	byKey := t.keys(" AND ", func(_, c string) string { return c + "=? COLLATE BINARY" })
	byK := t.keys(" AND ", func(k, _ string) string { return k + "=?" })
	values := t.values()
	row := "EXISTS(SELECT 1 FROM " + t.name + " WHERE " + byKey + ")"

	q := &t.sql
	q.get = `SELECT ` + meta + values + ` FROM ` + t.joined() + ` WHERE ` + t.keys(" AND ", func(_, c string) string { return "t." + c + "=? COLLATE BINARY" })
	q.gone = `SELECT rev,epoch,pending,1,request,unfit` + strings.Repeat(",NULL", len(t.body)) +
		` FROM ` + t.companion + ` WHERE ` + byK
	q.exists = `SELECT ` + row
	q.create = `INSERT INTO ` + t.companion + `(rev,epoch,pending,deleted,request,` + ks + `) SELECT ?,?,?,?,?,` + params(len(t.key)) +
		` WHERE ` + row + `=? ON CONFLICT DO NOTHING`
	q.swap = `UPDATE ` + t.companion + ` SET rev=?,epoch=?,pending=?,deleted=?,request=?,unfit=NULL,doubt=0 WHERE ` + byK + ` AND rev=? AND epoch=?`
	q.adoptRow = `INSERT INTO ` + t.companion + `(` + ks + `,rev,epoch,pending,deleted) SELECT ` + columns + `,1,0,0,0 FROM ` + t.name +
		` WHERE ` + byKey + ` ON CONFLICT DO NOTHING`
	q.put = `INSERT INTO ` + t.companion + `(rev,epoch,pending,deleted,request,` + ks + `) VALUES(?,?,0,?,?,` + params(len(t.key)) + `)
		ON CONFLICT DO UPDATE SET rev=excluded.rev,epoch=excluded.epoch,pending=0,deleted=excluded.deleted,request=excluded.request,unfit=NULL,doubt=0
		WHERE (excluded.rev,excluded.epoch)>(rev,epoch)`
	all := columns
	if len(t.body) > 0 {
		all += "," + t.bodies(",", func(c string) string { return c })
		q.update = `UPDATE ` + t.name + ` SET ` + t.bodies(",", func(c string) string { return c + "=?" }) + ` WHERE ` + byKey
	}
	q.insert = `INSERT INTO ` + t.name + `(` + all + `) VALUES(` + params(len(t.key)+len(t.body)) + `)`
	q.delete = `DELETE FROM ` + t.name + ` WHERE ` + byKey
	q.stored = `SELECT 1` + values + ` FROM ` + t.name + ` t WHERE ` + t.keys(" AND ", func(_, c string) string { return "t." + c + "=? COLLATE BINARY" })
	q.guard = `INSERT INTO migrate_guard(collection,` + ks + `) VALUES(` + quoted(t.Name) + `,` + params(len(t.key)) + `)`
	q.unguard = `DELETE FROM migrate_guard WHERE collection=` + quoted(t.Name) + ` AND ` + byK
	q.clear = `UPDATE ` + t.companion + ` SET pending=0 WHERE ` + byK + ` AND rev=? AND epoch=?`
	q.mark = `UPDATE ` + t.companion + ` SET unfit=? WHERE ` + byK + ` AND rev=? AND epoch=? AND deleted=0`
	q.scan, q.scanStart = t.scanSQL(">"), t.scanSQL(">=")
	q.pending, q.pendStart = t.pendingSQL(">"), t.pendingSQL(">=")
}

// values reads the body, each column behind a comma, but for fields whose value
// is known.
func (t *table) values(known ...record.Equals) string {
	return list(len(t.body), "", func(n int) string {
		if _, ok := value(known, t.body[n-1].Name); ok {
			return ""
		}
		return "," + t.body[n-1].read()
	})
}

// value returns the value that the field is known to have.
func value(known []record.Equals, field string) (record.Value, bool) {
	for _, e := range known {
		if e.Field == field {
			return e.Value, true
		}
	}
	return record.Value{}, false
}

// joined is the table with its companions. The comparison takes its collation
// from the left side, which is binary.
func (t *table) joined() string {
	return t.name + ` t LEFT JOIN ` + t.companion + ` m ON ` + t.keys(" AND ", func(k, c string) string { return "m." + k + "=t." + c })
}

// fits returns the condition under which an id can be a record's. The row is
// known by this name, or by NEW or OLD.
func (t *table) fits(row string) string {
	return list(len(t.key), " AND ", func(n int) string { return t.key[n-1].fits(row + "." + t.key[n-1].column()) })
}

// ids reads the id of the table's rows in a form that an index gives in order.
func (t *table) ids() string {
	return t.keys(",", func(_, c string) string { return "t." + c + " COLLATE BINARY" })
}

// behind compares the table's id with a position.
func (t *table) behind(comparison string) string {
	if len(t.key) == 1 {
		return t.ids() + comparison + "?"
	}
	return "(" + t.ids() + ")" + comparison + "(" + t.keys(",", func(_, _ string) string { return "?" }) + ")"
}

// behindK compares the companion's id with a position.
func (t *table) behindK(comparison string) string {
	return "(" + t.keys(",", func(k, _ string) string { return "m." + k }) + ")" + comparison + "(" + t.keys(",", func(_, _ string) string { return "?" }) + ")"
}

// order sorts by the id, whose columns come behind the six of meta.
func (t *table) order() string {
	return ` ORDER BY ` + list(len(t.key), ",", func(n int) string { return fmt.Sprint(6 + n) }) + ` LIMIT ?`
}

// scanSQL selects rows and tombstones, which are never both under one id.
func (t *table) scanSQL(comparison string) string {
	return `SELECT ` + meta + `,` + t.ids() + t.values() + ` FROM ` + t.joined() +
		` WHERE ` + t.behind(comparison) + ` AND ` + t.fits("t") + ` AND coalesce(m.deleted,0)=0
		UNION ALL SELECT m.rev,m.epoch,m.pending,1,m.request,m.unfit,` +
		t.keys(",", func(k, _ string) string { return "m." + k }) + strings.Repeat(",NULL", len(t.body)) +
		` FROM ` + t.companion + ` m WHERE m.deleted=1 AND ` + t.behindK(comparison) + t.order()
}

// pendingSQL selects what is pending. A row that was removed unseen reads as
// deleted, as it does for the original.
func (t *table) pendingSQL(comparison string) string {
	return `SELECT m.rev,m.epoch,m.pending,m.deleted OR t.` + t.key[0].column() + ` IS NULL,m.request,m.unfit,` +
		t.keys(",", func(k, _ string) string { return "m." + k }) + t.values() +
		` FROM ` + t.companion + ` m LEFT JOIN ` + t.name + ` t ON ` + t.keys(" AND ", func(k, c string) string { return "m." + k + "=t." + c }) +
		` WHERE m.pending=1 AND ` + t.behindK(comparison) + t.order()
}

// table returns the table of a record.
func (s *Store) table(id record.ID) (*table, error) {
	name := id.Collection()
	for _, t := range s.tables {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no collection %q", store.ErrUnfit, name)
}

// keyOf returns what the columns of the id hold for an id of this collection.
func (t *table) keyOf(id record.ID) ([]any, error) {
	values := id.Values()
	if len(values) != len(t.key) {
		return nil, fmt.Errorf("%w: an id of %s has %d columns, not %d", store.ErrUnfit, t.Name, len(t.key), len(values))
	}
	args := make([]any, len(values), len(values)+6)
	for n, v := range values {
		switch {
		case v.Type() != t.key[n].Type:
			return nil, fmt.Errorf("%w: %s of %s is %s, not %s", store.ErrUnfit, t.key[n].Name, t.Name, v.Type(), t.key[n].Type)
		case v.Type() == record.Int:
			args[n] = v.Int64()
		default:
			args[n] = v.String()
		}
	}
	return args, nil
}
