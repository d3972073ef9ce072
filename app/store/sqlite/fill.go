package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// hold is for how long a batch may keep other programs out: command-line
// programs don't wait at all.
const hold = 20 * time.Millisecond

// Rows of a batch: where it begins, and between what it stays.
const (
	firstBatch = 200
	leastBatch = 20
	mostBatch  = 5_000
)

// fill makes the companions of the rows that have none, in batches.
func (a *adopting) fill(ctx context.Context) error {
	for _, t := range a.tables {
		if err := a.fillTable(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// filling is how far a table is.
type filling struct {
	full     bool
	again    bool // after a gap: no companion is believed
	position record.ID
}

func (t *table) filling(ctx context.Context, c *conn) (f filling, err error) {
	var position string
	if err := c.value(ctx, `SELECT filled FROM migrate_collection WHERE name=?`, &f.full, t.Name); err != nil {
		return f, err
	}
	if err := c.value(ctx, `SELECT again FROM migrate_collection WHERE name=?`, &f.again, t.Name); err != nil {
		return f, err
	}
	if err := c.value(ctx, `SELECT position FROM migrate_collection WHERE name=?`, &position, t.Name); err != nil {
		return f, err
	}
	key, err := hex.DecodeString(position)
	f.position = record.ID(key)
	return f, err
}

func (a *adopting) fillTable(ctx context.Context, t *table) error {
	var total int64
	size := firstBatch
	for done := int64(0); ; {
		var (
			f     filling
			batch []Record
			more  bool
		)
		err := a.read(ctx, "fill in companions", func(ctx context.Context, c *conn, _ store.Fence) (err error) {
			if f, err = t.filling(ctx, c); err != nil || f.full {
				return err
			}
			if total == 0 {
				if err := c.value(ctx, `SELECT count(*) FROM `+t.name, &total); err != nil {
					return err
				}
			}
			batch, more, err = t.rows(ctx, c, f.position, size)
			return err
		})
		if err != nil || f.full {
			return err
		}
		begun := time.Now()
		if err := a.locked(ctx, "fill in companions", func(ctx context.Context, c *conn) error {
			begun = time.Now()
			return a.fillBatch(ctx, c, t, f, batch, !more)
		}); err != nil {
			return err
		}
		took := time.Since(begun)
		done += int64(len(batch))
		a.progress("fill", done, max(total, done))
		if !more {
			if f.again {
				_, err = a.sweep(ctx, t)
			}
			return err
		}
		switch {
		case took > hold*3/4:
			size = max(size/2, leastBatch)
		case took < hold/3:
			size = min(size*3/2, mostBatch)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sqlite: fill in companions: %w", ctx.Err())
		case <-time.After(took): // the others' turn
		}
	}
}

// rows reads the table's own rows behind a position, with why they are unfit.
func (t *table) rows(ctx context.Context, c *conn, after record.ID, limit int) ([]Record, bool, error) {
	position, start, err := t.position(after)
	if err != nil {
		return nil, false, err
	}
	query := `SELECT 1,0,0,0,'','',` + t.ids() + t.values() + ` FROM ` + t.name + ` t WHERE ` + t.behind(since(start)) + ` AND ` + t.fits("t") + t.order()
	found, more, err := t.reader("").records(ctx, c, limit, query, append(position, limit)...)
	return found, more || len(found) == limit, err
}

func since(start bool) string {
	if start {
		return ">="
	}
	return ">"
}

// fillBatch makes the companions of the rows up to the batch's last. The rows may
// have changed since they were read: then a trigger has made their companion.
func (a *adopting) fillBatch(ctx context.Context, c *conn, t *table, f filling, batch []Record, last bool) error {
	fence, err := a.readFence(ctx, c)
	if err != nil {
		return err
	}
	if fence.Primary != store.PrimaryOld || fence.Closing {
		return fmt.Errorf("%w: companions are filled in while old is primary only", store.ErrFenceMoved)
	}
	end := f.position
	if len(batch) > 0 {
		end = batch[len(batch)-1].ID
		if err := t.fillRange(ctx, c, f, end, fence.Epoch); err != nil {
			return err
		}
	}
	for _, r := range batch {
		if r.Unfit == "" || f.again {
			continue
		}
		key, err := t.keyOf(r.ID)
		if err == nil {
			_, err = c.exec(ctx, t.sql.mark, append(append([]any{r.Unfit}, key...), 1, 0)...)
		}
		if err != nil {
			return err
		}
	}
	_, err = c.exec(ctx, `UPDATE migrate_collection SET filled=?, position=? WHERE name=?`, last, hex.EncodeToString([]byte(end)), t.Name)
	return err
}

// fillRange makes the companions behind the filling's position, up to and with
// end. After a gap each record has changed.
func (t *table) fillRange(ctx context.Context, c *conn, f filling, end record.ID, epoch int64) error {
	from, start, err := t.position(f.position)
	if err != nil {
		return err
	}
	to, err := t.keyOf(end)
	if err != nil {
		return err
	}
	values, otherwise := "1,0,0,0", `ON CONFLICT DO NOTHING`
	var args []any
	if f.again {
		values, otherwise = "1,?,1,0", `ON CONFLICT DO UPDATE SET rev=rev+1,epoch=excluded.epoch,pending=1,deleted=0,unfit=NULL`
		args = append(args, epoch)
	}
	query := `INSERT INTO ` + t.companion + `(` + t.keys(",", func(k, _ string) string { return k }) + `,rev,epoch,pending,deleted) SELECT ` +
		t.keys(",", func(_, c string) string { return "t." + c }) + `,` + values + ` FROM ` + t.name + ` t WHERE ` +
		t.behind(since(start)) + ` AND ` + t.behind("<=") + ` AND ` + t.fits("t") + ` ` + otherwise
	_, err = c.exec(ctx, query, append(append(args, from...), to...)...)
	return err
}

// mend guards the tables anew whose guards have a gap. What such a table's
// companions say is not believed any more: a row may have changed unseen.
func (a *adopting) mend(ctx context.Context) error {
	return a.locked(ctx, "take over again", func(ctx context.Context, c *conn) error {
		a.again = nil
		fence, err := a.readFence(ctx, c)
		if err != nil {
			return err
		}
		gaps, err := a.gaps(ctx, c)
		if err != nil || len(gaps) == 0 {
			return err
		}
		if fence.Primary != store.PrimaryOld || fence.Closing {
			return fmt.Errorf("%w: the new database is primary, so what the old one holds isn't taken over by itself; go back to step 3 first, or compare record by record with migrate verify", gapError(gaps))
		}
		for _, g := range gaps {
			sh, err := g.look(ctx, c)
			if err != nil {
				return err
			}
			if !sh.found {
				return g.missing()
			}
			if err := a.unique(ctx, c, g.table, sh); err != nil {
				return err
			}
			if err := g.guardIt(ctx, c); err != nil {
				return err
			}
			if _, err := c.exec(ctx, `UPDATE migrate_collection SET filled=0, again=1, position='' WHERE name=?`, g.Name); err != nil {
				return err
			}
			a.again = append(a.again, g.Name)
		}
		if _, err := c.exec(ctx, `UPDATE migrate_fence SET rules=?`, strings.Join(a.acceptedNames(), "\n")); err != nil {
			return err
		}
		a.log.Warn("tables whose guards had a gap are taken over again", "collections", strings.Join(a.again, ", "))
		return nil
	})
}
