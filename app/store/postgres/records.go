package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// anywhere is the epoch of a write that is planned under no fence.
const anywhere = -1

// What the function that writes a record answers, before the body as it is stored.
const (
	answerRow  = "row"  // the row is there
	answerGone = "gone" // it is not
)

// writing is a record on its way into its table.
type writing struct {
	*table
	Record
	key  []string
	body []*string
}

func (b *base) writing(rec Record) (writing, error) {
	t, err := b.table(rec.ID)
	if err != nil {
		return writing{}, err
	}
	w := writing{table: t, Record: rec, body: []*string{}}
	if w.key, err = t.keyTexts(rec.ID); err != nil || rec.Deleted {
		return w, err
	}
	values := rec.Body.Values()
	if len(values) != len(t.body) {
		return w, fmt.Errorf("%w: a body of %s has %d fields, not %d", store.ErrUnfit, t.Name, len(t.body), len(values))
	}
	for n, v := range values {
		text, err := t.body[n].encode(v)
		if err != nil {
			return w, err
		}
		w.body = append(w.body, text)
	}
	return w, nil
}

// put writes the record if its pair is newer, or, where a pair is expected, if the
// stored one is that. It reports whether it has written.
func (w writing) put(ctx context.Context, t tx, at int64, expect *store.Pair) (bool, error) {
	var rev, epoch *int64
	if expect != nil {
		rev, epoch = &expect.Rev, &expect.Epoch
	}
	var stored []*string
	err := t.QueryRow(ctx, `select `+w.write+`($1::bigint,$2::bigint,$3::bigint,$4::bigint,$5::bigint,$6::boolean,$7::boolean,$8::text,$9::text[],$10::text[])`,
		at, rev, epoch, w.Rev, w.Epoch, w.Pending, w.Deleted, w.Request, w.key, w.body).Scan(&stored)
	if err != nil || stored == nil {
		return false, err
	}
	return true, w.check(stored)
}

// check looks that what is stored is what was sent: the column's type, or a trigger
// of the table's own, may have made something else of it.
func (w writing) check(stored []*string) error {
	there := len(stored) > 0 && stored[0] != nil && *stored[0] == answerRow
	switch {
	case w.Deleted && there:
		return fmt.Errorf("%w: a trigger of the table %s keeps the row", store.ErrRule, w.Table)
	case w.Deleted:
		return nil
	case !there:
		return fmt.Errorf("%w: a trigger of the table %s keeps the row out", store.ErrRule, w.Table)
	}
	body, reason := w.bodyOf(stored[1:])
	if reason == "" && body == w.Record.Body {
		return nil
	}
	if reason == "" {
		reason = w.altered(body)
	}
	return fmt.Errorf("%w: it would be stored otherwise than it was sent: %s", store.ErrUnfit, reason)
}

// altered names the first field that is stored otherwise.
func (w writing) altered(stored record.Body) string {
	sent := w.Record.Body.Values()
	for n, v := range stored.Values() {
		if !v.Equal(sent[n]) {
			return fmt.Sprintf("%s %.60q as %.60q", w.table.body[n].Name, sent[n], v)
		}
	}
	return "its body"
}

// bodyOf returns the body that these texts are, or why they are none.
func (t *table) bodyOf(texts []*string) (body record.Body, reason string) {
	values := make([]record.Value, len(t.body))
	for n, f := range t.body {
		if values[n], reason = f.decode(texts[n]); reason != "" {
			return "", reason
		}
	}
	return record.NewBody(values...), ""
}

// idOf returns the id that these texts are.
func (t *table) idOf(texts []*string) (record.ID, error) {
	values := make([]record.Value, len(t.key))
	for n, f := range t.key {
		v, reason := f.decode(texts[n])
		if reason != "" {
			return "", f.unfit(reason)
		}
		values[n] = v
	}
	return record.NewID(t.Name, values...)
}

// compareAndSwap commits rec, as it is, if the stored pair is expect.
func (b *base) compareAndSwap(ctx context.Context, at int64, rec Record, expect store.Pair) error {
	return b.write(ctx, "commit "+rec.ID.String()+" of "+rec.ID.Collection(), func(ctx context.Context, t tx) error {
		w, err := b.writing(rec)
		if err != nil {
			return err
		}
		_, err = w.put(ctx, t, at, &expect)
		return err
	})
}

// putIfNewer applies, all or none, each record that is newer than the stored one,
// with pending unset. quietly is what the transaction begins with.
func (b *base) putIfNewer(ctx context.Context, at int64, quietly string, recs []Record) error {
	put := func(ctx context.Context, t tx) error {
		// In one order, so that no two batches wait for each other.
		for _, rec := range slices.SortedStableFunc(slices.Values(recs), byID) {
			rec.Pending = false
			w, err := b.writing(rec)
			if err == nil {
				_, err = w.put(ctx, t, at, nil)
			}
			if err != nil {
				return b.refusal(rec.ID, err)
			}
		}
		return nil
	}
	for {
		// A conflict is one with a row that came at the same time.
		if err := b.run(ctx, "replicate", beginWrite+b.sameServer()+quietly, put); !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

func byID(a, b Record) int {
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

// refusal names the record that an error is about, and a rule of the table.
func (b *base) refusal(id record.ID, err error) error {
	if code(err) != "" {
		if s := b.sentinel(err); s == store.ErrRule || s == store.ErrUnfit {
			err = fmt.Errorf("%w: %w", s, err)
		}
	}
	err = fmt.Errorf("record %q of %s: %w", id.String(), id.Collection(), err)
	if errors.Is(err, store.ErrRule) || errors.Is(err, store.ErrUnfit) {
		return &store.Refusal{ID: id, Err: err}
	}
	return err
}

// clearPending takes each record's changes out of the outbox, up to the one that
// the mark names.
func (b *base) clearPending(ctx context.Context, marks []store.Mark) error {
	return b.write(ctx, "clear pending", func(ctx context.Context, t tx) error {
		for _, m := range marks {
			of, err := b.table(m.ID)
			if err != nil {
				return err
			}
			key, err := of.keyOf(m.ID)
			if err != nil {
				return err
			}
			n := len(key)
			pair := fmt.Sprintf(`($%d::bigint, $%d::bigint)`, n+1, n+2)
			mine := `(` + of.ks("o.") + `) = (` + of.given(1) + `) and (o.rev, o.epoch) `
			_, err = t.exec(ctx, `delete from `+of.outbox+` o where `+mine+`<= `+pair+` and exists (select from `+of.outbox+` o where `+mine+`= `+pair+`)`,
				append(key, m.Rev, m.Epoch)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
