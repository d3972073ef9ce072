package sqlite

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// against returns an error that lists every rule that stands in the way.
func against(rules []store.Rule) error {
	var all []string
	for _, r := range rules {
		text := r.Detail
		if r.Meaning != "" {
			text += ": " + r.Meaning
		}
		switch r.Verdict {
		case store.Refused:
			all = append(all, text)
		case store.Open:
			all = append(all, text+" (to accept that: --accept "+r.Name+")")
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%w: nothing was changed: %s", store.ErrUnsuited, strings.Join(all, "; "))
}

// inquiry collects the rules of one table.
type inquiry struct {
	*table
	shape
	rules []store.Rule
}

// add notes a rule: what it is and, behind a colon, what it means.
func (q *inquiry) add(v store.Verdict, name, format string, args ...any) {
	detail, meaning, _ := strings.Cut(fmt.Sprintf(format, args...), ": ")
	q.rules = append(q.rules, store.Rule{Collection: q.Name, Name: name, Verdict: v, Detail: detail, Meaning: meaning})
}

// askAll returns the rules of every table. A table that is missing is refused
// unless it may be created.
func (s *Store) askAll(ctx context.Context, c *conn, accept []string, create bool) (rules []store.Rule, err error) {
	var encoding string
	if err := c.QueryRowContext(ctx, `PRAGMA encoding`).Scan(&encoding); err != nil {
		return nil, err
	}
	if encoding != "UTF-8" {
		rules = append(rules, store.Rule{Name: "encoding", Verdict: store.Refused, Detail: "the file is encoded in " + encoding + ", only UTF-8 is supported"})
	}
	for _, t := range s.tables {
		q := inquiry{table: t}
		if q.shape, err = t.look(ctx, c); err != nil {
			return nil, err
		}
		if err := q.ask(ctx, c, create, s.tables); err != nil {
			return nil, err
		}
		rules = append(rules, q.rules...)
	}
	taken, err := s.takenNames(ctx, c)
	if err != nil {
		return nil, err
	}
	rules = append(rules, taken...)
	for n, r := range rules {
		if r.Verdict == store.Open && slices.Contains(accept, r.Name) {
			rules[n].Verdict = store.Accepted
		}
	}
	return rules, nil
}

// takenNames refuses a file that has somebody's own table, index or trigger where
// one of ours would be.
func (s *Store) takenNames(ctx context.Context, c *conn) (rules []store.Rule, err error) {
	rows, err := c.QueryContext(ctx, `SELECT type, name FROM sqlite_master WHERE name LIKE 'migrate\_%' ESCAPE '\' AND NOT EXISTS(SELECT 1 FROM sqlite_master WHERE name='migrate_fence' AND sql LIKE '%declaration%') ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name string
		if err := rows.Scan(&kind, &name); err != nil {
			return nil, err
		}
		if s.isOurs(name) {
			rules = append(rules, store.Rule{Name: "name:" + name, Verdict: store.Refused, Detail: "the file has a " + kind + " called " + name + ", which is a name of ours", Remedy: "give it another name"})
		}
	}
	return rules, rows.Err()
}

// isOurs reports whether the take-over makes something of this name.
func (s *Store) isOurs(name string) bool {
	name = strings.ToLower(name)
	for _, common := range taken {
		if name == "migrate_"+common {
			return true
		}
	}
	return slices.ContainsFunc(s.tables, func(t *table) bool {
		companion := strings.ToLower("migrate_" + t.Name)
		return name == companion || strings.HasPrefix(name, companion+".")
	})
}

func (q *inquiry) ask(ctx context.Context, c *conn, create bool, tables []*table) error {
	switch {
	case !q.found && create:
		return nil
	case !q.found:
		q.add(store.Refused, "table:"+q.Table, "the file has no table %s", q.Table)
		return nil
	case q.kind != "table" || q.withoutRowid:
		q.add(store.Refused, "table:"+q.Table, "%s is not an ordinary table with row ids", q.Table)
		return nil
	case q.numbered() == "":
		q.add(store.Refused, "rowid:"+q.Table, "columns of the table %s are called rowid, oid and _rowid_: they hide the number by which a program can replace a row unseen", q.Table)
		return nil
	case q.shape.name != q.Table:
		q.add(store.Refused, "table:"+q.Table, "the table is called %s, not %s: declare it so", q.shape.name, q.Table)
	}
	q.fields()
	if err := q.collations(ctx, c); err != nil {
		return err
	}
	q.others()
	q.indexes()
	q.text()
	if err := q.references(ctx, c, tables); err != nil {
		return err
	}
	return q.programs(ctx, c, tables)
}

// fields asks whether each declared column carries its type.
func (q *inquiry) fields() {
	for _, f := range slices.Concat(q.key, q.body) {
		col, ok := q.column(f.Column)
		at := "column:" + q.Table + "." + f.Column
		if !ok {
			q.add(store.Refused, at, "the table %s has no column %s: it has %s", q.Table, f.Column, q.columnNames())
			continue
		}
		if col.generated {
			q.add(store.Refused, at, "the column %s of the table %s is generated: it can't be written; don't declare it", f.Column, q.Table)
		}
		if why := f.carries(affinity(col.declared)); why != "" {
			q.add(store.Refused, at, "the column %s of the table %s is declared %q, %s", f.Column, q.Table, col.declared, why)
		}
		if a := affinity(col.declared); f.Type == record.Decimal && a != "TEXT" && a != "" && a != "BLOB" {
			q.add(store.Open, "decimal:"+q.Table+"."+f.Column, "the column %s of the table %s keeps a number, not its digits: a decimal such as 1.50, which it would store as 1.5, is refused when the service writes it, and one that the new database takes isn't copied back; declare the column TEXT, or write decimals without zeros at the end", f.Column, q.Table)
		}
		if col.notNull && !f.NotNull {
			q.add(store.Open, "notnull:"+q.Table+"."+f.Column, "the column %s of the table %s is NOT NULL and the field %s isn't: a NULL that the new database takes can't be copied back; declare it null: false", f.Column, q.Table, f.Name)
		}
	}
}

// collations asks whether ids of several columns are compared by their bytes.
func (q *inquiry) collations(ctx context.Context, c *conn) error {
	if len(q.key) == 1 {
		return nil
	}
	for _, f := range q.key {
		if _, ok := q.column(f.Column); !ok || f.Type != record.Text {
			continue
		}
		by, err := q.collation(ctx, c, f.Column)
		if err != nil {
			return err
		}
		if !strings.EqualFold(by, "BINARY") {
			q.add(store.Refused, "collation:"+q.Table+"."+f.Column, "the column %s of the id compares by %s: two ids that are one there are two in the new database", f.Column, by)
		}
	}
	return nil
}

func (q *inquiry) columnNames() string {
	names := make([]string, len(q.columns))
	for n, col := range q.columns {
		names[n] = col.name
	}
	return strings.Join(names, ", ")
}

// carries returns why a column of this affinity doesn't carry the field, "" if
// it does.
func (f field) carries(affinity string) string {
	number := f.Type == record.Int || f.Type == record.Float
	if _, ok := units[f.Stored]; ok {
		number = true
	}
	switch {
	case f.Loose && f.Type == record.Bool:
		return ""
	case f.Loose && affinity != "TEXT":
		return "not as text"
	case (f.Type == record.Text || f.Type == record.Raw) && affinity != "TEXT" && affinity != "":
		return "not as text: it keeps a text such as 007 as the number 7"
	case number && affinity == "TEXT":
		return "as text: it keeps a number as a text"
	case f.Type == record.Int && affinity == "REAL":
		return "as real: it keeps 15 digits of an integer"
	case f.Type == record.Bool && f.True == "" && affinity == "TEXT":
		return "as text: say which words mean true and false"
	}
	return ""
}

// others asks about the columns that aren't declared.
func (q *inquiry) others() {
	for _, col := range q.columns {
		if q.declares(col.name) {
			continue
		}
		if col.notNull && !col.fallback && !col.generated && !strings.EqualFold(col.name, q.number) {
			q.add(store.Refused, "notnull:"+q.Table+"."+col.name, "the column %s of the table %s is NOT NULL without a default and isn't declared: no create could work", col.name, q.Table)
			continue
		}
		q.add(store.Carried, "column:"+q.Table+"."+col.name, "the column %s of the table %s isn't declared: it stays here, as it is", col.name, q.Table)
	}
}

// indexes asks about the unique keys beyond the id.
func (q *inquiry) indexes() {
	for _, u := range q.seconds(q.shape) {
		what := "unique:" + u.name
		ours, binary := q.covers(u), !slices.ContainsFunc(u.collations, func(c string) bool { return !strings.EqualFold(c, "BINARY") })
		switch {
		case !u.plain():
			q.add(store.Open, what, "the unique index %s of the table %s is of some rows or of an expression: a record that the new database takes may not fit, and a row that a program replaces by it is missed", u.name, q.Table)
		case ours && binary:
			q.add(store.Carried, what, "the unique index %s of the table %s follows from the id", u.name, q.Table)
		case ours && len(u.columns) == len(q.key):
			q.add(store.Refused, "collation:"+u.name, "the id of the table %s is unique by the collation %s: two ids that are one there are two in the new database", q.Table, strings.Join(u.collations, ", "))
		default:
			q.add(store.Open, what, "UNIQUE(%s) of the table %s, which the new database doesn't have: a record that breaks it is taken there, isn't copied back, and the way back waits for a decision", strings.Join(u.columns, ", "), q.Table)
		}
	}
}

// covers reports whether every column of the id is part of the index.
func (q *inquiry) covers(u unique) bool {
	return !slices.ContainsFunc(q.key, func(f field) bool {
		return !slices.ContainsFunc(u.columns, func(c string) bool { return strings.EqualFold(c, f.Column) })
	})
}

var (
	check    = regexp.MustCompile(`(?is)\bCHECK\s*\(`)
	conflict = regexp.MustCompile(`(?is)\bON\s+CONFLICT\s+(REPLACE|IGNORE|FAIL|ROLLBACK)\b`)
	raise    = regexp.MustCompile(`(?is)\bRAISE\s*\(`)
	comments = regexp.MustCompile(`(?s)/\*.*?(\*/|$)|--[^\n]*`)
)

// text asks about what only the table's text tells.
func (q *inquiry) text() {
	text := comments.ReplaceAllString(q.shape.sql, " ")
	if check.MatchString(text) {
		q.add(store.Open, "check:"+q.Table, "a CHECK of the table %s, which the new database doesn't have: a record that breaks it is taken there, isn't copied back, and the way back waits for a decision", q.Table)
	}
	if found := conflict.FindString(text); found != "" {
		q.add(store.Refused, "conflict:"+q.Table, "the table %s says %s: a write of ours could remove or lose a row in silence", q.Table, strings.ToUpper(found))
	}
}

// references asks about foreign keys in both directions, which SQLite enforces
// only for a program that turns them on.
func (q *inquiry) references(ctx context.Context, c *conn, tables []*table) error {
	rows, err := c.QueryContext(ctx, `SELECT DISTINCT m.name, f."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) f
		WHERE m.type='table' AND (m.name=?1 COLLATE NOCASE OR f."table"=?1 COLLATE NOCASE)`, q.Table)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var from, to string
		if err := rows.Scan(&from, &to); err != nil {
			return err
		}
		if !strings.EqualFold(from, q.Table) && slices.ContainsFunc(tables, func(t *table) bool { return strings.EqualFold(t.Table, from) }) {
			continue // that table says so
		}
		q.add(store.Carried, "foreign-key:"+from+"."+to, "the table %s refers to %s: programs that enforce that go on doing so, ours don't, and nothing of ours cascades", from, to)
	}
	return rows.Err()
}

// ours reports whether a trigger is one that the take-over makes.
func ours(name string, tables []*table) bool {
	return slices.ContainsFunc(tables, func(t *table) bool { return strings.HasPrefix(name, "migrate_"+t.Name+".") })
}

// programs asks about triggers and views.
func (q *inquiry) programs(ctx context.Context, c *conn, tables []*table) error {
	rows, err := c.QueryContext(ctx, `SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger','view') ORDER BY name`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name, on, text string
		if err := rows.Scan(&kind, &name, &on, &text); err != nil {
			return err
		}
		text = comments.ReplaceAllString(text, " ")
		switch mine := strings.EqualFold(on, q.Table); {
		case ours(name, tables):
		case kind == "view":
			if mentions(text, "", q.Table) {
				q.add(store.Carried, "view:"+name, "the view %s reads the table %s, as before", name, q.Table)
			}
		case mentions(text, `(INTO|UPDATE(\s+OR\s+\w+)?|FROM)\s+`, q.Table) && !mine:
			q.add(store.Open, "trigger:"+name, "the trigger %s on %s writes the table %s: once the new database is primary it fails, and what fires it fails too", name, on, q.Table)
		case mine && raise.MatchString(text):
			q.add(store.Open, "trigger:"+name, "the trigger %s on %s raises an error, which the new database doesn't: a record that it refuses is taken there, isn't copied back, and the way back waits for a decision", name, on)
		case mine && slices.ContainsFunc(tables, func(t *table) bool { return mentions(text, `(INTO|UPDATE(\s+OR\s+\w+)?|DELETE\s+FROM)\s+`, t.Table) }):
			q.add(store.Open, "trigger:"+name, "the trigger %s on %s writes a table that is taken over: once the new database is primary no copy of a record that fires it can be made", name, on)
		case mine:
			q.add(store.Carried, "trigger:"+name, "the trigger %s on %s fires for our writes, too", name, on)
		}
	}
	return rows.Err()
}

// mentions reports whether SQL names a table behind these words.
func mentions(text, words, table string) bool {
	found, err := regexp.MatchString(`(?is)`+words+`["'\x60\[]?\b`+regexp.QuoteMeta(table)+`\b`, text)
	return found && err == nil
}
