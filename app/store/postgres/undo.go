package postgres

import (
	"context"
	"fmt"

	"migrate.invalid/migrate/app/store"
)

// Release implements [store.Adopter]. It returns no path: no copy was made.
func (o *Old) Release(ctx context.Context) (string, error) {
	_, err := o.untilFree(ctx, "release the database", o.release)
	if err == nil {
		o.seen.Store(0)
	}
	return "", err
}

// release takes out what the take-over has put in, triggers last: they hold the
// tables' writers out.
func (o *Old) release(ctx context.Context, t tx) error {
	if err := t.script(ctx, `lock table migrate.gate in exclusive mode`); err != nil {
		return err
	}
	f, err := o.readFence(ctx, t)
	switch {
	case err != nil:
		return err
	case f.Primary != store.PrimaryOld || f.Closing || f.Epoch != 1:
		return fmt.Errorf("%w: the fence is at epoch %d, primary %s: records may be in the new database alone", store.ErrFenceMoved, f.Epoch, f.Primary)
	}
	var statements []string
	for _, of := range o.tables {
		sh, err := of.look(ctx, t)
		if err != nil {
			return err
		}
		if sh.oid == 0 {
			continue
		}
		statements = append(statements, of.dropTriggersSQL()...)
		for _, x := range of.indexesOf() {
			statements = append(statements, `drop index if exists `+x.name)
		}
	}
	return t.all(ctx, append(statements, `drop schema migrate cascade`))
}
