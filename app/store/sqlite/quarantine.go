package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"migrate/app/store"
)

const repeated = "repeated id"

// Isolate moves a record that the new database can't hold to the quarantine
// and leaves a tombstone. Isolating the tombstone forgets it: a database that
// can't hold even that holds nothing under this id.
func (s *Store) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	return s.writeAt(ctx, "isolate "+mark.ID, epoch, func(ctx context.Context, c *conn, f store.Fence) error {
		var deleted bool
		err := c.value(ctx, `SELECT deleted FROM migrate_record WHERE id=? AND rev=? AND epoch=?`, &deleted,
			mark.ID, mark.Rev, mark.Epoch)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: it is not at %v", store.ErrConflict, mark.Pair)
		}
		if err != nil {
			return err
		}
		if deleted {
			_, err := c.exec(ctx, `DELETE FROM migrate_record WHERE id=?`, mark.ID)
			return err
		}
		move, err := quarantineSQL(ctx, c)
		if err != nil {
			return err
		}
		if _, err := c.ExecContext(ctx, move+`WHERE id=?`, reason, mark.ID); err != nil {
			return err
		}
		if _, err := c.exec(ctx, `DELETE FROM tasks WHERE id=?`, mark.ID); err != nil {
			return err
		}
		stamp := f.Epoch
		if f.Primary == store.PrimaryNew {
			stamp = mark.Epoch // a change that new commits meanwhile must be newer than the tombstone
		}
		_, err = c.exec(ctx, `UPDATE migrate_record SET rev=rev+1, epoch=?, pending=1, deleted=1 WHERE id=?`, stamp, mark.ID)
		return err
	})
}

// quarantineSQL copies rows of tasks, with all their columns, to the
// quarantine; the reason is its first argument.
func quarantineSQL(ctx context.Context, c *conn) (string, error) {
	rows, err := c.QueryContext(ctx, `SELECT name FROM pragma_table_info('tasks')
		WHERE lower(name) NOT IN ('id','assignee','description','done')`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	extra := `''`
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", err
		}
		extra += fmt.Sprintf(`||', '||%s||'='||quote(%s)`, literal(name), `"`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	return `INSERT INTO migrate_quarantine(reason,id,assignee,description,done,extra)
		SELECT ?,id,assignee,description,done,` + extra + ` FROM tasks `, rows.Err()
}

// Quarantine returns the rows on which nobody has decided. A record created
// under the id since then is a decision; the first of several rows with the
// same id is not, it was there before.
func (s *Store) Quarantine(ctx context.Context) ([]store.Quarantined, error) {
	var list []store.Quarantined
	err := s.read(ctx, "read the quarantine", func(ctx context.Context, c *conn, _ store.Fence) (err error) {
		list, err = quarantined(c.query(ctx, `SELECT n, reason, id, assignee, description, done, extra FROM migrate_quarantine q
			WHERE reason=? OR NOT EXISTS(SELECT 1 FROM migrate_record r WHERE r.id=q.id AND r.deleted=0) ORDER BY n`, repeated))
		return err
	})
	return list, err
}

// Drop removes the quarantined rows that are listed with this id for good and
// returns how many there were.
func (s *Store) Drop(ctx context.Context, id string) (int64, error) {
	var dropped int64
	err := s.write(ctx, "drop "+id, func(ctx context.Context, c *conn, _ store.Fence) error {
		dropped = 0
		list, err := quarantined(c.query(ctx, `SELECT n, reason, id, NULL, NULL, NULL, NULL FROM migrate_quarantine`))
		if err != nil {
			return err
		}
		for _, q := range list {
			if q.ID != id {
				continue
			}
			if _, err := c.exec(ctx, `DELETE FROM migrate_quarantine WHERE n=?`, q.N); err != nil {
				return err
			}
			dropped++
		}
		return nil
	})
	return dropped, err
}

func quarantined(rows *sql.Rows, err error) ([]store.Quarantined, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []store.Quarantined
	for rows.Next() {
		var (
			q                               store.Quarantined
			id, assignee, description, done any
			extra                           sql.NullString
		)
		if err := rows.Scan(&q.N, &q.Reason, &id, &assignee, &description, &done, &extra); err != nil {
			return nil, err
		}
		q.ID = name(id)
		q.Row = fmt.Sprintf("id=%s, assignee=%s, description=%s, done=%s%s",
			literal(id), literal(assignee), literal(description), literal(done), extra.String)
		list = append(list, q)
	}
	return list, rows.Err()
}

// name is an id as people see and type it: the text itself, if it is one. The
// empty text is written as in SQL, since nobody can type nothing; so is the
// text that this would be mistaken for.
func name(id any) string {
	if s, ok := id.(string); ok && utf8.ValidString(s) && s != "" && s != "''" {
		return s
	}
	return literal(id)
}

// literal writes a stored value in SQL.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	case string:
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return fmt.Sprintf("CAST(x'%x' AS TEXT)", v)
		}
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// oddSQL holds for a row that is read other than it is stored.
const oddSQL = `typeof(assignee)<>'text' OR typeof(description)<>'text' OR done IS NULL OR done NOT IN (0,1)`

// Converted returns up to limit ids, in order, of tasks that are read other
// than they are stored, with the reason, and how many there are. Writing such a
// task stores it as it is read.
func (s *Store) Converted(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	var (
		list  []store.Quarantined
		total int64
	)
	err := s.read(ctx, "read converted", func(ctx context.Context, c *conn, _ store.Fence) (err error) {
		if err := c.value(ctx, `SELECT count(*) FROM tasks WHERE `+oddSQL, &total); err != nil {
			return err
		}
		list, err = quarantined(c.query(ctx, `SELECT 0, substr(
			CASE typeof(assignee) WHEN 'text' THEN '' ELSE ', assignee is stored as '||typeof(assignee) END||
			CASE typeof(description) WHEN 'text' THEN '' ELSE ', description is stored as '||typeof(description) END||
			CASE WHEN done IN (0,1) THEN '' ELSE ', done is '||quote(done) END, 3),
			id, assignee, description, done, NULL FROM tasks WHERE `+oddSQL+` ORDER BY id LIMIT ?`, limit))
		return err
	})
	return list, total, err
}

// Sweep turns records whose row a foreign writer removed unseen into
// tombstones and returns how many; only while old is primary and open, else 0.
//
// The search holds no lock against writers; what it finds is looked at again.
// Where the triggers are gone the rows may have been moved, not removed: then
// nothing is swept, with the error of Guarded.
func (s *Store) Sweep(ctx context.Context) (int64, error) {
	var gone []string
	err := s.read(ctx, "sweep", func(ctx context.Context, c *conn, f store.Fence) error {
		gone = nil
		rows, err := c.query(ctx, `SELECT id FROM migrate_record r WHERE deleted=0
			AND NOT EXISTS(SELECT 1 FROM tasks t WHERE r.id=t.id)`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			gone = append(gone, id)
		}
		return rows.Err()
	})
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	var swept int64
	err = s.write(ctx, "sweep", func(ctx context.Context, c *conn, f store.Fence) error {
		swept = 0
		if f.Primary != store.PrimaryOld || f.Closing {
			return nil
		}
		if err := lookForGuards(ctx, c); err != nil {
			return err
		}
		for _, id := range gone {
			n, err := c.exec(ctx, `UPDATE migrate_record AS r SET rev=rev+1, epoch=?, pending=1, deleted=1
				WHERE id=? AND deleted=0 AND NOT EXISTS(SELECT 1 FROM tasks t WHERE r.id=t.id)`, f.Epoch, id)
			if err != nil {
				return err
			}
			swept += n
		}
		return nil
	})
	return swept, err
}
