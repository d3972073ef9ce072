package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// metaSQL is what the migration keeps about itself in a new database. The mirror is
// in the row that says whose database this is, so that it can't rise in another
// migration's.
func metaSQL() []string {
	return []string{
		`create table migrate_new.meta(one int primary key check (one = 1), format bigint not null, digest text not null, declaration text not null, migration text not null,
  epoch bigint not null default 0, prim text not null default '', line text not null default ` + currentLine + `)`,
		lineSQL(asNew, `meta`),
		`create table migrate_new.probe(one int primary key check (one = 1), token text not null)`,
		`create table migrate_new.registration(instance text collate "C" primary key, registration jsonb not null)`,
		`create table migrate_new.progress(epoch bigint primary key, position bytea not null default '', copied bigint not null default 0, complete boolean not null default false, verify jsonb)`,
		`create table migrate_new.compared(epoch bigint, instance text collate "C", counts jsonb not null, primary key (epoch, instance))`,
	}
}

// identity is the row that says whose database this is.
type identity struct {
	format      int64
	declaration string
	migration   string
	epoch       int64
	primary     store.Primary
}

// identity reads it; nil if there is none. ErrStranger for a database of another
// layout or of another declaration.
func (n *New) identity(ctx context.Context, t tx) (*identity, error) {
	var there bool
	if err := t.QueryRow(ctx, `select to_regclass('migrate_new.meta') is not null`).Scan(&there); err != nil || !there {
		return nil, err
	}
	var held identity
	err := t.QueryRow(ctx, `select format, declaration, migration, epoch, prim from migrate_new.meta`).
		Scan(&held.format, &held.declaration, &held.migration, &held.epoch, &held.primary)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case held.format != format:
		return nil, fmt.Errorf("%w: the new database has format %d, this program writes %d; go on with the version of migrate that wrote it", store.ErrStranger, held.format, format)
	case held.declaration != n.text:
		return nil, fmt.Errorf("%w: the new database was prepared for another declaration of its collections: %s", store.ErrStranger, record.Difference(held.declaration, n.text))
	}
	return &held, nil
}

// of returns ErrStranger unless the database is of this migration.
func (n *New) of(ctx context.Context, t tx, migration string) error {
	held, err := n.identity(ctx, t)
	switch {
	case err != nil:
		return err
	case held == nil:
		return errNoID
	case held.migration != migration:
		return fmt.Errorf("%w: the new database is of migration %s, not of %s", store.ErrStranger, held.migration, migration)
	}
	return nil
}

var errNoID = fmt.Errorf("%w: the new database has no migration id", store.ErrStranger)

// causal runs a read that sees every write which was acknowledged before, by
// whomever. A server that was deposed answers reads from the past, but can't
// acknowledge a write: so the read's transaction writes, too.
func (n *New) causal(ctx context.Context, op string, read work) error {
	err := n.write(ctx, op, func(ctx context.Context, t tx) error {
		if err := n.probed(ctx, t); err != nil {
			return err
		}
		return read(ctx, t)
	})
	if errors.Is(err, store.ErrUnknown) { // of the probe; what was read is not certain
		return fmt.Errorf("postgres: %s: %w: %s", op, store.ErrUnavailable, err)
	}
	return err
}

func (n *New) probed(ctx context.Context, t tx) error {
	_, err := t.exec(ctx, `insert into migrate_new.probe values (1, $1::text) on conflict (one) do update set token = excluded.token`, uuid.NewString())
	return err
}

// Probe implements [store.NewMeta].
func (n *New) Probe(ctx context.Context) error { return n.write(ctx, "probe", n.probed) }

// LastProbe names the last probing write, "" before any. It changes nothing.
func (n *New) LastProbe(ctx context.Context) (token string, err error) {
	err = n.readAny(ctx, "look at the last probe", func(ctx context.Context, t tx) error {
		var there bool
		if err := t.QueryRow(ctx, `select to_regclass('migrate_new.probe') is not null`).Scan(&there); err != nil || !there {
			return err
		}
		return t.QueryRow(ctx, `select coalesce((select token from migrate_new.probe), '')`).Scan(&token)
	})
	return token, err
}

// Identify returns the id of the migration that the database is in, "" if it is in
// none. It changes nothing.
func (n *New) Identify(ctx context.Context) (id string, err error) {
	err = n.readAny(ctx, "look whose database this is", func(ctx context.Context, t tx) error {
		held, err := n.identity(ctx, t)
		if err == nil && held != nil {
			id = held.migration
		}
		return err
	})
	return id, err
}

// look reads what is kept about the migration without writing first.
type look struct{ *New }

// Look implements [store.NewMeta].
func (n *New) Look() store.NewLook { return look{n} }

// Prepared implements [store.NewLook].
func (l look) Prepared(ctx context.Context) (id string, err error) {
	err = l.readAny(ctx, "look whether it is prepared", l.prepared(&id))
	return id, err
}

// Mirror implements [store.NewLook].
func (l look) Mirror(ctx context.Context) (m store.Mirror, err error) {
	err = l.readAny(ctx, "look at the mirror", l.mirror(&m))
	return m, err
}

// Progress implements [store.NewLook].
func (l look) Progress(ctx context.Context, epoch int64) (p store.Progress, err error) {
	err = l.read(ctx, "look at the progress", l.progress(epoch, &p))
	return p, err
}

// Prepared implements [store.NewMeta].
func (n *New) Prepared(ctx context.Context) (id string, err error) {
	err = n.readAny(ctx, "look whether it is prepared", n.prepared(&id))
	return id, err
}

// Mirror implements [store.NewMeta].
func (n *New) Mirror(ctx context.Context) (m store.Mirror, err error) {
	err = n.readAny(ctx, "look whose database this is", func(ctx context.Context, t tx) error {
		held, err := n.identity(ctx, t)
		if err == nil && held == nil {
			err = errNoID
		}
		return err
	})
	if errors.Is(err, errNoID) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	err = n.causal(ctx, "read the mirror", n.mirror(&m))
	return m, err
}

func (n *New) mirror(m *store.Mirror) work {
	return func(ctx context.Context, t tx) error {
		held, err := n.identity(ctx, t)
		if err != nil || held == nil || held.epoch == 0 {
			return err
		}
		*m = store.Mirror{Migration: held.migration, Epoch: held.epoch, Primary: held.primary}
		return nil
	}
}

// RaiseMirror implements [store.NewMeta]. ErrStranger if the database was not
// prepared for the mirror's migration.
func (n *New) RaiseMirror(ctx context.Context, m store.Mirror) error {
	return n.write(ctx, "raise the mirror", func(ctx context.Context, t tx) error {
		if err := n.of(ctx, t, m.Migration); err != nil {
			return err
		}
		_, err := t.exec(ctx, `update migrate_new.meta set epoch = $1::bigint, prim = $2::text where migration = $3::text and epoch < $1::bigint`, m.Epoch, string(m.Primary), m.Migration)
		return err
	})
}

// Register implements [store.NewMeta].
func (n *New) Register(ctx context.Context, r store.Registration) error {
	return n.save(ctx, "register "+r.Instance, `insert into migrate_new.registration values ($1::text, $2::text::jsonb) on conflict (instance) do update set registration = excluded.registration`, r, r.Instance)
}

// Deregister implements [store.NewMeta].
func (n *New) Deregister(ctx context.Context, instance string) error {
	return n.write(ctx, "deregister "+instance, func(ctx context.Context, t tx) error {
		_, err := t.exec(ctx, `delete from migrate_new.registration where instance = $1::text`, instance)
		return err
	})
}

// Registrations implements [store.NewMeta], in order of instances.
func (n *New) Registrations(ctx context.Context) (all []store.Registration, err error) {
	err = n.causal(ctx, "read the registrations", func(ctx context.Context, t tx) error {
		all = []store.Registration{}
		rows, err := t.Query(ctx, `select registration::text from migrate_new.registration order by instance`)
		if err != nil {
			return err
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, text := range texts {
			var r store.Registration
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

// Progress implements [store.NewMeta].
func (n *New) Progress(ctx context.Context, epoch int64) (p store.Progress, err error) {
	err = n.causal(ctx, "read the progress", n.progress(epoch, &p))
	return p, err
}

func (n *New) progress(epoch int64, p *store.Progress) work {
	return func(ctx context.Context, t tx) error {
		*p = store.Progress{Epoch: epoch}
		var (
			position []byte
			verify   *string
		)
		err := t.QueryRow(ctx, `select position, copied, complete, verify::text from migrate_new.progress where epoch = $1::bigint`, epoch).
			Scan(&position, &p.Copied, &p.Complete, &verify)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		p.After = record.ID(position)
		if verify != nil {
			p.Verify = &store.VerifyResult{}
			if err := json.Unmarshal([]byte(*verify), p.Verify); err != nil {
				return err
			}
		}
		rows, err := t.Query(ctx, `select counts::text from migrate_new.compared where epoch = $1::bigint`, epoch)
		if err != nil {
			return err
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, text := range texts {
			var counts map[string]store.Compared
			if err := json.Unmarshal([]byte(text), &counts); err != nil {
				return err
			}
			for name, c := range counts {
				if p.Compared == nil {
					p.Compared = map[string]store.Compared{}
				}
				p.Compared[name] = p.Compared[name].Plus(c)
			}
		}
		return nil
	}
}

// SaveCheckpoint implements [store.NewMeta].
func (n *New) SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error {
	return n.write(ctx, "save the checkpoint", func(ctx context.Context, t tx) error {
		_, err := t.exec(ctx, `insert into migrate_new.progress(epoch, position, copied) values ($1::bigint, $2::bytea, $3::bigint)
			on conflict (epoch) do update set position = excluded.position, copied = excluded.copied`, epoch, []byte(after), copied)
		return err
	})
}

// MarkComplete implements [store.NewMeta].
func (n *New) MarkComplete(ctx context.Context, epoch int64) error {
	return n.write(ctx, "mark the backfill complete", func(ctx context.Context, t tx) error {
		_, err := t.exec(ctx, `insert into migrate_new.progress(epoch, complete) values ($1::bigint, true) on conflict (epoch) do update set complete = true`, epoch)
		return err
	})
}

// SaveVerify implements [store.NewMeta].
func (n *New) SaveVerify(ctx context.Context, epoch int64, result store.VerifyResult) error {
	return n.save(ctx, "save the result of verify", `insert into migrate_new.progress(epoch, verify) values ($1::bigint, $2::text::jsonb) on conflict (epoch) do update set verify = excluded.verify`, result, epoch)
}

// SaveCompared implements [store.NewMeta].
func (n *New) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	return n.save(ctx, "save what was compared", `insert into migrate_new.compared values ($1::bigint, $3::text, $2::text::jsonb) on conflict (epoch, instance) do update set counts = excluded.counts`, c, epoch, instance)
}

// save writes a value as JSON, the second parameter of the statement.
func (n *New) save(ctx context.Context, op, sql string, value any, key any, more ...any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return n.write(ctx, op, func(ctx context.Context, t tx) error {
		_, err := t.exec(ctx, sql, append([]any{key, string(text)}, more...)...)
		return err
	})
}
