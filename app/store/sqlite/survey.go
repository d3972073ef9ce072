package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
			survey.Wait += lockedOut(found.Rows)
		}
	}
	survey.Wait = max(survey.Wait, hold)
	return survey, nil
}

// Of a second, an index takes about as many rows.
const indexed = 400_000

// lockedOut is for how long, about, making the ids of so many rows unique keeps
// other programs from writing.
func lockedOut(rows int64) time.Duration { return time.Duration(rows) * time.Second / indexed }

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
	for after, more := record.ID(""), true; more; {
		err := once(func(ctx context.Context, c *conn) (err error) {
			after, more, err = t.surveyPage(ctx, c, after, &found)
			return err
		})
		if err != nil {
			return found, there, err
		}
	}
	return found, there, nil
}

// surveyPage takes a page of the table's rows in. Rows with one id more than a
// page has are cut short: only the first of them is a record.
func (t *table) surveyPage(ctx context.Context, c *conn, after record.ID, found *store.TableFound) (record.ID, bool, error) {
	const page = 1000
	position, start, err := t.position(after)
	if err != nil {
		return after, false, err
	}
	raw := list(len(t.body), "", func(n int) string { return ",+t." + t.body[n-1].column() })
	rows, err := c.query(ctx, `SELECT `+t.ids()+t.values()+raw+` FROM `+t.name+` t WHERE `+t.behind(since(start))+` AND `+t.fits("t")+
		` ORDER BY `+list(len(t.key), ",", func(n int) string { return fmt.Sprint(n) })+` LIMIT ?`, append(position, page)...)
	if err != nil {
		return after, false, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		values, into := make([]any, len(t.key)+2*len(t.body)), make([]any, len(t.key)+2*len(t.body))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return after, false, err
		}
		if after, err = t.surveyRow(values, found); err != nil {
			return after, false, err
		}
	}
	return after, n == page, rows.Err()
}

// surveyRow counts what of a row would not survive, there or back.
func (t *table) surveyRow(values []any, found *store.TableFound) (record.ID, error) {
	id, reason, err := t.idOf(values[:len(t.key)])
	if err != nil {
		return id, err
	}
	if reason != "" {
		found.Lost[t.key[0].Name]++
	}
	read, raw := values[len(t.key):len(t.key)+len(t.body)], values[len(t.key)+len(t.body):]
	shown := map[string]string{}
	for n, f := range t.key {
		shown[f.Name] = id.Values()[n].String()
	}
	for n, f := range t.body {
		v, why := f.decode(read[n])
		if why == "" {
			if _, err := f.encode(v); err != nil {
				why = fault(err)
			}
		}
		if why != "" {
			found.Lost[f.Name]++
			reason = first(reason, why)
		}
		shown[f.Name] = v.String()
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
			text, _ := json.Marshal(shown) // it holds texts only
			sample.Record = string(text)
		}
		found.Samples = append(found.Samples, sample)
	}
	return id, nil
}
