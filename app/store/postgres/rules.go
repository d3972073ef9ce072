package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// inquiry asks what rules one table has that the new database does not have by
// itself.
type inquiry struct {
	*table
	shape
	question
	quiet   bool // copies may be made without the person's triggers and foreign keys
	role    string
	version int
	rules   []store.Rule
}

func (q *inquiry) add(v store.Verdict, name, meaning, remedy, format string, args ...any) {
	q.rules = append(q.rules, store.Rule{Collection: q.Name, Name: name, Verdict: v, Detail: fmt.Sprintf(format, args...), Meaning: meaning, Remedy: remedy})
}

// rules asks for those of every table, and of the database.
func (o *Old) rules(ctx context.Context, t tx, ask question) (rules []store.Rule, err error) {
	var (
		encoding, role            string
		version                   int
		quiet, create, any, named bool
	)
	if err := t.QueryRow(ctx, `select getdatabaseencoding(), current_user::text, current_setting('server_version_num')::int, has_database_privilege(current_database(), 'create'), exists(select from pg_namespace where nspname = 'migrate'), exists(select from pg_roles where rolname = 'migrate' and rolcanlogin), (`+maySleepSQL+`)`).
		Scan(&encoding, &role, &version, &create, &any, &named, &quiet); err != nil {
		return nil, err
	}
	quiet = quiet || ask.script && version >= 150000 // the script grants it
	if encoding != "UTF8" {
		rules = append(rules, store.Rule{Name: "encoding", Verdict: store.Refused, Detail: "the database is encoded in " + encoding + ", only UTF8 is supported",
			Meaning: "a text of another database could not be stored", Remedy: "dump it and restore it into a database of encoding UTF8"})
	}
	if version < oldest {
		rules = append(rules, store.Rule{Name: "version", Verdict: store.Refused, Detail: fmt.Sprintf("the server is of version %d, and 13 is the oldest that is supported", version/10000),
			Meaning: "its row triggers don't do what is needed", Remedy: "upgrade the server"})
	}
	if named {
		rules = append(rules, store.Rule{Name: "role:migrate", Verdict: store.Carried, Detail: "there is a role migrate, as the schema is called that is kept beside the tables",
			Meaning: "by the default search_path it finds that schema before public: what it makes without a schema's name goes there, and tables called collection, fence or gate are hidden from it",
			Remedy:  "alter role migrate set search_path to public"})
	}
	if !ask.there && !ask.script {
		if any {
			rules = append(rules, store.Rule{Name: "schema", Verdict: store.Refused, Detail: "there is a schema migrate, which is not of a take-over",
				Meaning: "what is kept beside the tables needs that name", Remedy: "alter schema migrate rename to …"})
		}
		if !create {
			rules = append(rules, store.Rule{Name: "rights", Verdict: store.Refused, Detail: "the role " + role + " may not create a schema in the database",
				Meaning: "what is kept beside the tables has a schema of its own", Remedy: byScript})
		}
	}
	for _, of := range o.tables {
		q := inquiry{table: of, question: ask, quiet: quiet, role: role, version: version}
		if q.shape, err = of.look(ctx, t); err != nil {
			return nil, err
		}
		if err := q.ask(ctx, t, o.cfg.Create && !ask.script); err != nil {
			return nil, err
		}
		rules = append(rules, q.rules...)
	}
	for n, r := range rules {
		if r.Verdict == store.Open && slices.Contains(ask.accept, r.Name) {
			rules[n].Verdict = store.Accepted
		}
	}
	return rules, nil
}

// oldest is the least version whose row triggers on partitions and functions are
// what the protocol needs, as server_version_num has it.
const oldest = 130000

// byScript is what a role without the rights can do.
const byScript = "migrate adopt --sql prints what the tables' owner or a superuser runs once; migrate adopt goes on from there"

func (q *inquiry) ask(ctx context.Context, t tx, create bool) error {
	if q.oid == 0 {
		if !create {
			q.add(store.Refused, "table:"+q.Table, "there is nothing to move", "declare the table by its exact name, with its schema if that is not public", "there is no table %s", q.name)
		}
		return nil
	}
	var (
		kind, persistence string
		children, child   bool
		mine, security    bool
	)
	err := t.QueryRow(ctx, `select relkind::text, relpersistence::text, exists(select from pg_inherits where inhparent = c.oid), exists(select from pg_inherits where inhrelid = c.oid),
		pg_has_role(current_user, relowner, 'usage'), relrowsecurity from pg_class c where c.oid = $1::oid`, q.oid).
		Scan(&kind, &persistence, &children, &child, &mine, &security)
	if err != nil {
		return err
	}
	at := "table:" + q.Table
	switch {
	case kind == "p" || child:
		q.add(store.Refused, at, "rows can come and go with their partition, and no trigger sees that", "declare a table that is not partitioned", "%s is partitioned or a partition", q.name)
	case kind == "v" || kind == "m":
		q.add(store.Refused, at, "a view has no rows of its own", "declare the table behind it", "%s is a view", q.name)
	case kind == "f":
		q.add(store.Refused, at, "its rows are on another server, whose programs no trigger here sees", "take the table over where it is", "%s is a foreign table", q.name)
	case kind != "r":
		q.add(store.Refused, at, "only a table's rows can be moved", "", "%s is no table", q.name)
	case children:
		q.add(store.Refused, at, "its children can repeat its ids, and its triggers don't fire for them", "alter table … no inherit "+q.name, "%s has tables that inherit from it", q.name)
	case persistence != "p":
		q.add(store.Refused, at, "a crash empties it", "alter table "+q.name+" set logged", "%s is not a logged table", q.name)
	case !mine && !q.laid && !q.script:
		q.add(store.Refused, "owner:"+q.Table, "only its owner can put triggers on it that fire always", byScript, "%s belongs to another role", q.name)
	}
	if security {
		q.add(store.Refused, "row-security:"+q.Table, "a policy hides rows from whoever looks", "alter table "+q.name+" disable row level security", "%s has row security", q.name)
	}
	if len(q.rules) > 0 && q.rules[0].Name == at {
		return nil
	}
	q.fields()
	if err := q.counted(ctx, t); err != nil {
		return err
	}
	if err := q.key(ctx, t); err != nil {
		return err
	}
	if err := q.indexes(ctx, t); err != nil {
		return err
	}
	if err := q.constraints(ctx, t); err != nil {
		return err
	}
	return q.programs(ctx, t)
}

// fields asks whether each declared column carries its type.
func (q *inquiry) fields() {
	for _, f := range slices.Concat(q.table.key, q.body) {
		c, ok := q.column(f.Column)
		at := "column:" + q.Table + "." + f.Column
		switch {
		case !ok:
			names := make([]string, len(q.columns))
			for n, c := range q.columns {
				names[n] = c.Name
			}
			q.add(store.Refused, at, "the field "+f.Name+" would have no place", "name the column: {column: NAME}", "the table %s has no column %s: it has %s", q.name, f.Column, strings.Join(names, ", "))
			continue
		case c.Generated:
			q.add(store.Refused, at, "it can't be written", "leave it undeclared", "the column %s of %s is generated", f.Column, q.name)
		case !f.carries(c.Type):
			q.add(store.Refused, at, "values of the one have no exact counterpart among the other's", "declare the field by a type that carries it, raw if none does", "the column %s of %s is %s, which does not carry %s", f.Column, q.name, c.Limited, f.Type)
		case c.Limited != c.Type:
			q.add(store.Open, "limit:"+q.Table+"."+f.Column, "a value beyond that, which the new database takes, is not copied back, and the way back waits for a decision; nothing is cut or rounded", "",
				"the column %s of %s is limited: %s", f.Column, q.name, c.Limited)
		}
		id := slices.ContainsFunc(q.table.key, func(k field) bool { return k.Name == f.Name })
		if id && !c.NotNull {
			q.add(store.Refused, "null:"+q.Table+"."+f.Column, "a row whose id is NULL could be no record, and a program that writes one would fail", "alter table "+q.name+" alter column "+f.column()+" set not null", "the column %s of the id of %s may be NULL", f.Column, q.name)
		}
		if c.NotNull && !f.NotNull && !id {
			q.add(store.Open, "notnull:"+q.Table+"."+f.Column, "a NULL that the new database takes can't be copied back; declare the field null: false", "",
				"the column %s of %s is NOT NULL and the field %s isn't", f.Column, q.name, f.Name)
		}
	}
	for _, c := range q.columns {
		switch {
		case q.declares(c.Name):
		case c.NotNull && !c.Default && !c.Generated && !c.Identity:
			q.add(store.Refused, "undeclared:"+q.Table+"."+c.Name, "no record could be created", "declare it, or give it a default", "the column %s of %s is NOT NULL without a default, and is not declared", c.Name, q.name)
		case c.Generated:
			q.add(store.Carried, "generated:"+q.Table+"."+c.Name, "the database goes on computing it, and the new one doesn't have it", "", "the column %s of %s is generated", c.Name, q.name)
		default:
			q.add(store.Carried, "column:"+q.Table+"."+c.Name, "it stays here as it is, and the new database doesn't have it", "", "the column %s of %s is not declared", c.Name, q.name)
		}
	}
}

// counted asks for columns of the id that the database counts.
func (q *inquiry) counted(ctx context.Context, t tx) error {
	all, err := q.counters(ctx, t)
	for _, c := range all {
		name := "identity:" + q.Table + "." + c.Column
		if !c.Raises && !q.script {
			q.add(store.Refused, name, "ids that come from the new database don't move its counter, which must be set above them before the old database becomes primary again",
				"its owner says: grant select, update on sequence "+c.Name+" to "+ident(q.role), "the role %s may not set %s, by which the column %s of %s is counted", q.role, c.Name, c.Column, q.name)
			continue
		}
		q.add(store.Carried, name, "ids that come from the new database don't move its counter: it is set above the greatest id before the old database becomes primary again", "",
			"the column %s of %s is counted by %s", c.Column, q.name, c.Name)
	}
	return err
}

// carries reports whether a column of this type holds values of the field.
func (f field) carries(typ string) bool {
	texts := []string{"text", "character varying"}
	switch f.Type {
	case record.Text:
		return slices.Contains(texts, typ) || typ == "bpchar" || !strings.HasPrefix(typ, "pg_catalog.") && strings.Contains(typ, ".") || typ == "xml" || typ == "name"
	case record.Int:
		return typ == "bigint" || typ == "integer" || typ == "smallint"
	case record.Float:
		return typ == "double precision" || typ == "real"
	case record.Decimal:
		return typ == "numeric"
	case record.Bool:
		if f.words() {
			return slices.Contains(texts, typ)
		}
		return typ == "boolean"
	case record.Bytes:
		return typ == "bytea"
	case record.Timestamp:
		switch _, number := units[f.stored()]; {
		case number:
			return typ == "bigint" || typ == "integer"
		case f.stored() != "":
			return slices.Contains(texts, typ)
		}
		return typ == "timestamp with time zone" || typ == "timestamp without time zone"
	case record.Date:
		return typ == "date"
	case record.UUID:
		return typ == "uuid"
	case record.JSON:
		return typ == "json" || typ == "jsonb" || slices.Contains(texts, typ)
	}
	return typ != "money" // a Raw: its text follows no setting but lc_monetary
}

// key asks whether the id names one row, by its value's one text.
func (q *inquiry) key(ctx context.Context, t tx) error {
	var want []string
	for _, f := range q.table.key {
		want = append(want, f.Column)
		c, ok := q.column(f.Column)
		if !ok {
			continue
		}
		at := "id:" + q.Table + "." + f.Column
		fits := map[record.Type][]string{record.Text: {"text", "character varying"}, record.Int: {"bigint", "integer", "smallint"}, record.UUID: {"uuid"}}[f.Type]
		if !slices.Contains(fits, c.Type) {
			q.add(store.Refused, at, "two equal values of it may have two texts, or one text two meanings", "let a column of type text, bigint or uuid be the id", "the column %s of the id is %s", f.Column, c.Limited)
		}
		var deterministic bool
		if err := t.QueryRow(ctx, `select coalesce((select collisdeterministic from pg_attribute a join pg_collation c on c.oid = a.attcollation where a.attrelid = $1::oid and a.attname = $2::text), true)`, q.oid, f.Column).Scan(&deterministic); err != nil {
			return err
		}
		if !deterministic {
			q.add(store.Refused, at, "two ids that are one there are two in the new database", "alter table "+q.name+" alter column "+f.column()+" type text collate \"C\"", "the column %s of the id has a collation for which different texts are equal", f.Column)
		}
	}
	slices.Sort(want)
	rows, err := t.Query(ctx, `select array(select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and `+inKey+` order by 1), i.indimmediate
		from pg_index i where i.indrelid = $1::oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null`, q.oid)
	if err != nil {
		return err
	}
	type unique struct {
		Columns   []string
		Immediate bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[unique])
	if err != nil {
		return err
	}
	deferred := false
	for _, u := range all {
		slices.Sort(u.Columns)
		if slices.Equal(u.Columns, want) && u.Immediate {
			return nil
		}
		deferred = deferred || slices.Equal(u.Columns, want)
	}
	if deferred {
		q.add(store.Refused, "key:"+q.Table, "an insert can't ask whether the id is there", "make it not deferrable: drop the constraint, and add it without DEFERRABLE", "the key (%s) of %s is deferrable", strings.Join(want, ", "), q.name)
		return nil
	}
	q.add(store.Refused, "key:"+q.Table, "an id could name several rows", "create unique index concurrently on "+q.name+" ("+strings.Join(want, ", ")+")", "%s has no unique key of (%s) alone", q.name, strings.Join(want, ", "))
	return nil
}

// indexes asks for uniqueness beyond the id.
func (q *inquiry) indexes(ctx context.Context, t tx) error {
	var want []string
	for _, f := range q.table.key {
		want = append(want, f.Column)
	}
	slices.Sort(want)
	rows, err := t.Query(ctx, `select c.relname::text, array(select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and `+inKey+` order by 1), i.indpred is null and i.indexprs is null, i.indisvalid
		from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = $1::oid and (i.indisunique or not i.indisvalid) order by 1`, q.oid)
	if err != nil {
		return err
	}
	type index struct {
		Name    string
		Columns []string
		Plain   bool
		Valid   bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	for _, x := range all {
		slices.Sort(x.Columns)
		switch {
		case strings.HasPrefix(x.Name, "migrate_"):
		case !x.Valid:
			q.add(store.Open, "invalid:"+x.Name, "it was not made to its end, and refuses nothing", "drop index "+x.Name, "the index %s is not valid", x.Name)
		case !x.Plain || !slices.Equal(x.Columns, want):
			q.add(store.Open, "unique:"+x.Name, "the new database doesn't have it: a record that breaks it is taken there, isn't copied back, and the way back waits for a decision", "",
				"the unique index %s on (%s)", x.Name, strings.Join(x.Columns, ", "))
		}
	}
	return err
}

// constraints asks for rules that a record can break.
func (q *inquiry) constraints(ctx context.Context, t tx) error {
	rows, err := t.Query(ctx, `select conname::text, contype::text, pg_get_constraintdef(oid), conrelid = $1::oid, conrelid::regclass::text from pg_constraint
		where conrelid = $1::oid and contype in ('c', 'f', 'x') or confrelid = $1::oid and contype = 'f' order by 1`, q.oid)
	if err != nil {
		return err
	}
	type constraint struct {
		Name, Kind, Text string
		Mine             bool
		Table            string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[constraint])
	const unheld = "the new database doesn't have it: a record that breaks it is taken there, isn't copied back, and the way back waits for a decision"
	for _, c := range all {
		switch {
		case c.Kind == "c":
			q.add(store.Open, "check:"+c.Name, unheld, "", "%s", c.Text)
		case c.Kind == "x":
			q.add(store.Open, "exclude:"+c.Name, unheld, "", "%s", c.Text)
		case q.quiet:
			q.add(store.Carried, "foreign-key:"+c.Name, "programs go on being held to it; copies of ours are not, and cascade nowhere", "", "%s: %s", c.Table, c.Text)
		default:
			q.add(store.Refused, "foreign-key:"+c.Name, "a copy of ours in another order would be refused, or would cascade", q.grantReplica(), "%s: %s", c.Table, c.Text)
		}
	}
	return err
}

// grantReplica says what lets copies be made without the person's triggers and foreign keys.
func (q *inquiry) grantReplica() string {
	if q.version < 150000 {
		return "before version 15 nobody can be granted session_replication_role: let the service's role " + q.role + " be a superuser, or upgrade the server"
	}
	return "a superuser says: grant set on parameter session_replication_role to " + ident(q.role)
}

// programs asks for triggers and rules of the table's own.
func (q *inquiry) programs(ctx context.Context, t tx) error {
	rows, err := t.Query(ctx, `select tgname::text, tgenabled::text, true from pg_trigger where tgrelid = $1::oid and not tgisinternal and tgname not in (`+ourTriggers()+`)
		union all select rulename::text, ev_enabled::text, false from pg_rewrite where ev_class = $1::oid order by 1`, q.oid)
	if err != nil {
		return err
	}
	type program struct {
		Name, Enabled string
		Trigger       bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[program])
	for _, p := range all {
		switch {
		case !p.Trigger:
			q.add(store.Refused, "rule:"+p.Name, "a rule rewrites what is written, and no trigger sees the rest", "drop rule "+ident(p.Name)+" on "+q.name+", or let a trigger do it", "the rule %s on %s", p.Name, q.name)
		case !q.quiet:
			q.add(store.Refused, "trigger:"+p.Name, "it would fire for copies of ours, too", q.grantReplica(), "the trigger %s on %s", p.Name, q.name)
		case p.Enabled == "A" || p.Enabled == "R":
			q.add(store.Open, "trigger:"+p.Name, "it fires for copies of ours, too: where it changes a declared column or writes an adopted table, the copy is refused", "alter table "+q.name+" enable trigger "+ident(p.Name), "the trigger %s on %s fires always", p.Name, q.name)
		default:
			q.add(store.Open, "trigger:"+p.Name, "it fires for writes of the service while the old database is primary, and not for copies; the new database doesn't have it", "", "the trigger %s on %s", p.Name, q.name)
		}
	}
	return err
}
