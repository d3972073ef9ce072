package postgres

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// table is one collection in its table, with the companion and the outbox beside
// it: t, m and o in the statements. The columns of those two that hold the id are
// k1, k2, ….
type table struct {
	record.Collection
	key, body []field

	schema, relation string // of the person's table, not quoted
	name             string // of the person's table, quoted, with its schema
	companion        string
	outbox           string
	write            string // the function that writes one record

	start, end record.ID // the collection's ids are between them
}

// newTables compiles the collections for one of the two roles, in the order of
// their ids.
func newTables(collections []record.Collection, role role) ([]*table, error) {
	d := record.Declaration{Collections: slices.Clone(collections)}
	for n := range d.Collections {
		d.Collections[n].Fields = slices.Clone(d.Collections[n].Fields)
	}
	if err := d.Complete(); err != nil {
		return nil, err
	}
	tables := make([]*table, len(d.Collections))
	for n, c := range d.Collections {
		if longest := len("truncated.") + len(c.Name); longest > maxName {
			return nil, fmt.Errorf("collections.%s: the name is too long for PostgreSQL, by %d bytes; give the collection a shorter one and name its table: {table: %s}", c.Name, longest-maxName, c.Table)
		}
		tables[n] = newTable(role.declared(c), role)
	}
	slices.SortFunc(tables, func(a, b *table) int { return strings.Compare(string(a.start), string(b.start)) })
	return tables, nil
}

// maxName is how many bytes of a name PostgreSQL keeps.
const maxName = 63

func newTable(c record.Collection, role role) *table {
	t := &table{Collection: c, start: record.Start(c.Name), end: record.End(c.Name)}
	t.schema, t.relation = qualified(c.Table)
	t.name = ident(t.schema) + "." + ident(t.relation)
	ours := func(what string) string { return ident(role.schema) + "." + ident(what+"."+c.Name) }
	t.companion, t.outbox, t.write = ours("record"), ours("outbox"), ours("write")
	for _, f := range c.Key() {
		t.key = append(t.key, field{f, role})
	}
	for _, f := range c.Body() {
		t.body = append(t.body, field{f, role})
	}
	return t
}

// qualified cuts a table's name as it is declared: with its schema, or in public.
func qualified(name string) (schema, relation string) {
	if schema, relation, ok := strings.Cut(name, "."); ok {
		return schema, relation
	}
	return "public", name
}

// ident quotes a name.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes a text.
func literal(text string) string {
	quoted := `'` + strings.ReplaceAll(text, `'`, `''`) + `'`
	if strings.Contains(text, `\`) {
		return `E` + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// list joins n items, which are counted from 1.
func list(n int, separator string, item func(n int) string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = item(i + 1)
	}
	return strings.Join(items, separator)
}

// keys writes something for each column of the id, k being ours and column the
// table's.
func (t *table) keys(separator string, item func(k string, f field) string) string {
	return list(len(t.key), separator, func(n int) string { return item(fmt.Sprintf("k%d", n), t.key[n-1]) })
}

// ks are the columns of the id that are ours, behind a name such as "m.".
func (t *table) ks(of string) string {
	return t.keys(", ", func(k string, _ field) string { return of + k })
}

// same compares the ids of a row of the table and of one of ours, in a form for
// which both have an index.
func (t *table) same(row, ours string) string {
	return t.keys(" and ", func(k string, f field) string { return f.ordered(row+f.column()) + " = " + ours + k })
}

// given are the columns of an id that is passed as texts, from the parameter on.
func (t *table) given(first int) string {
	return list(len(t.key), ", ", func(n int) string { return t.key[n-1].parameter(first + n - 1) })
}

// bodies reads the body as texts, each column behind a comma.
func (t *table) bodies() string {
	return list(len(t.body), "", func(n int) string { return ", " + t.body[n-1].read("t.") })
}

// ids reads the id of the table's rows, in the order of ids.
func (t *table) ids(row string) string {
	return t.keys(", ", func(_ string, f field) string { return f.ordered(row + f.column()) })
}

// position is where a page begins.
type position struct {
	args       []any
	comparison string
}

// behind compares an id of the table's rows with a position, whose values are the
// first parameters.
func (t *table) behind(row string, at position) string {
	return t.after(at, func(n int) string { return t.key[n-1].ordered(row + t.key[n-1].column()) })
}

// behindK is behind for an id of ours.
func (t *table) behindK(of string, at position) string {
	return t.after(at, func(n int) string { return of + fmt.Sprintf("k%d", n) })
}

func (t *table) after(at position, column func(n int) string) string {
	n := len(at.args)
	return "(" + list(n, ", ", column) + ") " + at.comparison + " (" + list(n, ", ", func(n int) string { return t.key[n-1].parameter(n) }) + ")"
}

// table returns the table of a record.
func (b *base) table(id record.ID) (*table, error) {
	name := id.Collection()
	for _, t := range b.tables {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no collection %q", store.ErrUnfit, name)
}

// keyOf returns the texts of the id's columns for an id of this collection.
func (t *table) keyOf(id record.ID) ([]any, error) {
	texts, err := t.keyTexts(id)
	args := make([]any, len(texts))
	for n, text := range texts {
		args[n] = text
	}
	return args, err
}

func (t *table) keyTexts(id record.ID) ([]string, error) {
	values := id.Values()
	if len(values) != len(t.key) {
		return nil, fmt.Errorf("%w: an id of %s has %d columns, not %d", store.ErrUnfit, t.Name, len(t.key), len(values))
	}
	texts := make([]string, len(values))
	for n, v := range values {
		if v.Type() != t.key[n].Type {
			return nil, fmt.Errorf("%w: %s of %s is %s, not %s", store.ErrUnfit, t.key[n].Name, t.Name, v.Type(), t.key[n].Type)
		}
		text, err := t.key[n].encode(v)
		if err != nil {
			return nil, err
		}
		texts[n] = *text
	}
	return texts, nil
}

// position returns that of a page after an id. A page from before every id
// includes the least one.
func (t *table) position(after record.ID) (at position, err error) {
	at.comparison = ">"
	if after <= t.start {
		at.comparison = ">="
		for _, f := range t.key {
			text, err := f.encode(f.least())
			if err != nil {
				return at, err
			}
			at.args = append(at.args, *text)
		}
		return at, nil
	}
	values := after.Values()
	if len(values) != len(t.key) {
		return at, fmt.Errorf("%w: an id of %s has %d columns, not %d", store.ErrUnfit, t.Name, len(t.key), len(values))
	}
	for n, v := range values {
		if v.Type() != t.key[n].Type {
			return at, fmt.Errorf("%w: %s of %s is %s, not %s", store.ErrUnfit, t.key[n].Name, t.Name, v.Type(), t.key[n].Type)
		}
		// The other database may have texts that no text here is: between two of ours.
		text, whole := storable(v.String())
		at.args = append(at.args, text)
		if !whole {
			break
		}
	}
	return at, nil
}

// storable cuts a text where it can't go on here: every text here that is greater
// than what is left is greater than the whole, and none is between them.
func storable(text string) (cut string, whole bool) {
	for n, r := range text {
		if r == 0 || r == utf8.RuneError && !strings.HasPrefix(text[n:], string(utf8.RuneError)) {
			return text[:n], false
		}
	}
	return text, true
}
