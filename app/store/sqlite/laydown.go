package sqlite

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"
	codes "modernc.org/sqlite/lib"
)

// maxRow is how many bytes of id and text a record may have: a MongoDB
// document ends at 16 MiB, and ours holds a little more than these.
const maxRow = 15 << 20

// layDown does the first contact in the connection's transaction, unless
// another was faster.
func layDown(ctx context.Context, c *conn, create bool) (Contact, error) {
	migration, tasks, err := inspect(ctx, c, create)
	if err != nil || migration != "" {
		return Contact{Migration: migration}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Contact{}, err
	}
	if !tasks {
		if _, err := c.ExecContext(ctx, originalSQL); err != nil {
			return Contact{}, err
		}
	}
	if _, err := c.ExecContext(ctx, schemaSQL); err != nil {
		return Contact{}, err
	}
	if err := setAside(ctx, c); err != nil {
		return Contact{}, err
	}
	rest := listSQL + `; INSERT INTO migrate_record SELECT id,1,0,0,0,NULL FROM tasks ORDER BY id COLLATE BINARY;` + triggersSQL
	if _, err := c.ExecContext(ctx, rest); err != nil {
		return Contact{}, err
	}
	if _, err := c.ExecContext(ctx, `INSERT INTO migrate_fence VALUES(1,?,1,'old','open',NULL,NULL)`, id.String()); err != nil {
		return Contact{}, err
	}
	contact := Contact{Migration: id.String(), Fresh: true}
	if err := c.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM migrate_record), (SELECT count(*) FROM migrate_quarantine)`).
		Scan(&contact.Rows, &contact.Quarantined); err != nil {
		return Contact{}, err
	}
	return contact, nil
}

// setAside moves what can't be a record to the quarantine and makes ids unique.
// Of several rows with one id the first is the record, or, if it can't be one,
// none is: another must not quietly take its place.
func setAside(ctx context.Context, c *conn) error {
	move, err := quarantineSQL(ctx, c)
	if err != nil {
		return err
	}
	aside := func(reason, where string, args ...any) error {
		if _, err := c.ExecContext(ctx, move+`WHERE `+where+` ORDER BY rowid`, append([]any{reason}, args...)...); err != nil {
			return err
		}
		_, err := c.ExecContext(ctx, `DELETE FROM tasks WHERE `+where, args...)
		return err
	}
	for _, not := range []struct{ reason, where string }{
		{"null id", `id IS NULL`}, {"blob id", `typeof(id)='blob'`}, {"empty id", `id=''`},
	} {
		if err := aside(not.reason, not.where); err != nil {
			return err
		}
	}
	if err := unique(ctx, c, aside); err != nil {
		return err
	}
	unfit, err := unfitRows(ctx, c)
	if err != nil {
		return err
	}
	for _, u := range unfit {
		if err := aside(u.reason, `rowid=?`, u.rowid); err != nil {
			return err
		}
	}
	return nil
}

// unique makes the index on the id. Only if that fails are repeated ids looked
// for, which costs more than the index.
func unique(ctx context.Context, c *conn, aside func(string, string, ...any) error) error {
	_, err := c.ExecContext(ctx, uniqueSQL)
	if code(err)&0xff != codes.SQLITE_CONSTRAINT {
		return err
	}
	if err := aside(repeated, `rowid NOT IN (SELECT min(rowid) FROM tasks GROUP BY id COLLATE BINARY)`); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, uniqueSQL)
	return err
}

type unfit struct {
	rowid  int64
	reason string
}

// unfitRows finds what a MongoDB document can't hold.
func unfitRows(ctx context.Context, c *conn) ([]unfit, error) {
	rows, err := c.QueryContext(ctx, `SELECT rowid, id, CAST(assignee AS TEXT), CAST(description AS TEXT) FROM tasks`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []unfit
	for rows.Next() {
		var (
			rowid                     int64
			id, assignee, description []byte
		)
		if err := rows.Scan(&rowid, &id, &assignee, &description); err != nil {
			return nil, err
		}
		if reason := whyUnfit(id, assignee, description); reason != "" {
			found = append(found, unfit{rowid, reason})
		}
	}
	return found, rows.Err()
}

func whyUnfit(id, assignee, description []byte) string {
	switch size := len(id) + len(assignee) + len(description); {
	case !utf8.Valid(id):
		return "id is not valid UTF-8"
	case !utf8.Valid(assignee):
		return "assignee is not valid UTF-8"
	case !utf8.Valid(description):
		return "description is not valid UTF-8"
	case size > maxRow:
		return fmt.Sprintf("%d bytes, more than a MongoDB document may have", size)
	}
	return ""
}
