package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/app/todo"
)

// foreign measures what the triggers cost programs that know nothing of a
// migration: single-row writes to a PostgreSQL table that was taken over, against
// the same table in another database of the server. Then it measures for how long
// the fence waits for such programs.
func foreign(ctx context.Context, b *bench, p *page) (err error) {
	if err := os.Chmod(b.dir, 0o711); err != nil { // the server may run as another user
		return err
	}
	server, err := local.Start(ctx, local.Config{Dir: filepath.Join(b.dir, "postgres")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop("fast")) }()
	for _, name := range []string{"bare", "guarded"} {
		if err := server.Create(ctx, name); err != nil {
			return err
		}
		if err := server.Exec(ctx, name, `create table tasks(id text primary key, assignee text, description text, done boolean); insert into tasks select 'row '||n, 'Bill', 'a task', false from generate_series(1, 1000) n`); err != nil {
			return err
		}
	}
	old, err := postgres.OpenOld(ctx, postgres.Config{URI: server.URI("guarded"), Collections: todo.Declaration().Collections})
	if err != nil {
		return err
	}
	defer old.Close()
	if _, err := old.Adopt(ctx, store.AdoptOptions{}); err != nil {
		return err
	}
	both := &pair{base: &site{build: build{name: "bare"}}, now: &site{build: build{name: "guarded"}}}
	rows := [][]string{{"write", "clients", "bare, a second", "guarded, a second", "guarded ÷ bare"}}
	for _, write := range []string{"insert", "update"} {
		for _, clients := range []int{1, 16} {
			if !b.wants(write) {
				continue
			}
			turn := func(ctx context.Context, s *site) (values, error) {
				return b.turnOfWrites(ctx, server.URI(s.name), write, clients)
			}
			what := fmt.Sprintf("%s by %d", write, clients)
			c, err := b.compare(ctx, what, both, b.defaults(choose(b, 1, 5), "rate"), turn)
			if err != nil {
				return err
			}
			ratio := c.ratio("rate")
			rows = append(rows, []string{write, fmt.Sprint(clients), figure(of(c.base, "rate").median), figure(of(c.now, "rate").median), ratio.times()})
			p.judge(what, c)
			wanted := map[int]float64{1: 0.55, 16: 0.40}[clients]
			p.want(fmt.Sprintf("%s by %d, guarded ÷ bare", write, clients), fmt.Sprintf("≥ %.2f", wanted), fmt.Sprintf("%.2f", ratio.median), ratio.median >= wanted)
		}
	}
	p.table(rows)
	if !b.wants("flips") {
		return nil
	}
	return b.waits(ctx, server.URI("guarded"), old, p)
}

// turnOfWrites writes for a while, each client a row of its own a time.
func (b *bench) turnOfWrites(ctx context.Context, uri, write string, clients int) (values, error) {
	statement := `insert into tasks values ($1, 'Bill', $2, false)`
	if write == "update" {
		statement = `update tasks set description = $2 where id = $1`
	}
	ctx, stop := context.WithTimeout(ctx, choose(b, time.Second, 3*time.Second))
	defer stop()
	var (
		count  atomic.Int64
		all    sync.WaitGroup
		failed = make(chan error, clients)
		began  = time.Now()
	)
	for n := range clients {
		all.Go(func() {
			conn, err := pgx.Connect(ctx, uri)
			if err != nil {
				failed <- err
				return
			}
			defer conn.Close(context.Background())
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d %d %d", began.UnixNano(), n, i)
				if write == "update" {
					id = fmt.Sprint("row ", 1+(n*61+i)%1000)
				}
				if _, err := conn.Exec(ctx, statement, id, fmt.Sprint("a task ", i)); err != nil {
					if ctx.Err() == nil {
						failed <- err
					}
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	return values{"rate": float64(count.Load()) / time.Since(began).Seconds()}, nil
}

// waits moves the fence there and back beside sixteen programs whose transactions
// last up to 50 ms.
func (b *bench) waits(ctx context.Context, uri string, old *postgres.Old, p *page) error {
	writing, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for range 16 {
		all.Go(func() {
			conn, err := pgx.Connect(writing, uri)
			if err != nil {
				return
			}
			defer conn.Close(context.Background())
			for writing.Err() == nil {
				_ = pgx.BeginFunc(writing, conn, func(tx pgx.Tx) error { // one that is refused begins anew
					if _, err := tx.Exec(writing, `update tasks set done = not done where id = $1`, fmt.Sprint("row ", 1+rand.IntN(1000))); err != nil {
						return err
					}
					sleep(writing, time.Duration(rand.IntN(50))*time.Millisecond)
					return nil
				})
			}
		})
	}
	var took []time.Duration
	for n := range choose(b, 10, 100) {
		b.say("flip %d", n+1)
		for _, primary := range []store.Primary{store.PrimaryNew, store.PrimaryOld} {
			fence, err := old.Fence(ctx)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := old.MoveFence(ctx, fence, store.Fence{Epoch: fence.Epoch + 1, Primary: primary}); err != nil {
				return err
			}
			if primary == store.PrimaryNew { // only then writers are under way
				took = append(took, time.Since(began))
			}
			sleep(ctx, 100*time.Millisecond)
		}
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	p.text("%d moves of the fence beside 16 programs whose transactions last up to 50 ms waited %v in the median and %v at most.",
		len(took), median.Round(time.Millisecond), worst.Round(time.Millisecond))
	p.want("the longest wait of a move of the fence", "< 1 s", worst.Round(time.Millisecond).String(), worst < time.Second)
	return nil
}
