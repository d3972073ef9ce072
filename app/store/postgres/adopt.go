package postgres

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/store"
)

// contact is the advisory lock under which a database is taken over.
const contact = 0x6d69677261746500

// Adopt takes the tables over.
func (o *Old) Adopt(ctx context.Context, options store.AdoptOptions) (a store.Adopted, err error) {
	err = o.writeAny(ctx, "take the database over", func(ctx context.Context, t tx) error {
		if err := t.script(ctx, fmt.Sprintf("select pg_advisory_xact_lock(%d)", int64(contact))); err != nil {
			return err
		}
		var there bool
		if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&there); err != nil {
			return err
		}
		if there {
			f, err := o.readFence(ctx, t)
			if err != nil {
				return err
			}
			a.Migration = f.Migration
			return o.known(ctx, t, 0, f)
		}
		a.Migration, a.Fresh = newID(), true
		return o.lay(ctx, t, a.Migration)
	})
	return a, err
}

func newID() string {
	id, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		panic(err) // the reader never fails
	}
	return id.String()
}

// lay makes all that the protocol needs.
func (o *Old) lay(ctx context.Context, t tx, migration string) error {
	statements := append([]string{`create schema migrate`}, fenceSQL()...)
	for _, of := range o.tables {
		sh, err := of.look(ctx, t)
		if err != nil {
			return err
		}
		if sh.oid == 0 {
			if !o.cfg.Create {
				return fmt.Errorf("%w: there is no table %s", store.ErrUnsuited, of.name)
			}
			if err := t.script(ctx, of.createSQL()); err != nil {
				return err
			}
			if sh, err = of.look(ctx, t); err != nil {
				return err
			}
		}
		statements = append(statements, of.companionSQL()...)
		if order := of.orderSQL(); order != "" {
			statements = append(statements, order)
		}
		statements = append(statements, of.writeSQL(sh), of.togetherSQL(sh))
		statements = append(statements, of.triggersSQL()...)
		statements = append(statements, `insert into migrate.collection(name, filled) values (`+literal(of.Name)+`, true)`)
	}
	for _, s := range statements {
		if err := t.script(ctx, s); err != nil {
			return fmt.Errorf("%w\n%s", err, s)
		}
	}
	_, err := t.exec(ctx, `insert into migrate.fence(one, format, digest, declaration, migration, epoch, prim, state) values (1, $1::bigint, $2::text, $3::text, $4::text, 1, 'old', 'open')`,
		format, o.digest, o.text, migration)
	return err
}

func (o *Old) lookForGuards(ctx context.Context, t tx) error     { return nil }
func (o *Old) lookForCompanions(ctx context.Context, t tx) error { return nil }
