package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/store"
)

// Guarded returns nil if every table has its triggers and a unique id, and no
// guard is left behind; else a store.ErrStranger that names what is missing. It
// looks at the triggers only when the schema has changed since it last did.
func (s *Store) Guarded(ctx context.Context) error {
	return s.read(ctx, "look for the triggers", func(ctx context.Context, c *conn, _ store.Fence) error {
		return s.lookForGuards(ctx, c)
	})
}

func (s *Store) lookForGuards(ctx context.Context, c *conn) error {
	left := 0
	if err := c.value(ctx, `SELECT EXISTS(SELECT 1 FROM migrate_guard)`, &left); err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%w: programs that know nothing of the migration are not held back: the table migrate_guard has a row, which no transaction may leave; delete it once nothing of ours writes",
			store.ErrStranger)
	}
	var version int64
	if err := c.value(ctx, `PRAGMA schema_version`, &version); err != nil {
		return err
	}
	if c.looked && c.version == version {
		return c.guarded
	}
	gaps, err := s.gaps(ctx, c)
	if err != nil {
		return err
	}
	c.looked, c.version, c.guarded = true, version, nil
	if len(gaps) > 0 {
		c.guarded = gapError(gaps)
	}
	return c.guarded
}

// gap is a table whose writers are not held back.
type gap struct {
	*table
	wrong []string
}

// gapError says which tables those are and what to do.
func gapError(gaps []gap) error {
	var all []string
	for _, g := range gaps {
		all = append(all, fmt.Sprintf("%s (%s)", g.Table, strings.Join(g.wrong, ", ")))
	}
	return fmt.Errorf("%w: programs that know nothing of the migration are not held back at %s: was a table rebuilt? While old is primary, migrate adopt takes it over again",
		store.ErrStranger, strings.Join(all, ", "))
}

// gaps returns the tables that lack a guard, or have another one.
func (s *Store) gaps(ctx context.Context, c *conn) ([]gap, error) {
	var gaps []gap
	for _, t := range s.tables {
		sh, err := t.look(ctx, c)
		if err != nil {
			return nil, err
		}
		wrong, err := t.compare(ctx, c, sh)
		if err != nil {
			return nil, err
		}
		if len(wrong) > 0 {
			slices.Sort(wrong)
			gaps = append(gaps, gap{t, wrong})
		}
	}
	return gaps, nil
}

// compare names what differs from the guards that the table should have.
func (t *table) compare(ctx context.Context, c *conn, sh shape) (wrong []string, err error) {
	if !sh.found || sh.kind != "table" {
		return []string{"the table is missing"}, nil
	}
	found, err := t.foundTriggers(ctx, c)
	if err != nil {
		return nil, err
	}
	for name, text := range t.triggers(sh) {
		switch found[name] {
		case text:
		case "":
			wrong = append(wrong, "trigger "+name+" is missing")
		default:
			wrong = append(wrong, "trigger "+name+" has another text")
		}
	}
	if !t.uniqueID(sh) {
		wrong = append(wrong, "its id is not unique: index migrate_"+t.Name+".id is missing")
	}
	return wrong, nil
}

// foundTriggers returns the triggers of ours, by name, wherever they are: they go
// with a table that is renamed.
func (t *table) foundTriggers(ctx context.Context, c *conn) (map[string]string, error) {
	rows, err := c.QueryContext(ctx, `SELECT name, sql FROM sqlite_master WHERE type='trigger' AND substr(name,1,length(?1))=?1`, "migrate_"+t.Name+".")
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

// Filled returns nil once every table's rows have their companions.
func (s *Store) Filled(ctx context.Context) error {
	return s.read(ctx, "look whether the companions are complete", func(ctx context.Context, c *conn, _ store.Fence) error {
		return s.lookForCompanions(ctx, c)
	})
}

func (s *Store) lookForCompanions(ctx context.Context, c *conn) error {
	var left []string
	for _, t := range s.tables {
		full := false
		if err := c.value(ctx, `SELECT coalesce(max(filled),0) FROM migrate_collection WHERE name=?`, &full, t.Name); err != nil {
			return err
		}
		if full {
			continue
		}
		var made, rows int64
		if err := c.value(ctx, `SELECT count(*) FROM `+t.companion, &made); err != nil {
			return err
		}
		if err := c.value(ctx, `SELECT count(*) FROM `+t.name, &rows); err != nil {
			return err
		}
		left = append(left, fmt.Sprintf("%s: %d of about %d rows", t.Name, made, rows))
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: the take-over is not complete (%s); migrate adopt goes on with it", store.ErrStranger, strings.Join(left, ", "))
	}
	return nil
}

// Sweep turns records whose row a foreign writer removed unseen into tombstones
// and returns how many; only while old is primary and open, else 0.
//
// The search holds no lock against writers; what it finds is looked at again.
// Where the triggers are gone the rows may have been moved, not removed: then
// nothing is swept, with the error of Guarded.
func (s *Store) Sweep(ctx context.Context) (int64, error) {
	var swept int64
	for _, t := range s.tables {
		n, err := s.sweep(ctx, t)
		if err != nil {
			return swept, err
		}
		swept += n
	}
	return swept, nil
}

func (s *Store) sweep(ctx context.Context, t *table) (int64, error) {
	var gone [][]any
	vanished := ` WHERE deleted=0 AND NOT EXISTS(SELECT 1 FROM ` + t.name + ` x WHERE ` + t.same(t.companion, "x") + `)`
	err := s.read(ctx, "sweep", func(ctx context.Context, c *conn, f store.Fence) error {
		gone = nil
		rows, err := c.query(ctx, `SELECT `+t.keys(",", func(k, _ string) string { return k })+` FROM `+t.companion+vanished)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			key, into := make([]any, len(t.key)), make([]any, len(t.key))
			for n := range key {
				into[n] = &key[n]
			}
			if err := rows.Scan(into...); err != nil {
				return err
			}
			gone = append(gone, key)
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
		if err := s.lookForGuards(ctx, c); err != nil {
			return err
		}
		for _, key := range gone {
			n, err := c.exec(ctx, `UPDATE `+t.companion+` SET rev=rev+1, epoch=?, pending=1, deleted=1, unfit=NULL`+vanished+
				` AND `+t.keys(" AND ", func(k, _ string) string { return k + "=?" }), append([]any{f.Epoch}, key...)...)
			if err != nil {
				return err
			}
			swept += n
		}
		return nil
	})
	return swept, err
}
