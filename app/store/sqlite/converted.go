package sqlite

import (
	"context"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Converted returns up to limit rows, in the order of their ids, that are read
// other than they are stored, with the reason, and how many there are. Writing
// such a record stores it as it is read. Only what is read loosely can be.
func (s *Store) Converted(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	var (
		all   []store.Quarantined
		total int64
	)
	err := s.read(ctx, "read converted", func(ctx context.Context, c *conn, _ store.Fence) error {
		all, total = nil, 0
		for _, t := range s.tables {
			odd, why := t.odd()
			if odd == "" {
				continue
			}
			var n int64
			if err := c.value(ctx, `SELECT count(*) FROM `+t.name+` t WHERE `+odd, &n); err != nil {
				return err
			}
			if total += n; len(all) >= limit {
				continue
			}
			found, err := t.converted(ctx, c, odd, why, limit-len(all))
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
		return nil
	})
	return all, total, err
}

// odd returns the condition under which a row is read other than it is stored,
// and an expression that says why.
func (t *table) odd() (condition, why string) {
	var conditions, reasons []string
	for _, f := range t.body {
		if !f.Loose {
			continue
		}
		column := "t." + f.column()
		is, says := `typeof(`+column+`)<>'text'`, quoted(", "+f.Name+" is stored as ")+`||typeof(`+column+`)`
		if f.Type == record.Bool {
			is, says = `(`+column+` IS NULL OR `+column+` NOT IN (0,1))`, quoted(", "+f.Name+" is ")+`||quote(`+column+`)`
		}
		conditions, reasons = append(conditions, is), append(reasons, `CASE WHEN `+is+` THEN `+says+` ELSE '' END`)
	}
	if len(conditions) == 0 {
		return "", ""
	}
	return `(` + strings.Join(conditions, " OR ") + `) AND ` + t.fits("t"), `substr(` + strings.Join(reasons, "||") + `,3)`
}

func (t *table) converted(ctx context.Context, c *conn, odd, why string, limit int) ([]store.Quarantined, error) {
	query := `SELECT ` + why
	var names []string
	for _, f := range t.Fields {
		names = append(names, f.Column)
		query += `,+t.` + ident(f.Column)
	}
	rows, err := c.query(ctx, query+` FROM `+t.name+` t WHERE `+odd+` ORDER BY `+t.ids()+` LIMIT ?`, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []store.Quarantined
	for rows.Next() {
		q := store.Quarantined{Collection: t.Name}
		values := make([]any, len(names))
		into := []any{&q.Reason}
		for n := range values {
			into = append(into, &values[n])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		q.ID, q.Row = t.nameOf(names, values), t.literals(names, values)
		found = append(found, q)
	}
	return found, rows.Err()
}
