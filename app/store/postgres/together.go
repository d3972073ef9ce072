package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// passed is a record as the function of [table.togetherSQL] takes it.
type passed struct {
	Rev     int64     `json:"rev"`
	Epoch   int64     `json:"epoch"`
	Gone    bool      `json:"gone"`
	Request string    `json:"req"`
	Key     []string  `json:"k"`
	Body    []*string `json:"b"`
}

// putTogether takes the records of one table after the other.
func (o *Old) putTogether(ctx context.Context, t tx, epoch int64, recs []Record) error {
	for _, of := range o.tables {
		var all []writing
		for _, rec := range recs {
			if rec.ID.Collection() != of.Name {
				continue
			}
			rec.Pending = false
			w, err := o.writing(rec)
			if err != nil {
				return o.refusal(rec.ID, err)
			}
			all = append(all, w)
		}
		if len(all) == 0 {
			continue
		}
		if err := o.together(ctx, t, of, epoch, all); err != nil {
			return err
		}
	}
	for _, rec := range recs {
		if _, err := o.table(rec.ID); err != nil {
			return o.refusal(rec.ID, err)
		}
	}
	return nil
}

func (o *Old) together(ctx context.Context, t tx, of *table, epoch int64, all []writing) error {
	list := make([]passed, len(all))
	for n, w := range all {
		list[n] = passed{w.Rev, w.Epoch, w.Deleted, w.Request, w.key, w.body}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	rows, err := t.Query(ctx, `select * from `+of.togetherName()+`($1::bigint, $2::text)`, epoch, string(text))
	if err != nil {
		return err
	}
	answers, err := pgx.CollectRows(rows, pgx.RowTo[[]*string])
	if err != nil {
		return o.blamed(err, all)
	}
	for _, a := range answers {
		n, err := strconv.Atoi(*a[0])
		if err != nil {
			return err
		}
		if err := all[n].check(a[1:]); err != nil {
			return o.refusal(all[n].Record.ID, err)
		}
	}
	return nil
}

// blamed finds the record whose row could not be put in.
func (o *Old) blamed(err error, all []writing) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	n, bad := strconv.Atoi(e.Hint)
	if bad != nil || n < 0 || n >= len(all) {
		return err
	}
	return o.refusal(all[n].Record.ID, err)
}

func (t *table) togetherName() string { return ident("migrate") + "." + ident("together."+t.Name) }

// togetherSQL is the function that writes several records of a table at once: rows
// that stay are taken out first, then put in. Its hint says which one could not be.
func (t *table) togetherSQL(sh shape) string {
	byKey := t.keys(" and ", func(k string, f field) string { return "x." + f.column() + " = " + t.typed(sh, f, "k["+k[1:]+"]") })
	byK := func(of string) string {
		return t.keys(" and ", func(k string, f field) string { return of + k + " = " + f.written("k["+k[1:]+"]", f.own()) })
	}
	kValues := t.keys(", ", func(k string, f field) string { return f.written("k["+k[1:]+"]", f.own()) })
	columns := t.keys(", ", func(_ string, f field) string { return f.column() }) + list(len(t.body), "", func(n int) string { return ", " + t.body[n-1].column() })
	values := t.keys(", ", func(k string, f field) string { return t.typed(sh, f, "k["+k[1:]+"]") }) +
		list(len(t.body), "", func(n int) string { return ", " + t.typed(sh, t.body[n-1], fmt.Sprintf("b[%d]", n)) })
	var kept, keptValues string
	for _, c := range sh.columns {
		if !c.Generated && !t.declares(c.Name) {
			kept += ", " + ident(c.Name)
			keptValues += ", one." + ident(c.Name)
		}
	}
	const unpack = `    one_record := list -> i;
    k := array(select value from jsonb_array_elements_text(one_record -> 'k') with ordinality order by ordinality);
    b := array(select value from jsonb_array_elements_text(one_record -> 'b') with ordinality order by ordinality);
`
	return function(t.togetherName()+`(planned bigint, records text)`, `setof text[]`,
		`  list jsonb := records; one_record jsonb; k text[]; b text[]; r bigint; e bigint; has boolean; there boolean;
  newer int[] := '{}'; i int; one `+t.name+`%rowtype; taken `+t.name+`[] := '{}'; was boolean[] := array_fill(false, array[jsonb_array_length(list) + 1]); stored text[];`,
		`  perform migrate.at(planned);
  for i in 0 .. jsonb_array_length(list) - 1 loop
`+unpack+`    perform set_config('`+ours+`', `+t.guardOf("k")+`, true);
    select x.* into one from `+t.name+` x where `+byKey+` for update;
    there := found;
    select m.rev, m.epoch into r, e from `+t.companion+` m where `+byK("m.")+` for update;
    has := found;
    if not has then
      r := case when there then 1 else 0 end;
      e := 0;
    end if;
    continue when ((one_record ->> 'rev')::bigint, (one_record ->> 'epoch')::bigint) <= (r, e);
    if has then
      update `+t.companion+` m set rev = (one_record ->> 'rev')::bigint, epoch = (one_record ->> 'epoch')::bigint, deleted = (one_record ->> 'gone')::boolean, request = nullif(one_record ->> 'req', ''), unfit = null where `+byK("m.")+`;
    else
      insert into `+t.companion+` (`+t.ks("")+`, rev, epoch, deleted, request) values (`+kValues+`, (one_record ->> 'rev')::bigint, (one_record ->> 'epoch')::bigint, (one_record ->> 'gone')::boolean, nullif(one_record ->> 'req', ''));
    end if;
    delete from `+t.outbox+` o where `+byK("o.")+`;
    newer := newer || i;
    taken[i + 1] := one;
    was[i + 1] := there;
    delete from `+t.name+` x where `+byKey+`;
  end loop;
  foreach i in array newer loop
`+unpack+`    continue when (one_record ->> 'gone')::boolean;
    perform set_config('`+ours+`', `+t.guardOf("k")+`, true);
    begin
      if was[i + 1] then
        one := taken[i + 1];
        insert into `+t.name+` (`+columns+kept+`) overriding system value values (`+values+keptValues+`);
      else
        insert into `+t.name+` (`+columns+`) overriding system value values (`+values+`);
      end if;
    exception when others then
      raise exception using errcode = sqlstate, message = sqlerrm, hint = i::text;
    end;
  end loop;
  set constraints all immediate;
  perform set_config('`+ours+`', '', true);
  foreach i in array newer loop
`+unpack+`    stored := null;
    select array['`+answerRow+`'`+t.bodiesOf("x.")+`] into stored from `+t.name+` x where `+byKey+`;
    return next i::text || coalesce(stored, array['`+answerGone+`']);
  end loop;`)
}

// declares reports whether the column is a field's.
func (t *table) declares(column string) bool {
	for _, f := range t.Fields {
		if f.Column == column {
			return true
		}
	}
	return false
}
