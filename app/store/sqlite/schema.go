package sqlite

import (
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// commonSQL is what the protocol keeps beside all tables. The guard's columns
// are as many as the longest id has.
func commonSQL(tables []*table) []string {
	most := 1
	for _, t := range tables {
		most = max(most, len(t.key))
	}
	ks := list(most, ",", func(n int) string { return fmt.Sprintf("k%d", n) })
	return []string{
		`CREATE TABLE migrate_fence(one INTEGER PRIMARY KEY CHECK(one=1), format INT NOT NULL, migration TEXT NOT NULL, declaration TEXT NOT NULL,
  epoch INT NOT NULL, prim TEXT NOT NULL, state TEXT NOT NULL, token TEXT, deadline INT, accepted INT NOT NULL DEFAULT 0, rules TEXT NOT NULL DEFAULT '', journal TEXT NOT NULL DEFAULT '', copy TEXT NOT NULL DEFAULT '')`,
		`CREATE TABLE migrate_guard(collection TEXT NOT NULL, ` + list(most, ", ", func(n int) string { return fmt.Sprintf("k%d NOT NULL DEFAULT ''", n) }) +
			`, PRIMARY KEY(collection,` + ks + `)) WITHOUT ROWID`,
		`CREATE TABLE migrate_collection(name TEXT NOT NULL PRIMARY KEY, filled INT NOT NULL, position TEXT NOT NULL DEFAULT '', again INT NOT NULL DEFAULT 0) WITHOUT ROWID`,
	}
}

// companionSQL is the companion of a table and the indexes on it.
func (t *table) companionSQL(sh shape) []string {
	ks := t.keys(",", func(k, _ string) string { return k })
	typed := list(len(t.key), ", ", func(n int) string {
		col, _ := sh.column(t.key[n-1].Column)
		return strings.TrimSpace(fmt.Sprintf("k%d %s", n, affinity(col.declared))) + " NOT NULL"
	})
	index := func(what, where string) string {
		return `CREATE INDEX ` + t.object(what) + ` ON ` + t.companion + `(` + ks + `) WHERE ` + where
	}
	return []string{
		`CREATE TABLE ` + t.companion + `(` + typed + `, rev INT NOT NULL, epoch INT NOT NULL, pending INT NOT NULL, deleted INT NOT NULL,
  request TEXT, unfit TEXT, doubt INT NOT NULL DEFAULT 0, PRIMARY KEY(` + ks + `)) WITHOUT ROWID`,
		index("pending", "pending=1"), index("deleted", "deleted=1"), index("doubt", "doubt=1"), index("unfit", "unfit IS NOT NULL"),
	}
}

// uniqueSQL makes an id name one row.
func (t *table) uniqueSQL() string {
	return `CREATE UNIQUE INDEX ` + t.object("id") + ` ON ` + t.name + `(` + t.keys(",", func(_, c string) string { return c + " COLLATE BINARY" }) + `)`
}

// listsSQL makes pages of the declared lists a walk along an index each.
func (t *table) listsSQL() []string {
	var all []string
	for n, fields := range t.Lists {
		columns := ""
		for _, name := range fields {
			f := t.fieldOf(name)
			columns += f.column()
			if f.Type != record.Bool && f.Type != record.Int {
				columns += " COLLATE BINARY"
			}
			columns += ","
		}
		all = append(all, `CREATE INDEX `+t.object(fmt.Sprintf("list%d", n+1))+` ON `+t.name+`(`+columns+
			t.keys(",", func(_, c string) string { return c + " COLLATE BINARY" })+`)`)
	}
	return all
}

// triggers returns the triggers on the table, by name, as SQLite writes them
// down.
//
// The text runs in the foreign program's SQLite, which may be as old as 3.8.2: no
// UPSERT, no RETURNING, no row values. INSERT OR IGNORE would be fatal: an outer
// REPLACE overrides its policy. Hence NOT EXISTS.
//
// The BEFORE triggers refuse by ROLLBACK, so that nothing stays locked. Nothing
// that is refused while old is primary uses it.
func (t *table) triggers(sh shape) map[string]string {
	all := map[string]string{}
	add := func(what, when, condition string, body ...string) {
		text := `CREATE TRIGGER ` + t.object(what) + ` ` + when + ` ON ` + t.name + ` WHEN ` + condition + " BEGIN\n"
		for _, statement := range body {
			text += "  " + statement + ";\n"
		}
		all["migrate_"+t.Name+"."+what] = text + "END"
	}
	const fence = ` AND NOT EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open')`
	refuse := `SELECT RAISE(ROLLBACK,'` + store.HasMoved + `')`
	guard := func(rows ...string) string {
		text := `NOT EXISTS(SELECT 1 FROM migrate_guard WHERE collection=` + quoted(t.Name)
		for _, row := range rows {
			text += ` AND ` + t.same("", row)
		}
		return text + ")"
	}
	add("bi", "BEFORE INSERT", guard("NEW")+fence, refuse)
	add("bu", "BEFORE UPDATE", guard("OLD", "NEW")+fence, refuse)
	add("bd", "BEFORE DELETE", guard("OLD")+fence, refuse)
	add("ai", "AFTER INSERT", guard("NEW"),
		`SELECT RAISE(ABORT,`+quoted("migrate: "+t.demand())+`) WHERE NOT(`+t.fits("NEW")+`)`,
		t.known("NEW", 0, ""), t.count("NEW", ""))
	fits := func(row string) string { return ` AND ` + t.fits(row) }
	add("au", "AFTER UPDATE", guard("OLD", "NEW"),
		`SELECT RAISE(ABORT,`+quoted("migrate: "+t.demand())+`) WHERE NOT(`+t.fits("NEW")+`) AND (`+t.fits("OLD")+`)`,
		t.known("OLD", 1, fits("OLD")), t.known("NEW", 0, fits("NEW")),
		t.count("OLD", ""), t.count("NEW", ` AND NOT(`+t.identical("NEW", "OLD")+`)`))
	add("ad", "AFTER DELETE", guard("OLD"),
		t.known("OLD", 1, fits("OLD")), t.count("OLD", fits("OLD")))
	if ways := t.replaced(sh); len(ways) > 0 {
		for what, when := range map[string][2]string{"i": {"INSERT", ""}, "u": {"UPDATE", ` AND NOT(` + t.identical("x", "OLD") + `)`}} {
			foreign := guard("NEW")
			but := when[1]
			if what == "u" {
				foreign = guard("OLD", "NEW")
			}
			if what == "u" || !t.hasRowid(sh) { // else the new row has no number yet: it reads as -1
				but += ` AND NOT(` + t.identical("x", "NEW") + `)`
			}
			foreign += ` AND EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open')`
			inDoubt := `EXISTS(SELECT 1 FROM ` + t.companion + ` WHERE doubt=1)`
			condition, body := t.doubtful(ways, but)
			add("d"+what, "BEFORE "+when[0], foreign+` AND (`+inDoubt+` OR `+condition+`)`, append([]string{t.certain()}, body...)...)
			add("e"+what, "AFTER "+when[0], foreign+` AND `+inDoubt, t.settle()...)
		}
	}
	return all
}

// demand says what an id must be.
func (t *table) demand() string {
	return list(len(t.key), ", ", func(n int) string { return t.key[n-1].Column + " must be " + t.key[n-1].Type.String() })
}

// same compares the companion's id, in a table of this name if any, with a row's.
func (t *table) same(table, row string) string {
	if table != "" {
		table += "."
	}
	return t.keys(" AND ", func(k, c string) string { return table + k + "=" + row + "." + c })
}

// identical compares the ids of two rows, whatever they hold.
func (t *table) identical(a, b string) string {
	return t.keys(" AND ", func(_, c string) string { return a + "." + c + " COLLATE BINARY IS " + b + "." + c })
}

// known makes a companion at this rev for a row that has none.
func (t *table) known(row string, rev int, condition string) string {
	return `INSERT INTO ` + t.companion + `(` + t.keys(",", func(k, _ string) string { return k }) + `,rev,epoch,pending,deleted) SELECT ` +
		t.keys(",", func(_, c string) string { return row + "." + c }) + fmt.Sprintf(`,%d,0,0,0`, rev) +
		` WHERE NOT EXISTS(SELECT 1 FROM ` + t.companion + ` WHERE ` + t.same("", row) + `)` + condition
}

// count makes a change of the record: whether it is a deletion is what the table
// says, never the event.
func (t *table) count(row, condition string) string {
	return `UPDATE ` + t.companion + ` SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,unfit=NULL,doubt=0,deleted=NOT EXISTS(SELECT 1 FROM ` +
		t.name + ` x WHERE ` + t.same(t.companion, "x") + `) WHERE ` + t.same("", row) + condition
}

// replaced returns the conditions under which a statement may replace a row x
// silently: by the row's number, or by a second unique key.
func (t *table) replaced(sh shape) []string {
	var ways []string
	if number := sh.numbered(); !t.isRowid(sh) && number != "" {
		ways = append(ways, "x."+number+"=NEW."+number)
	}
	for _, u := range t.seconds(sh) {
		if !u.plain() {
			continue // the person has accepted it
		}
		way := ""
		for n, name := range u.columns {
			if n > 0 {
				way += " AND "
			}
			way += "x." + ident(name) + " COLLATE " + ident(u.collations[n]) + "=NEW." + ident(name)
		}
		ways = append(ways, way)
	}
	return ways
}

// doubtful marks the records whose rows may be replaced: what becomes of them is
// known after the statement only.
func (t *table) doubtful(ways []string, but string) (condition string, body []string) {
	other := but + ` AND ` + t.fits("x")
	for n, way := range ways {
		from := ` FROM ` + t.name + ` x WHERE ` + way + other
		if n > 0 {
			condition += " OR "
		}
		condition += `EXISTS(SELECT 1` + from + `)`
		body = append(body,
			`INSERT INTO `+t.companion+`(`+t.keys(",", func(k, _ string) string { return k })+`,rev,epoch,pending,deleted) SELECT `+
				t.keys(",", func(_, c string) string { return "x." + c })+`,1,0,0,0`+from+
				` AND NOT EXISTS(SELECT 1 FROM `+t.companion+` m WHERE `+t.same("m", "x")+`)`,
			`UPDATE `+t.companion+` SET doubt=1 WHERE `+t.keys(" AND ", func(k, c string) string { return k + "=(SELECT x." + c + from + ")" }))
	}
	return condition, body
}

// certain ends every doubt. A statement that inserts nothing after all, such as
// INSERT OR IGNORE, leaves some behind, which no later statement may settle.
func (t *table) certain() string { return `UPDATE ` + t.companion + ` SET doubt=0 WHERE doubt=1` }

// settle decides on the records in doubt: one whose row is there is as it was.
func (t *table) settle() []string {
	return []string{
		`UPDATE ` + t.companion + ` SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,unfit=NULL,deleted=1 WHERE doubt=1 AND deleted=0 AND NOT EXISTS(SELECT 1 FROM ` +
			t.name + ` x WHERE ` + t.same(t.companion, "x") + `)`,
		t.certain(),
	}
}

// createSQL makes the table in a fresh file, as the declaration has it.
func (t *table) createSQL() []string {
	if t.Name == "tasks" && t.Table == "tasks" && len(t.Fields) == 4 { // the original's own text
		return []string{`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
			`CREATE INDEX tasks_assignee_done ON tasks(assignee, done)`}
	}
	types := map[record.Type]string{
		record.Text: "text", record.Int: "integer", record.Float: "real", record.Decimal: "text", record.Bool: "boolean", record.Bytes: "blob",
		record.Timestamp: "text", record.Date: "text", record.UUID: "text", record.JSON: "text", record.Raw: "text",
	}
	columns := make([]string, len(t.Fields))
	for n, f := range t.Fields {
		columns[n] = ident(f.Column) + " " + types[f.Type]
		if _, number := units[f.Stored]; number {
			columns[n] = ident(f.Column) + " integer"
		}
	}
	return []string{`CREATE TABLE ` + t.name + `(` + strings.Join(columns, ", ") + `, PRIMARY KEY(` + t.keys(",", func(_, c string) string { return c }) + `))`}
}
