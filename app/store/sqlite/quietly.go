package sqlite

import (
	"context"
	"slices"
	"strings"
)

// quietly runs fn, within the connection's transaction, while the table has no
// trigger of the person's: fn moves rows, which those must not take for a deletion
// or a new row. All triggers are made again with their own text and in their
// former order, ours too, so that they go on firing in that order.
func (t *table) quietly(ctx context.Context, c *conn, fn func() error) error {
	names, texts, err := t.allTriggers(ctx, c)
	if err != nil {
		return err
	}
	ours := func(name string) bool { return strings.HasPrefix(name, "migrate_"+t.Name+".") }
	if !slices.ContainsFunc(names, func(name string) bool { return !ours(name) }) {
		return fn()
	}
	drop := func(meant bool) error {
		for _, name := range names {
			if ours(name) != meant {
				continue
			}
			if _, err := c.ExecContext(ctx, `DROP TRIGGER main.`+ident(name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := drop(false); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	if err := drop(true); err != nil {
		return err
	}
	return execAll(ctx, c, texts)
}

// allTriggers returns the names and the texts of the table's triggers, in the
// order in which they were made.
func (t *table) allTriggers(ctx context.Context, c *conn) (names, texts []string, err error) {
	rows, err := c.QueryContext(ctx, `SELECT name, sql FROM main.sqlite_master WHERE type='trigger' AND tbl_name=? COLLATE NOCASE ORDER BY rowid`, t.Table)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, nil, err
		}
		names, texts = append(names, name), append(texts, text)
	}
	return names, texts, rows.Err()
}
