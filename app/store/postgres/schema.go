package postgres

import (
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// ours is the setting by which our own write names collection and id.
const ours = "migrate.ours"

// function writes one of our functions. It is called by whomever fires a trigger,
// and has the rights of its owner. Every name in it is qualified.
func function(name, returns, declare, body string) string {
	return `create or replace function ` + name + ` returns ` + returns + ` language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $migrate$
declare
` + declare + `
begin
` + body + `
end
$migrate$`
}

// fenceSQL is what the protocol keeps beside all tables of an old database. The
// gate never has a row: only its lock matters. Each writer holds it from before it
// looks at the fence to the end of its transaction. One that isn't READ COMMITTED
// would read the fence of its snapshot: FOR SHARE fails if that is outdated.
func fenceSQL() []string {
	return append([]string{
		`create table migrate.fence(one int primary key check (one = 1), format bigint not null, digest text not null, declaration text not null, migration text not null,
  epoch bigint not null, prim text not null, state text not null, token text, deadline bigint, accepted bigint not null default 0, rules text[] not null default '{}', line text not null default ` + currentLine + `)`,
		`create table migrate.gate()`,
		`create table migrate.collection(name text collate "C" primary key, filled boolean not null, position bytea not null default '', later bytea[] not null default '{}', again boolean not null default false, guards text not null default '')`,
	}, commonSQL()...)
}

// commonSQL are the functions that all tables share.
func commonSQL() []string {
	return []string{
		lineSQL(asOld, `fence`),
		guardsSQL(),
		// Who holds the gate keeps the fence from moving until his transaction ends, or
		// is rolled back to before the lock: the setting ends with the lock.
		function(`migrate.epoch()`, `bigint`, `  e bigint; p text; s text; known text := current_setting('migrate.epoch', true);`, `  if known <> '' then
    return known::bigint;
  end if;
  lock table migrate.gate in row share mode;
  if current_setting('transaction_isolation') = 'read committed'
  then select epoch, prim, state into strict e, p, s from migrate.fence;
  else
    select epoch, prim, state into e, p, s from migrate.fence for share;
    if not found then -- the snapshot is from before the take-over
      raise exception using errcode = '`+codeSerialization+`', message = 'could not serialize access due to concurrent update';
    end if;
  end if;
  if p <> 'old' or s <> 'open' then
    raise exception using errcode = '`+codeMoved+`', message = '`+store.HasMoved+`';
  end if;
  perform set_config('migrate.epoch', e::text, true);
  return e;`),
		function(`migrate.at(planned bigint)`, `void`, `  e bigint;`, `  lock table migrate.gate in row share mode;
  select epoch into strict e from migrate.fence;
  if e <> planned then
    raise exception using errcode = '`+codeEpoch+`', message = format('planned under epoch %s, the fence is at %s', planned, e);
  end if;`),
		function(`migrate.statement()`, `trigger`, ``, `  perform migrate.epoch();
  return null;`),
	}
}

// currentLine is the timeline that the server writes: another one from the moment
// of its promotion on. What pg_control_checkpoint says lags behind.
const currentLine = `substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)`

// lineSQL is the function that fails unless the server writes the timeline that is
// kept in the table, in a row that a promoted server has from the former one.
func lineSQL(r role, table string) string {
	return function(r.schema+`.same_server()`, `void`, `  kept text;`, `  select line into strict kept from `+r.schema+`.`+table+`;
  if kept <> `+currentLine+` then
    raise exception using errcode = '`+codeServer+`', message = format('another server has taken over: it writes timeline %s, and %s is the one that was accepted', `+currentLine+`, kept);
  end if;`)
}

// companionSQL is the companion of a table and its outbox. What is pending is in
// rows of the outbox, not in a flag: to clear a flag would wait for, and fail,
// programs that know only their own table.
func (t *table) companionSQL() []string {
	typed := t.keys(", ", func(k string, f field) string {
		return k + " " + f.own() + f.bytewise() + " not null"
	})
	return []string{
		`create table ` + t.companion + `(` + typed + `, rev bigint not null, epoch bigint not null, deleted boolean not null, request text, unfit text, primary key (` + t.ks("") + `))`,
		`create index on ` + t.companion + `(` + t.ks("") + `) where deleted`,
		`create index on ` + t.companion + `(` + t.ks("") + `) where unfit is not null`,
		`create table ` + t.outbox + `(` + typed + `, rev bigint not null, epoch bigint not null, primary key (` + t.ks("") + `, rev, epoch))`,
	}
}

// guard names a row, as our own write does in the setting.
func (t *table) guard(row string) string {
	text := literal(t.Name+":") + ` || `
	if len(t.key) == 1 {
		return text + row + t.key[0].column() + `::text`
	}
	return text + `array[` + t.keys(", ", func(_ string, f field) string { return row + f.column() + `::text` }) + `]::text`
}

// rowIs selects the row of the person's table with the id of another row.
func (t *table) rowIs(row string) string {
	return t.keys(" and ", func(_ string, f field) string { return "x." + f.column() + " = " + row + f.column() })
}

// triggersSQL are the functions and the triggers on the person's table. Whether a
// record is deleted is what the table says, never the event.
func (t *table) triggersSQL() []string {
	name := func(what string) string { return ident("migrate") + "." + ident(what+"."+t.Name) }
	count := func(row string, rev int) string {
		return `    insert into ` + t.companion + ` as m (` + t.ks("") + `, rev, epoch, deleted) values (` +
			t.keys(", ", func(_ string, f field) string { return row + f.column() }) + fmt.Sprintf(`, %d, e, `, rev) +
			`not exists (select from ` + t.name + ` x where ` + t.rowIs(row) + `))
      on conflict (` + t.ks("") + `) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = excluded.deleted, unfit = null returning rev into v;
    insert into ` + t.outbox + ` values (` + t.keys(", ", func(_ string, f field) string { return row + f.column() }) + `, v, e) on conflict do nothing;`
	}
	another := t.keys(" or ", func(_ string, f field) string { return "old." + f.column() + " is distinct from new." + f.column() })
	trigger := func(what, when, condition, does string) string {
		return `create trigger ` + ident("migrate_"+what) + ` ` + when + ` on ` + t.name + condition + ` execute function ` + does + `()`
	}
	return []string{
		function(name("foreign")+`()`, `trigger`, `  ours text := current_setting('`+ours+`', true); e bigint; v bigint;`,
			`  if tg_op = 'INSERT' then
    if ours = `+t.guard("new.")+` then return null; end if;
  elsif tg_op = 'DELETE' then
    if ours = `+t.guard("old.")+` then return null; end if;
  elsif ours = `+t.guard("old.")+` and ours = `+t.guard("new.")+` then return null;
  end if;
  e := migrate.epoch();
  if tg_op <> 'INSERT' then
`+count("old.", 2)+`
  end if;
  if tg_op = 'INSERT' or tg_op = 'UPDATE' and (`+another+`) then
`+count("new.", 1)+`
  end if;
  return null;`),
		function(name("truncate")+`()`, `trigger`, `  e bigint; kept text;`, `  e := migrate.epoch();
  select guards into strict kept from migrate.collection where name = `+literal(t.Name)+`;
  -- TRUNCATE removes rows that a snapshot of before does not show: that is a gap.
  perform set_config('migrate.held', case when kept = `+t.guards()+` and current_setting('transaction_isolation') = 'read committed' then tg_relid::text else '' end, true);
  execute format('with counted as (insert into `+quoteFormat(t.companion)+` as m (`+quoteFormat(t.ks(""))+`, rev, epoch, deleted) select `+
			quoteFormat(t.keys(", ", func(_ string, f field) string { return "x." + f.column() }))+`, 2, $1, true from %s x
    on conflict (`+quoteFormat(t.ks(""))+`) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = true, unfit = null returning `+quoteFormat(t.ks(""))+`, m.rev)
    insert into `+quoteFormat(t.outbox)+` select `+quoteFormat(t.ks(""))+`, rev, $1 from counted on conflict do nothing', tg_relid::regclass) using e;
  return null;`),
		function(name("truncated")+`()`, `trigger`, ``, `  if current_setting('migrate.held', true) = tg_relid::text then
    update migrate.collection set guards = `+t.guards()+` where name = `+literal(t.Name)+`;
  end if;
  return null;`),
		trigger("statement", "before insert or update or delete", ` for each statement when (coalesce(pg_catalog.current_setting('`+ours+`', true), '') = '')`, "migrate.statement"),
		trigger("row", "after insert or update or delete", ` for each row`, name("foreign")),
		trigger("truncate", "before truncate", ` for each statement`, name("truncate")),
		trigger("truncated", "after truncate", ` for each statement`, name("truncated")),
		`alter table ` + t.name + ` enable always trigger migrate_statement, enable always trigger migrate_row, enable always trigger migrate_truncate, enable always trigger migrate_truncated`,
	}
}

// dropTriggersSQL takes our triggers off the table.
func (t *table) dropTriggersSQL() []string {
	var all []string
	for _, what := range triggers {
		all = append(all, `drop trigger if exists `+ident("migrate_"+what)+` on `+t.name)
	}
	return all
}

// quoteFormat is for a piece of SQL in a text that format() reads.
func quoteFormat(sql string) string {
	return strings.ReplaceAll(strings.ReplaceAll(sql, `%`, `%%`), `'`, `''`)
}

// writeSQL is the function that writes one record: rev and epoch if the stored pair
// is the expected one, or, where none is expected, if they are newer. It answers
// with what is stored then, and with null if it has written nothing.
//
// In an old database the lock order is fence, row, companion: as foreign writers
// have it. In a new one the companion comes first, which is the lock: a deletion
// must see the row of a creation that it has waited for.
func (t *table) writeSQL(sh shape) string {
	byKey := t.keys(" and ", func(k string, f field) string { return "x." + f.column() + " = " + t.typed(sh, f, "k["+k[1:]+"]") })
	byK := t.keys(" and ", func(k string, f field) string { return "m." + k + " = " + f.written("k["+k[1:]+"]", f.own()) })
	kValues := t.keys(", ", func(k string, f field) string { return f.written("k["+k[1:]+"]", f.own()) })
	row := `  perform from ` + t.name + ` x where ` + byKey + ` for update;
  there := found;
`
	pair := `  select m.rev, m.epoch into r, e from ` + t.companion + ` m where ` + byK + ` for update;
  has := found;
`
	conflict := func(condition string) string {
		return `  if ` + condition + ` then
    raise exception using errcode = '` + codeConflict + `', message = 'the record has changed';
  end if;
`
	}
	var b strings.Builder
	if t.foreign() {
		b.WriteString(`  perform migrate.at(planned);
  perform set_config('` + ours + `', ` + t.guardOf("k") + `, true);
` + row + pair + `  if not has then
    r := case when there then 1 else 0 end;
    e := 0;
  end if;
`)
	} else {
		b.WriteString(pair + `  if not has then
    insert into ` + t.companion + ` (` + t.ks("") + `, rev, epoch, deleted) values (` + kValues + `, 0, 0, true) on conflict do nothing;
    if not found then -- another one has made it meanwhile
` + pair + `    end if;
    has := true;
  end if;
  r := coalesce(r, 0);
  e := coalesce(e, 0);
` + row)
	}
	b.WriteString(`  if expected_rev is null then
    if (new_rev, new_epoch) <= (r, e) then
`)
	if t.foreign() {
		b.WriteString(`      perform set_config('` + ours + `', '', true);
`)
	} else {
		b.WriteString(`      delete from ` + t.companion + ` m where ` + byK + ` and m.rev = 0;
`)
	}
	b.WriteString(`      return null;
    end if;
  els` + strings.TrimPrefix(conflict("(r, e) <> (expected_rev, expected_epoch)"), "  "))
	b.WriteString(t.changeSQL(sh, byKey, conflict))
	if t.foreign() {
		b.WriteString(`  if has then
    update ` + t.companion + ` m set rev = new_rev, epoch = new_epoch, deleted = gone, request = nullif(req, ''), unfit = null where ` + byK + `;
  else
    insert into ` + t.companion + ` (` + t.ks("") + `, rev, epoch, deleted, request) values (` + kValues + `, new_rev, new_epoch, gone, nullif(req, '')) on conflict do nothing;
` + strings.ReplaceAll("  "+conflict("not found"), "\n  ", "\n    ") + `  end if;
`)
	} else {
		b.WriteString(`  update ` + t.companion + ` m set rev = new_rev, epoch = new_epoch, deleted = gone, request = nullif(req, '') where ` + byK + `;
`)
	}
	byO := t.keys(" and ", func(k string, f field) string { return "o." + k + " = " + f.written("k["+k[1:]+"]", f.own()) })
	b.WriteString(`  if send then
    insert into ` + t.outbox + ` values (` + kValues + `, new_rev, new_epoch) on conflict do nothing;
  else
    delete from ` + t.outbox + ` o where ` + byO + `;
  end if;
  set constraints all immediate;
  select array['` + answerRow + `'` + t.bodiesOf("x.") + `] into stored from ` + t.name + ` x where ` + byKey + `;
`)
	if t.foreign() {
		b.WriteString(`  perform set_config('` + ours + `', '', true);
`)
	}
	b.WriteString(`  return coalesce(stored, array['` + answerGone + `']);`)
	return function(t.write+`(planned bigint, expected_rev bigint, expected_epoch bigint, new_rev bigint, new_epoch bigint, send boolean, gone boolean, req text, k text[], b text[])`,
		`text[]`, `  r bigint; e bigint; has boolean; there boolean; stored text[];`, b.String())
}

// changeSQL makes the row what the record says. Columns that aren't declared keep
// what they hold.
func (t *table) changeSQL(sh shape, byKey string, conflict func(string) string) string {
	columns := t.keys(", ", func(_ string, f field) string { return f.column() }) + list(len(t.body), "", func(n int) string { return ", " + t.body[n-1].column() })
	values := t.keys(", ", func(k string, f field) string { return t.typed(sh, f, "k["+k[1:]+"]") }) +
		list(len(t.body), "", func(n int) string { return ", " + t.typed(sh, t.body[n-1], fmt.Sprintf("b[%d]", n)) })
	update := "null;"
	if len(t.body) > 0 {
		update = `update ` + t.name + ` x set ` + list(len(t.body), ", ", func(n int) string {
			return t.body[n-1].column() + " = " + t.typed(sh, t.body[n-1], fmt.Sprintf("b[%d]", n))
		}) + ` where ` + byKey + `;`
	}
	insert := `insert into ` + t.name + ` (` + columns + `) overriding system value values (` + values + `)`
	if t.foreign() { // a program of somebody else's may have made the row meanwhile
		insert += ` on conflict (` + t.keys(", ", func(_ string, f field) string { return f.column() }) + `) do nothing`
	}
	text := `  if gone then
    delete from ` + t.name + ` x where ` + byKey + `;
  elsif there then
    ` + update + `
  else
    ` + insert + `;
`
	if t.foreign() {
		text += `    if not found and exists (select from ` + t.name + ` x where ` + byKey + `) then
      raise exception using errcode = '` + codeConflict + `', message = 'the record has changed';
    end if;
`
	}
	return text + `  end if;
`
}

func (t *table) foreign() bool { return t.key[0].role.foreign }

// typed is a text as the type of the field's column.
func (t *table) typed(sh shape, f field, text string) string {
	c, ok := sh.column(f.Column)
	if !ok {
		c.Type = f.own()
	}
	return f.written(text, c.Type)
}

// guardOf names the row whose id is in an array of texts.
func (t *table) guardOf(k string) string {
	if len(t.key) == 1 {
		return literal(t.Name+":") + ` || ` + k + `[1]`
	}
	return literal(t.Name+":") + ` || ` + k + `::text`
}

// bodiesOf reads the body of a row as texts, each behind a comma.
func (t *table) bodiesOf(row string) string {
	return list(len(t.body), "", func(n int) string { return ", " + t.body[n-1].read(row) })
}

// createSQL makes the table as the declaration has it.
func (t *table) createSQL() string {
	columns := make([]string, len(t.Fields))
	for n, f := range t.Fields {
		c := field{f, t.key[0].role}
		columns[n] = c.column() + " " + c.own()
		if slices.Contains(t.ID, f.Name) {
			columns[n] += c.bytewise()
		} else if f.NotNull && !c.role.foreign {
			columns[n] += " not null"
		}
	}
	return `create table ` + t.name + `(` + strings.Join(columns, ", ") + `, primary key (` + t.keys(", ", func(_ string, f field) string { return f.column() }) + `))`
}

// orderSQL makes pages a walk along an index; "" where the id's own key does so.
func (t *table) orderSQL() string {
	text := false
	columns := t.keys(", ", func(_ string, f field) string {
		text = text || f.Type == record.Text
		if f.Type == record.Text {
			return "(" + f.ordered(f.column()) + ")"
		}
		return f.column()
	})
	if !text {
		return ""
	}
	return `create index ` + ident("migrate_"+t.Name+"_id") + ` on ` + t.name + ` (` + columns + `)`
}
