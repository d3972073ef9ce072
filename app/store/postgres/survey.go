package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// samples is how many rows of a table are shown both ways.
const samples = 10

// Survey implements [store.Adopter]. It reads every row, tries writes out in a
// transaction that it rolls back, and changes nothing.
func (o *Old) Survey(ctx context.Context, accept ...string) (s store.Survey, err error) {
	k, err := o.inspect(ctx, accept)
	if err != nil {
		return s, err
	}
	s = store.Survey{Adopted: k.laid && k.complete && k.gap == "", Begun: k.laid && (!k.complete || k.gap != ""), Rules: k.rules, Wait: lockWait}
	if !k.laid && refusedRules(k.rules) == nil {
		why := o.tryOut(ctx)
		if errors.Is(why, store.ErrUnsuited) {
			s.Rules = append(s.Rules, store.Rule{Name: "write", Verdict: store.Refused, Detail: "a write was tried out and fails", Meaning: why.Error()})
		} else if why != nil {
			return s, why
		}
	}
	for _, of := range o.tables {
		found, there, err := o.surveyTable(ctx, of)
		if err != nil {
			return s, err
		}
		if there {
			s.Tables = append(s.Tables, found)
		}
	}
	return s, nil
}

// surveyTable looks at one table, in one pass over its rows.
func (o *Old) surveyTable(ctx context.Context, of *table) (found store.TableFound, there bool, err error) {
	found = store.TableFound{Collection: of.Name, Table: of.Table, Unique: true, Lost: map[string]int64{}}
	// A pass over a large table takes longer than any call may.
	err = o.patient().readAny(ctx, "look at the table "+of.Table, func(ctx context.Context, t tx) error {
		sh, err := of.look(ctx, t)
		if err != nil || sh.oid == 0 {
			return err
		}
		there = true
		for _, c := range sh.columns {
			if !of.declares(c.Name) {
				found.Unadopted = append(found.Unadopted, c.Name)
			}
		}
		for _, f := range of.Fields {
			if _, ok := sh.column(f.Column); !ok {
				return nil // a rule says so
			}
		}
		rows, err := t.Query(ctx, `select array[`+of.keys(", ", func(_ string, f field) string { return "t." + f.column() + "::text" })+`], array[null`+of.bodiesOf("t.")+`]::text[], t::text from `+of.name+` t`)
		if err != nil {
			return err
		}
		var key, body []*string
		var whole string
		_, err = pgx.ForEachRow(rows, []any{&key, &body, &whole}, func() error {
			found.Rows++
			return of.surveyRow(key, body[1:], whole, &found)
		})
		return err
	})
	return found, there, err
}

// patient is the store for what takes as long as it takes.
func (o *Old) patient() *base {
	b := *o.base
	b.cfg.Timeout = 24 * time.Hour
	return &b
}

// surveyRow counts what of a row would not survive.
func (t *table) surveyRow(key, body []*string, whole string, found *store.TableFound) error {
	shown, reason := map[string]any{}, ""
	lost := func(f field, why string) {
		found.Lost[f.Name]++
		if reason == "" {
			reason = why
		}
	}
	for n, f := range slices.Concat(t.key, t.body) {
		text := slices.Concat(key, body)[n]
		v, why := f.decode(text)
		if why == "" {
			if _, err := f.encode(v); err != nil {
				why = fault(err)
			}
		}
		if why != "" {
			lost(f, why)
		}
		if shown[f.Name] = v.String(); v.IsNull() {
			shown[f.Name] = nil
		}
	}
	if reason != "" {
		found.Unfit++
	}
	if len(found.Samples) < samples {
		sample := store.Sample{Row: whole, Reason: reason}
		if reason == "" {
			text, err := json.Marshal(shown)
			if err != nil {
				return err
			}
			sample.Record = string(text)
		}
		found.Samples = append(found.Samples, sample)
	}
	return nil
}

// tryOut makes all of it in a transaction that it rolls back: creates, changes,
// copies and deletes a record of each table with the functions and triggers that
// the take-over would leave.
func (o *Old) tryOut(ctx context.Context) error {
	quiet, err := o.mayBeQuiet(ctx)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		err := o.writeAny(ctx, "try a write out", func(ctx context.Context, t tx) error {
			if err := t.script(ctx, fmt.Sprintf("set local lock_timeout to %d", lockWait.Milliseconds())); err != nil {
				return err
			}
			if err := o.layFirst(ctx, t, newID(), nil); err != nil {
				return err
			}
			for _, of := range o.tables {
				if err := o.tryTable(ctx, t, of, quiet); err != nil {
					if code(err) == codeNoLock {
						return err
					}
					return fmt.Errorf("%w: the table %s: %w", store.ErrUnsuited, of.name, err)
				}
			}
			return errTried
		})
		switch {
		case errors.Is(err, errTried):
			return nil
		case code(err) == codeNoLock && tries < 50:
			select {
			case <-ctx.Done():
				return err
			case <-time.After(lockWait):
			}
			continue
		}
		return err
	}
}

func (o *Old) tryTable(ctx context.Context, t tx, of *table, quiet string) error {
	id, body, err := of.tried()
	if err != nil {
		return err
	}
	step := func(at int64, rec Record, expect *store.Pair) error {
		w, err := o.writing(rec)
		if err == nil {
			_, err = w.put(ctx, t, at, expect)
		}
		return err
	}
	first := Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body}
	second := Record{ID: id, Pair: store.Pair{Rev: 2, Epoch: 1}, Body: body}
	if err := step(1, first, &store.Pair{}); err != nil {
		return fmt.Errorf("a record can't be created: %w", err)
	}
	if err := step(1, second, &first.Pair); err != nil {
		return fmt.Errorf("a record can't be changed: %w", err)
	}
	if err := t.script(ctx, `update migrate.fence set epoch = 2, prim = 'new';`+quiet); err != nil {
		return err
	}
	if err := step(2, Record{ID: id, Pair: store.Pair{Rev: 3, Epoch: 2}, Body: body}, nil); err != nil {
		return fmt.Errorf("a copy of a record can't be put in: %w", err)
	}
	if err := step(2, Record{ID: id, Pair: store.Pair{Rev: 4, Epoch: 2}, Deleted: true}, nil); err != nil {
		return fmt.Errorf("a record can't be deleted by a copy: %w", err)
	}
	return t.script(ctx, `update migrate.fence set epoch = 1, prim = 'old'; set local session_replication_role to default`)
}

// mayBeQuiet is the statement by which copies fire none of the person's triggers;
// "" where the role may not say that.
func (o *Old) mayBeQuiet(ctx context.Context) (string, error) {
	var may bool
	err := o.readAny(ctx, "look at the role's rights", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, maySleepSQL).Scan(&may)
	})
	if err != nil || !may {
		return "", err
	}
	return quietly, nil
}

// Script is what Adopt runs before it fills, for somebody with more rights to run.
func (o *Old) Script(ctx context.Context, accept ...string) (string, error) {
	k, err := o.inspect(ctx, accept)
	if err != nil {
		return "", err
	}
	if k.laid {
		return "", fmt.Errorf("%w: the database was taken over already", store.ErrStranger)
	}
	statements := append([]string{"begin", `create schema migrate`}, fenceSQL()...)
	var role string
	var last, after []string
	err = o.readAny(ctx, "look at the tables", func(ctx context.Context, t tx) error {
		last, after = nil, nil
		if err := t.QueryRow(ctx, `select current_user::text`).Scan(&role); err != nil {
			return err
		}
		for _, of := range o.tables {
			sh, err := of.look(ctx, t)
			if err != nil {
				return err
			}
			if sh.oid == 0 {
				return fmt.Errorf("%w: there is no table %s", store.ErrUnsuited, of.name)
			}
			statements = append(statements, of.companionSQL()...)
			statements = append(statements, of.writeSQL(sh), of.togetherSQL(sh), `insert into migrate.collection(name, filled) values (`+literal(of.Name)+`, false)`)
			last = append(last, of.triggersSQL()...)
			last = append(last, of.guardedSQL())
			for _, s := range append([]string{of.orderSQL()}, of.listsSQL()...) {
				if s != "" {
					after = append(after, strings.Replace(s, "create index ", "create index concurrently ", 1))
				}
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	statements = append(statements, fmt.Sprintf(`insert into migrate.fence(one, format, digest, declaration, migration, epoch, prim, state, rules) values (1, %d, %s, %s, %s, 1, 'old', 'open', %s)`,
		format, literal(o.digest), literal(o.text), literal(newID()), `'{}'`))
	statements = append(statements, last...)
	statements = append(statements, `grant usage on schema migrate to `+ident(role), `grant select, insert, update, delete on all tables in schema migrate to `+ident(role),
		`grant execute on all functions in schema migrate to `+ident(role))
	for _, of := range o.tables {
		statements = append(statements, `grant select, insert, update, delete on `+of.name+` to `+ident(role))
	}
	statements = append(statements, "commit")
	return strings.Join(append(statements, after...), ";\n") + ";\n", nil
}

// tried is a record that is written to see whether that can be done.
func (t *table) tried() (record.ID, record.Body, error) {
	key := make([]record.Value, len(t.key))
	for n, f := range t.key {
		key[n] = f.fresh()
	}
	id, err := record.NewID(t.Name, key...)
	body := make([]record.Value, len(t.body))
	for n, f := range t.body {
		if f.NotNull {
			body[n] = f.some()
		}
	}
	return id, record.NewBody(body...), err
}
