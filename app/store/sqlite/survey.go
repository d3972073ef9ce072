package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// samples is how many rows of a table are shown both ways.
const samples = 10

// Survey says what the take-over would meet and do. It reads every row, tries
// writes out in a transaction that it rolls back, and changes nothing.
func (s *Store) Survey(ctx context.Context, accept ...string) (store.Survey, error) {
	a := &adopting{Store: s, options: store.AdoptOptions{Accept: slices.Concat(s.accept, accept)}}
	k, err := a.inspect(ctx)
	survey := store.Survey{Adopted: k.complete, Begun: k.fence && !k.complete, Rules: a.rules}
	if err != nil && (!errors.Is(err, store.ErrUnsuited) || len(a.rules) == 0) {
		return survey, err
	}
	if err == nil && !k.fence {
		if why := a.tryOut(ctx); errors.Is(why, store.ErrUnsuited) {
			survey.Rules = append(survey.Rules, store.Rule{Name: "write", Verdict: store.Refused, Detail: "a write was tried out and fails", Meaning: why.Error()})
		} else if why != nil {
			return survey, why
		}
	}
	for _, t := range s.tables {
		found, there, err := s.surveyTable(ctx, t)
		if err != nil {
			return survey, err
		}
		if !there {
			continue
		}
		survey.Tables = append(survey.Tables, found)
		if !found.Unique {
			survey.Wait += t.lockedOut(found.Rows)
		}
	}
	survey.Wait = max(survey.Wait, hold)
	return survey, nil
}

// Of a second, an index takes about as many rows.
const indexed = 400_000

// lockedOut is for how long, about, making the ids of so many rows unique, and the
// indexes of the lists, keeps other programs from writing.
func (t *table) lockedOut(rows int64) time.Duration {
	return time.Duration(rows) * time.Duration(1+len(t.Lists)) * time.Second / indexed
}

// surveyTable looks at one table, in pages.
func (s *Store) surveyTable(ctx context.Context, t *table) (found store.TableFound, there bool, err error) {
	found = store.TableFound{Collection: t.Name, Table: t.Table, Lost: map[string]int64{}}
	var sh shape
	readable := true
	once := func(fn func(context.Context, *conn) error) error {
		return s.run(ctx, "look at the table "+t.Table, func() error { return transact(ctx, s.readers, beginRead, fn) })
	}
	err = once(func(ctx context.Context, c *conn) error {
		if sh, err = t.look(ctx, c); err != nil || !sh.found || sh.kind != "table" || sh.withoutRowid {
			return err
		}
		there, found.Unique, found.Unadopted = true, t.uniqueID(sh), nil
		for _, col := range sh.columns {
			if !t.declares(col.name) {
				found.Unadopted = append(found.Unadopted, col.name)
			}
		}
		for _, f := range t.Fields {
			_, ok := sh.column(f.Column)
			readable = readable && ok
		}
		if err := c.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name).Scan(&found.Rows); err != nil || !readable {
			return err
		}
		return c.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name+` t WHERE NOT(`+t.fits("t")+`)`).Scan(&found.Unfit)
	})
	if err != nil || !there || !readable {
		return found, there, err
	}
	for p := (surveyed{more: true}); p.more; {
		err := once(func(ctx context.Context, c *conn) (err error) {
			p, err = t.surveyPage(ctx, c, sh, p, &found)
			return err
		})
		if err != nil {
			return found, there, err
		}
	}
	return found, there, nil
}

// surveyed is how far a survey is: the rows are read by their numbers, which an
// id that isn't unique has no index for.
type surveyed struct {
	after any // the number of the last row; nil: none yet
	more  bool
}

// surveyPage takes a page of the table's rows in.
func (t *table) surveyPage(ctx context.Context, c *conn, sh shape, p surveyed, found *store.TableFound) (surveyed, error) {
	const page = 1000
	number := "t." + sh.rowid
	if sh.rowid == "" {
		number = "t." + ident(sh.number)
	}
	if sh.rowid == "" && sh.number == "" {
		return surveyed{}, nil // columns of its own hide the numbers: its rows aren't shown
	}
	where := ""
	args := []any{page}
	if p.after != nil {
		where, args = number+">? AND ", []any{p.after, page}
	}
	raw := list(len(t.body), "", func(n int) string { return ",+t." + t.body[n-1].column() })
	rows, err := c.query(ctx, `SELECT `+number+`,`+t.ids()+t.values()+raw+` FROM `+t.name+` t WHERE `+where+t.fits("t")+` ORDER BY `+number+` LIMIT ?`, args...)
	if err != nil {
		return p, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		values, into := make([]any, 1+len(t.key)+2*len(t.body)), make([]any, 1+len(t.key)+2*len(t.body))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return p, err
		}
		p.after = values[0]
		if err := t.surveyRow(values[1:], found); err != nil {
			return p, err
		}
	}
	p.more = n == page
	return p, rows.Err()
}

// surveyRow counts what of a row would not survive, there or back.
func (t *table) surveyRow(values []any, found *store.TableFound) error {
	id, reason, err := t.idOf(values[:len(t.key)])
	if err != nil {
		return err
	}
	if reason != "" {
		found.Lost[t.key[0].Name]++
	}
	read, raw := values[len(t.key):len(t.key)+len(t.body)], values[len(t.key)+len(t.body):]
	shown := map[string]any{}
	for n, f := range t.key {
		shown[f.Name] = id.Values()[n].String()
	}
	for n, f := range t.body {
		v, why := f.decode(read[n])
		if why == "" {
			if _, err := f.encode(v); err != nil {
				why = record.Reason(err)
			}
		}
		if why != "" {
			found.Lost[f.Name]++
			reason = first(reason, why)
		}
		if shown[f.Name] = v.String(); v.IsNull() {
			shown[f.Name] = nil
		}
	}
	if reason != "" {
		found.Unfit++
	}
	if len(found.Samples) < samples {
		names := make([]string, 0, len(t.Fields))
		for _, f := range slices.Concat(t.key, t.body) {
			names = append(names, f.Column)
		}
		sample := store.Sample{Row: t.literals(names, slices.Concat(values[:len(t.key)], raw)), Reason: reason}
		if reason == "" {
			text, _ := json.Marshal(shown) // it holds texts and nulls
			sample.Record = string(text)
		}
		found.Samples = append(found.Samples, sample)
	}
	return nil
}
