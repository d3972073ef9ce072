package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
)

var (
	_ store.Lined = (*Old)(nil)
	_ store.Lined = (*New)(nil)
)

// kept is the table that has the timeline that was accepted.
func (b *base) kept() string {
	if b.foreign {
		return b.schema + ".fence"
	}
	return b.schema + ".meta"
}

// Line implements [store.Lined]: the timeline of the server's write-ahead log.
func (b *base) Line(ctx context.Context) (now, accepted string, err error) {
	err = b.readAny(ctx, "look which server this is", func(ctx context.Context, t tx) error {
		err := t.QueryRow(ctx, `select `+currentLine+`, line from `+b.kept()).Scan(&now, &accepted)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: the database is in no migration", store.ErrStranger)
		}
		return err
	})
	return now, accepted, err
}

// AcceptLine implements [store.Lined].
func (b *base) AcceptLine(ctx context.Context, line string) error {
	return b.writeAny(ctx, "accept the server", func(ctx context.Context, t tx) error {
		n, err := t.exec(ctx, `update `+b.kept()+` set line = $1::text where $1::text = `+currentLine, line)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: the server writes another timeline than %s: it has failed over again", store.ErrConflict, line)
		}
		return err
	})
}

// Keeps implements [store.Lined]: whether each acknowledged commit is on a second
// server, as far as the settings tell.
func (b *base) Keeps(ctx context.Context) (keeps bool, why string, err error) {
	err = b.readAny(ctx, "look what a failover keeps", func(ctx context.Context, t tx) error {
		var fsync, commit, names string
		var waiting int
		err := t.QueryRow(ctx, `select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
			(select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum'))::int`).Scan(&fsync, &commit, &names, &waiting)
		switch {
		case err != nil:
			return err
		case fsync == "off":
			why = "fsync is off: a crash of the machine can lose what was acknowledged"
		case names == "":
			why = "synchronous_standby_names is empty: a standby that takes over lacks what was acknowledged last"
		default:
			keeps, why = true, "a synchronous standby is configured: "+names
		}
		return nil
	})
	return keeps, why, err
}
