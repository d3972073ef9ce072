package published

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver

	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

type record = todo.Record

// oldTasks is the data access object on SQLite.
type oldTasks struct{ db *sql.DB }

const columns = `id, assignee, description, done, rev`

// openOld opens the original's file. What is added to it is what anybody would
// add: a version number for the answers, and an index on the id.
func openOld(ctx context.Context, path string) (*oldTasks, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open the old database: %w", err)
	}
	o := &oldTasks{db}
	if err := o.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the old database: %w", err), db.Close())
	}
	return o, nil
}

func (o *oldTasks) prepare(ctx context.Context) error {
	var has bool
	err := o.db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_table_info('tasks') WHERE name='rev'`).Scan(&has)
	if err != nil {
		return err
	}
	if !has {
		if _, err := o.db.ExecContext(ctx, `ALTER TABLE tasks ADD COLUMN rev INTEGER NOT NULL DEFAULT 1`); err != nil {
			return err
		}
	}
	_, err = o.db.ExecContext(ctx, `CREATE UNIQUE INDEX IF NOT EXISTS tasks_id ON tasks(id)`)
	return err
}

type scanner interface{ Scan(...any) error }

func scan(row scanner) (r record, err error) {
	err = row.Scan(&r.ID, &r.Body.Assignee, &r.Body.Description, &r.Body.Done, &r.Rev)
	return r, err
}

func (o *oldTasks) get(ctx context.Context, id string) (record, bool, error) {
	r, err := scan(o.db.QueryRowContext(ctx, `SELECT `+columns+` FROM tasks WHERE id=?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return record{}, false, nil
	}
	return r, err == nil, err
}

func (o *oldTasks) put(ctx context.Context, r record) error {
	_, err := o.db.ExecContext(ctx, `INSERT INTO tasks(`+columns+`) VALUES(?,?,?,?,?) ON CONFLICT(id) DO UPDATE
		SET assignee=excluded.assignee, description=excluded.description, done=excluded.done, rev=excluded.rev`,
		r.ID, r.Body.Assignee, r.Body.Description, r.Body.Done, r.Rev)
	return err
}

func (o *oldTasks) delete(ctx context.Context, id string) error {
	_, err := o.db.ExecContext(ctx, `DELETE FROM tasks WHERE id=?`, id)
	return err
}

func (o *oldTasks) list(ctx context.Context, f task.Filter, after string, limit int) ([]record, error) {
	query, args := `SELECT `+columns+` FROM tasks WHERE id>?`, []any{after}
	if f.Assignee != nil {
		query, args = query+` AND assignee=?`, append(args, *f.Assignee)
	}
	if f.Done != nil {
		query, args = query+` AND done=?`, append(args, *f.Done)
	}
	rows, err := o.db.QueryContext(ctx, query+` ORDER BY id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

func (o *oldTasks) close() error { return o.db.Close() }
