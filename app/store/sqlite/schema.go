package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
)

// What the protocol keeps beside the original's table, and the triggers on it.
var (
	//go:embed schema.sql
	schemaSQL string
	//go:embed triggers.sql
	triggersSQL string
)

// The original's schema, for a fresh file.
const originalSQL = `CREATE TABLE tasks(id text, assignee text, description text, done boolean);
CREATE INDEX tasks_assignee_done ON tasks(assignee, done);`

// uniqueSQL makes an id name one row.
const uniqueSQL = `CREATE UNIQUE INDEX migrate_id ON tasks(id COLLATE BINARY)`

// listSQL makes a page of one person's undone tasks, the list that the
// original offers, a walk along one index.
const listSQL = `CREATE INDEX migrate_list ON tasks(assignee, done, id COLLATE BINARY)`

// guardsSQL selects what holds a foreign writer inside the protocol, as the
// schema knows it.
const guardsSQL = `SELECT name, sql FROM sqlite_master WHERE tbl_name='tasks'
  AND name IN ('migrate_ins','migrate_upd','migrate_del','migrate_id')`

// guards returns the guards that the database on this connection has, by name.
func guards(ctx context.Context, q interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}) (map[string]string, error) {
	rows, err := q.QueryContext(ctx, guardsSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]string{}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		found[name] = text
	}
	return found, rows.Err()
}

// expectedGuards returns the guards as SQLite itself writes them down, which it
// is asked to do in an empty database.
func expectedGuards(ctx context.Context) (map[string]string, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, originalSQL+schemaSQL+uniqueSQL+";"+triggersSQL); err != nil {
		return nil, fmt.Errorf("the schema in memory: %w", err)
	}
	return guards(ctx, db)
}
