package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"migrate/app/store"
	"migrate/app/task"
)

// Record is one copy of a task.
type Record = store.Record[task.Task]

// Page is a page of records.
type Page = store.Page[task.Task]

// columns read a record as the original program read its row: done is undone
// only where it equals 0, and text is text whatever it is stored as. A row
// that was removed unseen reads as deleted, as it does for the original.
const columns = `r.rev, r.epoch, r.pending, r.deleted OR t.rowid IS NULL, coalesce(r.request,''),
  coalesce(CAST(t.assignee AS TEXT),''), coalesce(CAST(t.description AS TEXT),''), NOT coalesce(t.done=0,0) `

// Companion rows with their tasks, and the other way round. The comparison
// takes its collation from the left side, which is binary.
const (
	allRecords  = `SELECT r.id, ` + columns + `FROM migrate_record r LEFT JOIN tasks t ON r.id=t.id AND r.deleted=0 `
	liveRecords = `SELECT t.id COLLATE BINARY, ` + columns + `FROM tasks t CROSS JOIN migrate_record r ON r.id=t.id AND r.deleted=0 `
)

type scanner interface{ Scan(...any) error }

func scanRecord(row scanner) (Record, error) {
	var r Record
	err := row.Scan(&r.ID, &r.Rev, &r.Epoch, &r.Pending, &r.Deleted, &r.Request,
		&r.Body.Assignee, &r.Body.Description, &r.Body.Done)
	if r.Deleted {
		r.Body = task.Task{}
	}
	return r, err
}

func scanRecords(rows *sql.Rows, err error) ([]Record, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []Record
	for rows.Next() {
		r, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, rows.Err()
}

// Get returns the records that exist, tombstones too, by id.
func (s *Store) Get(ctx context.Context, ids ...string) (map[string]Record, store.Fence, error) {
	var (
		found map[string]Record
		fence store.Fence
	)
	err := s.read(ctx, "get", func(ctx context.Context, c *conn, f store.Fence) error {
		found, fence = make(map[string]Record, len(ids)), f
		for _, id := range ids {
			q, err := c.prepared(ctx, allRecords+`WHERE r.id=?`)
			if err != nil {
				return err
			}
			r, err := scanRecord(q.QueryRowContext(ctx, id))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			found[id] = r
		}
		return nil
	})
	if err != nil {
		return nil, store.Fence{}, err
	}
	return found, fence, nil
}

// CompareAndSwap commits rec, as it is, if the stored pair is expect and the
// fence is at epoch.
func (s *Store) CompareAndSwap(ctx context.Context, epoch int64, rec Record, expect store.Pair) error {
	return s.writeAt(ctx, "commit "+rec.ID, epoch, func(ctx context.Context, c *conn, _ store.Fence) error {
		if err := fit(rec); err != nil {
			return err
		}
		var (
			n   int64
			err error
		)
		if expect == (store.Pair{}) {
			n, err = c.exec(ctx, `INSERT INTO migrate_record(rev,epoch,pending,deleted,request,id) VALUES(?,?,?,?,?,?)
				ON CONFLICT(id) DO NOTHING`, rec.Rev, rec.Epoch, rec.Pending, rec.Deleted, request(rec), rec.ID)
		} else {
			n, err = c.exec(ctx, `UPDATE migrate_record SET rev=?, epoch=?, pending=?, deleted=?, request=?
				WHERE id=? AND rev=? AND epoch=?`, rec.Rev, rec.Epoch, rec.Pending, rec.Deleted, request(rec), rec.ID,
				expect.Rev, expect.Epoch)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: it is not at %v", store.ErrConflict, expect)
		}
		return putRow(ctx, c, rec)
	})
}

// PutIfNewer applies, all or none, each record that is newer than the stored
// one, with pending unset, if the fence is at epoch.
func (s *Store) PutIfNewer(ctx context.Context, epoch int64, recs ...Record) error {
	return s.writeAt(ctx, "replicate", epoch, func(ctx context.Context, c *conn, _ store.Fence) error {
		for _, rec := range recs {
			if err := putIfNewer(ctx, c, rec); err != nil {
				return fmt.Errorf("record %q: %w", rec.ID, err)
			}
		}
		return nil
	})
}

func putIfNewer(ctx context.Context, c *conn, rec Record) error {
	if err := fit(rec); err != nil {
		return err
	}
	n, err := c.exec(ctx, `INSERT INTO migrate_record(id,rev,epoch,pending,deleted,request) VALUES(?,?,?,0,?,?)
		ON CONFLICT(id) DO UPDATE SET rev=excluded.rev, epoch=excluded.epoch, pending=0, deleted=excluded.deleted,
		request=excluded.request WHERE (excluded.rev,excluded.epoch)>(rev,epoch)`,
		rec.ID, rec.Rev, rec.Epoch, rec.Deleted, request(rec))
	if err != nil || n == 0 {
		return err
	}
	return putRow(ctx, c, rec)
}

// putRow makes the original's row what the record says. Columns that we don't
// know keep what they hold.
func putRow(ctx context.Context, c *conn, rec Record) error {
	if rec.Deleted {
		_, err := c.exec(ctx, `DELETE FROM tasks WHERE id=?`, rec.ID)
		return err
	}
	n, err := c.exec(ctx, `UPDATE tasks SET assignee=?, description=?, done=? WHERE id=?`,
		rec.Body.Assignee, rec.Body.Description, rec.Body.Done, rec.ID)
	if err != nil || n > 0 {
		return err
	}
	_, err = c.exec(ctx, `INSERT INTO tasks(id,assignee,description,done) VALUES(?,?,?,?)`,
		rec.ID, rec.Body.Assignee, rec.Body.Description, rec.Body.Done)
	return err
}

// fit refuses an id that no page would ever reach: after "" comes the first.
func fit(rec Record) error {
	if rec.ID == "" {
		return fmt.Errorf("%w: its id is empty", store.ErrUnfit)
	}
	return nil
}

func request(rec Record) sql.NullString {
	return sql.NullString{String: rec.Request, Valid: rec.Request != ""}
}

// ClearPending unsets pending on each copy that is still the stored one, under
// any fence.
func (s *Store) ClearPending(ctx context.Context, marks ...store.Mark) error {
	return s.write(ctx, "clear pending", func(ctx context.Context, c *conn, _ store.Fence) error {
		for _, m := range marks {
			if _, err := c.exec(ctx, `UPDATE migrate_record SET pending=0 WHERE id=? AND rev=? AND epoch=?`,
				m.ID, m.Rev, m.Epoch); err != nil {
				return err
			}
		}
		return nil
	})
}
