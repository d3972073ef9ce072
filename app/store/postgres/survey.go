package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
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
	k, err := o.inspect(ctx, question{accept: accept})
	if err != nil {
		return s, err
	}
	s = store.Survey{Adopted: k.laid && k.complete && k.gap == "", Begun: k.laid && (!k.complete || k.gap != ""), Rules: k.rules, Wait: lockWait}
	if !k.laid && refusedRules(k.rules) == nil {
		_, why := o.tryOut(ctx, false)
		if errors.Is(why, store.ErrUnsuited) {
			s.Rules = append(s.Rules, store.Rule{Name: "write", Verdict: store.Refused, Detail: "a write was tried out and fails", Meaning: why.Error()})
		} else if why != nil {
			return s, why
		}
	}
	if !s.Adopted {
		loses, err := o.losesCommits(ctx)
		if err != nil {
			return s, err
		}
		s.Rules = append(s.Rules, loses...)
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

// losesCommits says whether a server that takes over may lack what was acknowledged.
func (o *Old) losesCommits(ctx context.Context) ([]store.Rule, error) {
	keeps, why, err := o.Keeps(ctx)
	if err != nil || keeps {
		return nil, err
	}
	return []store.Rule{{
		Name: "failover", Verdict: store.Carried, Detail: why,
		Meaning: "if another server takes over, what was acknowledged last may be missing: that is noticed and named, and goes on by migrate accept-server",
		Remedy:  "a synchronous standby: synchronous_standby_names, with synchronous_commit on",
	}}, nil
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
				why = record.Reason(err)
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
