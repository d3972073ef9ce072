package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// A batch of rows whose companions are made has this many rows at most, waits this
// long for a lock, and is made smaller when it keeps its rows for longer than that.
const (
	batch     = 1000
	batchWait = 50 * time.Millisecond
)

// filling is how far a batch has come.
type filling struct {
	rows, unfit int64
	last        bool          // every row is known, but filled is not noted yet
	done        bool          // filled is noted
	stuck       bool          // all that is left is being written by others
	held        time.Duration // how long the batch has kept its rows from other writers
}

// fill makes the companions of the rows that have none, and marks those that can't
// be sent. After a gap it counts each record up, and sweeps. It goes on where it
// stopped, and returns for how long a batch has kept its rows from others, at most.
func (o *Old) fill(ctx context.Context, of *table, say func(string, int64, int64)) (held time.Duration, err error) {
	var total int64
	err = o.patient().readAny(ctx, "count the rows", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, countRecords(of)).Scan(&total)
	})
	if err != nil {
		return 0, err
	}
	var rows int64
	stuck := time.Now()
	for limit := batch; ; {
		f, err := o.fillBatch(ctx, of, limit)
		if c := code(err); c == codeNoLock || c == codeDeadlock {
			f, err = filling{stuck: true}, nil // nothing has changed
		}
		if err != nil {
			return held, err
		}
		held, rows = max(held, f.held), rows+f.rows
		say("fill", rows, max(total, rows))
		switch {
		case f.done:
			return held, nil
		case f.last:
			if err := o.filled(ctx, of); err != nil {
				return held, err
			}
		case f.stuck:
			if time.Since(stuck) > 10*time.Second {
				stuck = time.Now()
				o.log.Warn("rows can't be filled in, since others are writing them", "table", of.name, "writers", o.writers())
			}
			select {
			case <-ctx.Done():
				return held, o.meaning(ctx, "fill", ctx.Err())
			case <-time.After(batchWait):
			}
			continue
		}
		stuck = time.Now()
		if f.held > batchWait {
			limit = max(limit/2, 10)
		} else {
			limit = min(limit*2, batch)
		}
	}
}

// fillBatch takes the next rows in the order of ids; rows that somebody is writing
// come later. It locks rows before companions, as everybody does.
func (o *Old) fillBatch(ctx context.Context, of *table, limit int) (f filling, err error) {
	var begun time.Time
	err = o.writeAny(ctx, "note what is kept of each row", func(ctx context.Context, t tx) error {
		f = filling{}
		under, err := o.filler(ctx, t)
		if err != nil {
			return err
		}
		var (
			position []byte
			later    [][]byte
			again    bool
		)
		if err := t.QueryRow(ctx, `select filled, again, position, later from migrate.collection where name = $1::text for update`, of.Name).Scan(&f.done, &again, &position, &later); err != nil || f.done {
			return err
		}
		keys, end, err := o.nextKeys(ctx, t, of, position, limit)
		if err != nil {
			return err
		}
		before := len(later)
		if end && len(keys) == 0 { // what was left out on the way
			n := min(len(later), limit)
			if keys, err = o.stillThere(ctx, t, of, later[:n]); err != nil {
				return err
			}
			later = later[n:]
		} else if position, err = of.lastOf(keys); err != nil {
			return err
		}
		begun = time.Now()
		rows, err := of.share(ctx, t, columnsOf(len(of.key), keys))
		if err != nil {
			return err
		}
		left, err := of.leftOut(keys, rows)
		if err != nil {
			return err
		}
		later = append(later, left...)
		locked, reasons, unfit := of.judged(rows)
		if len(rows) > 0 {
			if err := o.companions(ctx, t, of, locked, reasons, again, under.Epoch); err != nil {
				return err
			}
		}
		f.rows, f.unfit = int64(len(rows)), unfit
		f.last = end && len(later) == 0
		f.stuck = end && len(rows) == 0 && len(later) > 0 && len(later) == before
		_, err = t.exec(ctx, `update migrate.collection set position = $2::bytea, later = $3::bytea[] where name = $1::text`, of.Name, position, later)
		return err
	})
	if !begun.IsZero() {
		f.held = time.Since(begun)
	}
	return f, err
}

// filler begins a transaction that fills: while old is primary, and waiting for
// nobody for long.
func (o *Old) filler(ctx context.Context, t tx) (f fence, err error) {
	if err := t.script(ctx, fmt.Sprintf("set local lock_timeout to %d; lock table migrate.gate in row share mode", batchWait.Milliseconds())); err != nil {
		return f, err
	}
	f, err = o.readFence(ctx, t)
	if err == nil && f.Primary != store.PrimaryOld {
		err = fmt.Errorf("%w: the new database is primary", store.ErrFenceMoved)
	}
	return f, err
}

// filled notes that each row is known. After a gap rows may have gone, too: that is
// swept first.
func (o *Old) filled(ctx context.Context, of *table) error {
	var again bool
	var position []byte
	err := o.readAny(ctx, "look how far the take-over is", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, `select again, position from migrate.collection where name = $1::text`, of.Name).Scan(&again, &position)
	})
	if err != nil {
		return err
	}
	if again {
		if _, err := o.sweep(ctx, of, true); err != nil {
			return err
		}
	}
	return o.writeAny(ctx, "note that each row is known", func(ctx context.Context, t tx) error {
		if _, err := o.filler(ctx, t); err != nil {
			return err
		}
		_, err := t.exec(ctx, `update migrate.collection set filled = true, again = false where name = $1::text and position = $2::bytea and again = $3::boolean and later = '{}'`, of.Name, position, again)
		return err
	})
}

// nextKeys are the ids behind a position, as texts. The end is where there are fewer
// than were asked for.
func (o *Old) nextKeys(ctx context.Context, t tx, of *table, position []byte, limit int) (keys [][]*string, end bool, err error) {
	at, err := of.position(max(record.ID(position), of.start))
	if err != nil {
		return nil, false, err
	}
	rows, err := t.Query(ctx, `select `+of.keyTextsSQL("t.")+` from `+of.name+` t where `+of.behind("t.", at)+` order by `+of.ids("t.")+at.limit(), append(at.args, limit)...)
	if err != nil {
		return nil, false, err
	}
	keys, err = pgx.CollectRows(rows, pgx.RowTo[[]*string])
	return keys, len(keys) < limit, err
}

// stillThere are those of the ids whose row is there; one that has gone needs no
// companion.
func (o *Old) stillThere(ctx context.Context, t tx, of *table, ids [][]byte) ([][]*string, error) {
	keys := make([][]*string, 0, len(ids))
	for _, id := range ids {
		texts, err := of.keyTexts(record.ID(id))
		if err != nil {
			return nil, err
		}
		key := make([]*string, len(texts))
		for n := range texts {
			key[n] = &texts[n]
		}
		keys = append(keys, key)
	}
	from, args := of.passed(columnsOf(len(of.key), keys))
	rows, err := t.Query(ctx, `select `+of.keyTextsSQL("t.")+` from `+from+` join `+of.name+` t on `+of.same("t.", "a."), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]*string])
}

// rowTexts are one row as texts.
type rowTexts struct{ Key, Body []*string }

// share locks the rows of these ids against change, and reads them. It leaves out
// those that somebody is writing.
func (t *table) share(ctx context.Context, x tx, keys [][]*string) ([]rowTexts, error) {
	from, args := t.passed(keys)
	rows, err := x.Query(ctx, `select `+t.keyTextsSQL("t.")+`, array[null`+t.bodiesOf("t.")+`]::text[] from `+from+` join `+t.name+` t on `+t.same("t.", "a.")+` for share of t skip locked`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[rowTexts])
}

// judged splits rows into a list for each column of the id, and why each can't be a
// record.
func (t *table) judged(rows []rowTexts) (keys [][]*string, reasons []*string, unfit int64) {
	keys, reasons = make([][]*string, len(t.key)), make([]*string, 0, len(rows))
	for _, r := range rows {
		for n, text := range r.Key {
			keys[n] = append(keys[n], text)
		}
		var reason *string
		if _, why := t.bodyOf(r.Body[1:]); why != "" {
			reason = &why
			unfit++
		}
		reasons = append(reasons, reason)
	}
	return keys, reasons, unfit
}

// leftOut are the ids that were asked for and are not among the rows.
func (t *table) leftOut(asked [][]*string, rows []rowTexts) (left [][]byte, err error) {
	text := func(key []*string) string {
		var b strings.Builder
		for _, k := range key {
			fmt.Fprintf(&b, "%d:%s", len(*k), *k)
		}
		return b.String()
	}
	have := map[string]bool{}
	for _, r := range rows {
		have[text(r.Key)] = true
	}
	left = [][]byte{}
	for _, key := range asked {
		if have[text(key)] {
			continue
		}
		id, err := t.idOf(key)
		if err != nil {
			return nil, err
		}
		left = append(left, []byte(id))
	}
	return left, nil
}

// lastOf is the last of some ids, as a position.
func (t *table) lastOf(keys [][]*string) ([]byte, error) {
	id, err := t.idOf(keys[len(keys)-1])
	return []byte(id), err
}

// columnsOf turns ids into a list for each of their columns.
func columnsOf(n int, keys [][]*string) [][]*string {
	columns := make([][]*string, n)
	for _, key := range keys {
		for n, text := range key {
			columns[n] = append(columns[n], text)
		}
	}
	return columns
}

// keyTextsSQL reads the id of a row as an array of texts.
func (t *table) keyTextsSQL(row string) string {
	return `array[` + t.keys(", ", func(_ string, f field) string { return row + f.column() + "::text" }) + `]`
}

// typedKeys are the columns of an id that was passed as texts.
func (t *table) typedKeys(row string) string {
	return t.keys(", ", func(k string, f field) string { return f.typed(row + k) })
}

// typed is a column of the id that was passed as a text.
func (f field) typed(text string) string {
	if f.Type == record.Text {
		return f.ordered(text)
	}
	return text + "::" + f.own()
}

// passed are ids that are passed as a list for each column: a relation a with the
// columns k1, k2, …, and its arguments.
func (t *table) passed(keys [][]*string) (from string, args []any) {
	args = make([]any, len(keys))
	for n := range keys {
		args[n] = keys[n]
	}
	arrays := list(len(keys), ", ", func(n int) string { return fmt.Sprintf("$%d::text[]", n) })
	return `(select ` + t.keys(", ", func(k string, f field) string { return f.typed("g."+k) + " as " + k }) + ` from unnest(` + arrays + `) g(` + t.ks("") + `)) a`, args
}

// marks are ids with the reason why each can't be sent: a relation g.
func (t *table) marks(keys [][]*string, reasons []*string) (args []any, from string) {
	args = make([]any, len(keys), len(keys)+2)
	for n := range keys {
		args[n] = keys[n]
	}
	given := list(len(keys), ", ", func(n int) string { return fmt.Sprintf("$%d::text[]", n) })
	return append(args, reasons), ` from unnest(` + given + fmt.Sprintf(`, $%d::text[]) g(`, len(keys)+1) + t.ks("") + `, reason)`
}

// companions makes those of a batch. A row without one counts as (1,0).
func (o *Old) companions(ctx context.Context, t tx, of *table, keys [][]*string, reasons []*string, again bool, epoch int64) error {
	args, from := of.marks(keys, reasons)
	ks, order := of.ks(""), ` order by `+list(len(of.key), ", ", func(n int) string { return fmt.Sprint(n) })
	if !again {
		_, err := t.exec(ctx, `insert into `+of.companion+`(`+ks+`, rev, epoch, deleted, unfit) select `+of.typedKeys("g.")+`, 1, 0, false, g.reason`+from+order+` on conflict do nothing`, args...)
		return err
	}
	e := fmt.Sprintf("$%d::bigint", len(args)+1)
	_, err := t.exec(ctx, `with counted as (insert into `+of.companion+` as m (`+ks+`, rev, epoch, deleted, unfit) select `+of.typedKeys("g.")+`, 2, `+e+`, false, g.reason`+from+order+`
		on conflict (`+ks+`) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = false, unfit = excluded.unfit returning `+of.ks("m.")+`, m.rev, m.unfit)
		insert into `+of.outbox+` select `+ks+`, rev, `+e+` from counted where unfit is null on conflict do nothing`, slices.Concat(args, []any{epoch})...)
	return err
}
