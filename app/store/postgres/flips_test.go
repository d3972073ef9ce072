package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/app/store/storetest"
)

// flipped is what a run of flips has seen.
type flipped struct {
	accepted, refused atomic.Int64
	changed           int // flips after which a row of old has changed
	waits             []time.Duration
}

// flips moves the fence there and back under eight foreign programs at three
// isolation levels, two writers of ours and a relay. While the fence says new, no
// row may change. It ends early once one has, if that is what is looked for.
func flips(t *testing.T, count int, spoil string, until bool) *flipped {
	t.Helper()
	uri := pgtest.Database(t)
	old := openOld(t, uri, storetest.Tasks())
	if spoil != "" {
		run(t, uri, spoil)
	}
	res := &flipped{}
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	for n := range 8 {
		level := []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable}[n%3]
		all.Go(func() { res.foreign(t, ctx, uri, level, uint64(n)) })
	}
	for n := range 2 {
		all.Go(func() { swaps(t, ctx, old, n) })
	}
	all.Go(func() { relays(t, ctx, old) })
	look, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(context.Background())
	hash := func() (sum string) {
		err := look.QueryRow(t.Context(), `select coalesce(md5(string_agg(x::text, ',' order by id)), '') from tasks x`).Scan(&sum)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	move := func(primary store.Primary) {
		fence, err := old.Fence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for {
			err := old.MoveFence(t.Context(), fence, store.Fence{Epoch: fence.Epoch + 1, Primary: primary})
			if err == nil {
				break
			}
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		res.waits = append(res.waits, time.Since(begun))
	}
	for n := 0; n < count && !(until && res.changed > 0); n++ {
		move(store.PrimaryNew)
		before := hash()
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // what is wrongly under way may commit in this time
		if hash() != before {
			res.changed++
		}
		move(store.PrimaryOld)
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
	return res
}

func run(t *testing.T, uri, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// foreign is a program that does to the table what people do.
func (res *flipped) foreign(t *testing.T, ctx context.Context, uri string, level pgx.TxIsoLevel, seed uint64) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(context.Background())
	r := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			for range 1 + r.IntN(3) {
				if err := statement(ctx, tx, level, r); err != nil {
					return err
				}
				if r.IntN(4) == 0 { // a transaction that thinks between its writes
					time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
				}
			}
			return nil
		})
		var e *pgconn.PgError
		switch {
		case err == nil:
			res.accepted.Add(1)
		case errors.As(err, &e) && e.Code == "MG001":
			res.refused.Add(1)
		case errors.As(err, &e) && slices.Contains([]string{"40001", "40P01", "23505"}, e.Code), ctx.Err() != nil:
		default:
			t.Errorf("a foreign program: %v", err)
			return
		}
	}
}

func statement(ctx context.Context, tx pgx.Tx, level pgx.TxIsoLevel, r *rand.Rand) error {
	id, other := fmt.Sprint("f", r.IntN(40)), fmt.Sprint("f", r.IntN(40))
	do := func(sql string, args ...any) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
	switch n := r.IntN(100); {
	case n < 30:
		return do(`insert into tasks values ($1, 'f', 'x', false) on conflict (id) do update set description = tasks.description || 'y'`, id)
	case n < 60:
		return do(`update tasks set description = left(description, 50) || 'z' where id in ($1, $2)`, id, other)
	case n < 75:
		return do(`update tasks set id = $2 where id = $1 and not exists (select from tasks where id = $2)`, id, other)
	case n < 90:
		return do(`delete from tasks where id = $1`, id)
	case n < 99:
		sp, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := sp.Exec(ctx, `update tasks set done = not done where id = $1`, id); err != nil {
			return err
		}
		return sp.Rollback(ctx)
	}
	if level != pgx.ReadCommitted {
		return nil // of another level it is a gap, as TestATruncateOfASnapshotIsAGap shows
	}
	return do(`truncate tasks`)
}

// TRUNCATE removes rows that came after the snapshot of its transaction, and no
// trigger can see which.
func TestATruncateOfASnapshotIsAGap(t *testing.T) {
	uri := pgtest.Database(t)
	old := openOld(t, uri, storetest.Tasks())
	if err := old.CompareAndSwap(t.Context(), 1, taskRecord(t, "a", 1, 1), store.Pair{}); err != nil {
		t.Fatal(err)
	}
	run(t, uri, `begin; truncate tasks; commit`)
	if err := old.Guarded(t.Context()); err != nil {
		t.Errorf("after a plain TRUNCATE: %v", err)
	}
	run(t, uri, `begin isolation level repeatable read; truncate tasks; commit`)
	if err := old.Guarded(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("after one at REPEATABLE READ: %v", err)
	}
	if _, err := old.Adopt(t.Context(), store.AdoptOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := old.Guarded(t.Context()); err != nil {
		t.Errorf("after the take-over was repeated: %v", err)
	}
}

// What a transaction knows of the fence ends with its lock of the gate.
func TestTheEpochIsForgottenWithTheLock(t *testing.T) {
	uri := pgtest.Database(t)
	old := openOld(t, uri, storetest.Tasks())
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	do := func(sql string) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	}
	for _, sql := range []string{`begin`, `savepoint a`, `insert into tasks values ('x', 'b', 'c', false)`, `rollback to a`} {
		if err := do(sql); err != nil {
			t.Fatal(err)
		}
	}
	// The lock is gone, so the fence may move although the transaction is open.
	if err := old.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Fatal(err)
	}
	var e *pgconn.PgError
	if err := do(`insert into tasks values ('x', 'b', 'c', false)`); !errors.As(err, &e) || e.Code != "MG001" {
		t.Errorf("a write after the fence has moved: %v", err)
	}
}

// swaps is a writer of ours, which counts a record up.
func swaps(t *testing.T, ctx context.Context, old *postgres.Old, n int) {
	rec := taskRecord(t, fmt.Sprint("ours", n), 1, 1)
	for ctx.Err() == nil {
		found, fence, err := old.Get(ctx, rec.ID)
		if err != nil || fence.Primary != store.PrimaryOld {
			continue
		}
		held := found[rec.ID]
		next := rec
		next.Rev, next.Epoch, next.Pending = held.Rev+1, fence.Epoch, true
		err = old.CompareAndSwap(ctx, fence.Epoch, next, held.Pair)
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrFenceMoved) && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			t.Errorf("a writer of ours: %v", err)
			return
		}
	}
}

// relays takes what is pending out of the outbox, as if it had been sent.
func relays(t *testing.T, ctx context.Context, old *postgres.Old) {
	for ctx.Err() == nil {
		page, _, err := old.Pending(ctx, "", 50)
		if err == nil && len(page.Records) > 0 {
			marks := make([]store.Mark, len(page.Records))
			for n, r := range page.Records {
				marks[n] = r.Mark()
			}
			err = old.ClearPending(ctx, marks...)
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			t.Errorf("the relay: %v", err)
			return
		}
	}
}

// No row of old changes while the fence says new.
func TestNoRowChangesAfterAFlip(t *testing.T) {
	count := 25
	if text := os.Getenv("MIGRATE_TEST_FLIPS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	res := flips(t, count, "", false)
	slices.Sort(res.waits)
	t.Logf("%d flips there and back; foreign transactions: %d accepted, %d refused; a move took %v in the median, %v at most",
		count, res.accepted.Load(), res.refused.Load(), res.waits[len(res.waits)/2].Round(time.Millisecond), res.waits[len(res.waits)-1].Round(time.Millisecond))
	if res.changed > 0 {
		t.Errorf("rows changed after %d of %d flips", res.changed, count)
	}
	if res.accepted.Load() == 0 || res.refused.Load() == 0 {
		t.Error("foreign writes must be accepted, and refused")
	}
}

// Without the gate, or with a look at the fence of the writer's own snapshot, rows
// change: so the test above can fail.
func TestAFlipWithoutItsRulesIsCaught(t *testing.T) {
	const function = `create or replace function migrate.epoch() returns bigint language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare e bigint; p text; s text;
begin
  %s
  select epoch, prim, state into strict e, p, s from migrate.fence;
  if p <> 'old' or s <> 'open' then raise exception using errcode = 'MG001', message = 'moved'; end if;
  return e;
end $$;
update migrate.collection set guards = migrate.guards('"public"."tasks"', array['id'], 'tasks')`
	for what, gate := range map[string]string{
		"no lock of the gate":                       "",
		"a look by the snapshot of the transaction": "lock table migrate.gate in row share mode;",
	} {
		res := flips(t, 50, fmt.Sprintf(function, gate), true)
		if res.changed == 0 {
			t.Errorf("%s: no row changed in %d flips", what, len(res.waits)/2)
		}
		t.Logf("%s: caught after %d flips", what, len(res.waits)/2)
	}
}
