package sqlite

import (
	"context"

	"migrate/app/store"
	"migrate/app/task"
)

// List returns up to limit tasks that match and whose id is greater than after,
// in bytewise order of ids. A page of one person's undone tasks, or of
// everybody's, reads no more than it returns; one of all that a person has, or
// has done, reads and sorts all of that person's.
func (s *Store) List(ctx context.Context, filter task.Filter, after string, limit int) (Page, store.Fence, error) {
	limit = max(limit, 1)
	query, args := listQuery(filter)
	return s.page(ctx, "list", limit, query, append([]any{after, limit}, args...)...)
}

// listQuery selects what [task.Filter.Match] selects of the bodies that we
// read. ?1 is after, ?2 the limit.
func listQuery(filter task.Filter) (string, []any) {
	where := `WHERE t.id COLLATE BINARY>?1 `
	if filter.Done != nil && *filter.Done {
		where += `AND NOT coalesce(t.done=0,0) `
	} else if filter.Done != nil {
		where += `AND t.done=0 `
	}
	const order = `ORDER BY 1 LIMIT ?2`
	if filter.Assignee == nil {
		return liveRecords + where + order, nil
	}
	// A text that is stored as a blob is another value to SQLite, but not to us.
	query := liveRecords + where + `AND t.assignee=?3 UNION ALL ` +
		liveRecords + where + `AND t.assignee=CAST(?3 AS BLOB) `
	if *filter.Assignee == "" { // which is how a NULL is read
		query += `UNION ALL ` + liveRecords + where + `AND t.assignee IS NULL `
	}
	return query + order, []any{*filter.Assignee}
}

// Pending returns up to limit records with Pending set and an id greater than
// after, in order of ids.
func (s *Store) Pending(ctx context.Context, after string, limit int) (Page, store.Fence, error) {
	limit = max(limit, 1)
	return s.page(ctx, "read pending", limit, allRecords+`WHERE r.pending=1 AND r.id>? ORDER BY r.id LIMIT ?`, after, limit)
}

// Scan returns up to limit records, tombstones too, with an id greater than
// after, in order of ids.
func (s *Store) Scan(ctx context.Context, after string, limit int) (Page, store.Fence, error) {
	limit = max(limit, 1)
	return s.page(ctx, "scan", limit, allRecords+`WHERE r.id>? ORDER BY r.id LIMIT ?`, after, limit)
}

func (s *Store) page(ctx context.Context, op string, limit int, query string, args ...any) (Page, store.Fence, error) {
	var (
		records []Record
		fence   store.Fence
	)
	err := s.read(ctx, op, func(ctx context.Context, c *conn, f store.Fence) (err error) {
		fence = f
		records, err = scanRecords(c.query(ctx, query, args...))
		return err
	})
	if err != nil {
		return Page{}, store.Fence{}, err
	}
	return store.PageOf(records, limit), fence, nil
}

// CountPending returns how many records have Pending set.
func (s *Store) CountPending(ctx context.Context) (int64, error) {
	return s.count(ctx, "count pending", `SELECT count(*) FROM migrate_record WHERE pending=1`)
}

// Count returns how many records there are, tombstones included.
func (s *Store) Count(ctx context.Context) (int64, error) {
	return s.count(ctx, "count", `SELECT count(*) FROM migrate_record`)
}

func (s *Store) count(ctx context.Context, op, query string) (int64, error) {
	var n int64
	err := s.read(ctx, op, func(ctx context.Context, c *conn, _ store.Fence) error {
		return c.value(ctx, query, &n)
	})
	return n, err
}
