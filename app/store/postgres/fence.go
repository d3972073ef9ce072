package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

const (
	open    = "open"
	closing = "closing"
)

// format is the number of the layout in which this build keeps the protocol's
// state. Another one is refused: two builds at neighbouring steps must not meet
// with two layouts.
const format = 1

// gateWait is how long a move of the fence waits for the writers under way before
// it lets others pass: writers that come later queue behind it.
const gateWait = 400 * time.Millisecond

// readFence reads the fence.
func (b *base) readFence(ctx context.Context, t tx) (fence, error) {
	var (
		f        fence
		state    string
		deadline *int64
	)
	err := t.QueryRow(ctx, `select `+fenceColumns+` from `+b.schema+`.fence f where f.one = 1`).Scan(f.columns(&state, &deadline)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return f, fmt.Errorf("%w: the fence is empty", store.ErrStranger)
	}
	f.set(state, deadline)
	return f, err
}

// known refuses a fence of another format or declaration, and one that is older
// than the store had seen before the transaction began: acknowledged writes are
// missing.
func (o *Old) known(ctx context.Context, t tx, before int64, f fence) error {
	switch {
	case f.format != format:
		return fmt.Errorf("%w: this walk keeps its state in format %d, this build in format %d: finish that walk with the version that began it", store.ErrStranger, f.format, format)
	case f.digest != o.digest:
		var theirs string
		if err := t.QueryRow(ctx, `select declaration from migrate.fence`).Scan(&theirs); err != nil {
			return err
		}
		return fmt.Errorf("%w: this walk has another declaration: %s", store.ErrStranger, record.Difference(theirs, o.text))
	}
	return o.notBefore(before, f.Fence)
}

func (o *Old) notBefore(before int64, f store.Fence) error {
	if f.Epoch < before {
		return fmt.Errorf("%w: the fence is at epoch %d and was at %d: the server has gone back to a former state, without what came since",
			store.ErrStranger, f.Epoch, before)
	}
	for seen := o.seen.Load(); f.Epoch > seen && !o.seen.CompareAndSwap(seen, f.Epoch); seen = o.seen.Load() {
	}
	return nil
}

// Fence returns the fence.
func (o *Old) Fence(ctx context.Context) (found store.Fence, err error) {
	before := o.seen.Load()
	err = o.read(ctx, "read the fence", func(ctx context.Context, t tx) error {
		f, err := o.readFence(ctx, t)
		if err != nil {
			return err
		}
		found = f.Fence
		return o.known(ctx, t, before, f)
	})
	return found, err
}

// MoveFence replaces the fence if it still equals from in epoch, primary, state and
// token. It waits for the writers under way, a little at a time, until the context
// ends; the error names those that it waited for. The deadline is kept to the
// millisecond. It makes new primary only while every table is guarded and filled,
// in the same transaction; else a store.ErrStranger.
func (o *Old) MoveFence(ctx context.Context, from, to store.Fence) error {
	if to.Primary != store.PrimaryOld && to.Primary != store.PrimaryNew {
		return fmt.Errorf("postgres: move the fence: %w: primary %q", store.ErrUnfit, to.Primary)
	}
	bounded, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	for {
		asked := false
		err := o.write(bounded, "move the fence", func(ctx context.Context, t tx) error {
			asked = true
			return o.moveFence(ctx, t, from, to)
		})
		late := bounded.Err() != nil && asked && !errors.Is(err, store.ErrUnknown)
		switch {
		case err == nil:
			return o.notBefore(0, to)
		case late && ctx.Err() == nil:
			return fmt.Errorf("postgres: move the fence: %w: writers are under way: %s", store.ErrUnavailable, o.holders())
		case late:
			return fmt.Errorf("%w; writers are under way: %s", err, o.holders())
		case code(err) != codeNoLock && code(err) != codeCancelled: // the server's own limit may come first
			return err
		}
		select {
		case <-bounded.Done():
			return fmt.Errorf("%w; writers are under way: %s", err, o.holders())
		case <-time.After(20*time.Millisecond + rand.N(40*time.Millisecond)):
		}
	}
}

func (o *Old) moveFence(ctx context.Context, t tx, from, to store.Fence) error {
	if from.Primary == store.PrimaryNew && to.Primary == store.PrimaryOld {
		if err := o.raiseCounters(ctx, t); err != nil {
			return err
		}
	}
	if err := t.script(ctx, fmt.Sprintf("set local lock_timeout to %d; lock table migrate.gate in exclusive mode", gateWait.Milliseconds())); err != nil {
		return err
	}
	if from.Primary == store.PrimaryOld && to.Primary == store.PrimaryNew {
		if err := o.lookForGuards(ctx, t); err != nil {
			return err
		}
		if err := o.lookForCompanions(ctx, t); err != nil {
			return err
		}
	}
	state := open
	if to.Closing {
		state = closing
	}
	var token *string
	if to.Token != "" {
		token = &to.Token
	}
	var deadline *int64
	if !to.Deadline.IsZero() {
		ms := to.Deadline.UnixMilli()
		deadline = &ms
	}
	was := open
	if from.Closing {
		was = closing
	}
	n, err := t.exec(ctx, `update migrate.fence set epoch = $1::bigint, prim = $2::text, state = $3::text, token = $4::text, deadline = $5::bigint
		where epoch = $6::bigint and prim = $7::text and state = $8::text and coalesce(token, '') = $9::text`,
		to.Epoch, string(to.Primary), state, token, deadline, from.Epoch, string(from.Primary), was, from.Token)
	if err != nil || n == 1 {
		return err
	}
	f, err := o.readFence(ctx, t)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: it is at epoch %d, primary %s", store.ErrFenceMoved, f.Epoch, f.Primary)
}

// holders names the transactions that a move of the fence waits for.
func (b *base) holders() string {
	return b.holdersOf(`'migrate.gate'::regclass`, `(select) n`)
}

// holdersOf names the transactions that have a lock on the tables that writers
// have, as regclass. A prepared transaction has no process, and is known by the lock
// on its number: its virtual one says that only after a restart.
func (b *base) holdersOf(tables, from string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var all []string
	err := b.readAny(ctx, "look who writes", func(ctx context.Context, t tx) error {
		rows, err := t.Query(ctx, `select distinct coalesce('process ' || a.pid || ' (' || coalesce(nullif(a.application_name, ''), 'no name') || ', user ' || coalesce(a.usename, '?') || ', ' || coalesce(a.state, '?')
			|| ', for ' || extract(epoch from now() - a.xact_start)::bigint || ' s)', 'the prepared transaction ' || p.gid, 'a transaction that can''t be seen')
			from `+from+` join pg_locks l on l.relation = `+tables+` left join pg_stat_activity a on a.pid = l.pid
			left join pg_locks x on l.pid is null and x.pid is null and x.locktype = 'transactionid' and x.granted and x.virtualtransaction = l.virtualtransaction
			left join pg_prepared_xacts p on p.transaction = x.transactionid
			where l.database = (select oid from pg_database where datname = current_database()) and l.granted and l.mode <> 'AccessShareLock' limit 5`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	switch {
	case err != nil:
		return "they can't be named: " + err.Error()
	case len(all) == 0:
		return "they have ended since"
	}
	return strings.Join(all, "; ")
}

// Writable returns nil if a write could begin now. It takes the writers' side of
// the gate and gives it back at once.
func (o *Old) Writable(ctx context.Context) error {
	err := o.write(ctx, "begin a write", func(ctx context.Context, t tx) error {
		if err := t.script(ctx, `lock table migrate.gate in row share mode`); err != nil {
			return err
		}
		return errOnlyTried
	})
	if errors.Is(err, errOnlyTried) {
		return nil
	}
	return err
}

// errOnlyTried ends a transaction that was only to show that it can begin.
var errOnlyTried = fmt.Errorf("%w: only tried", store.ErrConflict)
