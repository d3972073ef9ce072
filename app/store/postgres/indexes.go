package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// index is one by which pages go.
type index struct {
	name, create string // the name with its schema
}

// indexesOf are those of a table: that of the ids' order first, if it needs one.
func (t *table) indexesOf() (all []index) {
	for _, s := range append([]string{t.orderSQL()}, t.listsSQL()...) {
		if s != "" {
			name := strings.TrimPrefix(strings.SplitN(s, " on ", 2)[0], "create index ")
			all = append(all, index{ident(t.schema) + "." + name, strings.Replace(s, "create index ", "create index concurrently ", 1)})
		}
	}
	return all
}

// hasOrder is the condition under which pages are a walk along an index.
func (t *table) hasOrder() string {
	if t.orderSQL() == "" {
		return "true"
	}
	return `coalesce((select indisvalid from pg_index where indexrelid = to_regclass(` + literal(t.indexesOf()[0].name) + `)), false)`
}

// indexes makes those by which pages and lists go, without a lock that writers
// feel. One that was not made to its end is made anew. Only one take-over does so
// at a time, and none waits for another within a statement: the index would wait
// for its snapshot.
func (o *Old) indexes(ctx context.Context, of *table) error {
	// By the simple protocol: a portal would keep its snapshot beyond its statement.
	alone := fmt.Sprintf("do $$ begin if not pg_try_advisory_xact_lock(%d) then raise exception using errcode = '%s', message = 'another take-over makes indexes'; end if; end $$", int64(contact+1), codeNoLock)
	for {
		err := o.patient().readAny(ctx, "make the indexes", func(ctx context.Context, t tx) error {
			if err := t.script(ctx, alone); err != nil {
				return err
			}
			for _, x := range of.indexesOf() {
				if err := o.index(ctx, of, x); err != nil {
					return err
				}
			}
			return nil
		})
		if code(err) != codeNoLock {
			return err
		}
		select {
		case <-ctx.Done():
			return o.meaning(ctx, "make the indexes", ctx.Err())
		case <-time.After(lockWait):
		}
	}
}

// index makes one, unless it is there.
func (o *Old) index(ctx context.Context, of *table, x index) error {
	conn, err := o.pool.Acquire(ctx)
	if err != nil {
		return unsent{err}
	}
	defer conn.Release()
	var valid *bool
	if err := conn.QueryRow(ctx, `select (select indisvalid from pg_index where indexrelid = to_regclass($1::text))`, x.name).Scan(&valid); err != nil || valid != nil && *valid {
		return err
	}
	if valid != nil {
		if _, err := conn.Exec(ctx, `drop index concurrently `+x.name); err != nil {
			return err
		}
	}
	slow := time.AfterFunc(10*time.Second, func() {
		o.log.Info("an index is being made, which waits for transactions that began before", "index", x.name, "transactions", o.writers())
	})
	defer slow.Stop()
	_, err = conn.Exec(ctx, x.create)
	if code(err) == codeImmutable && x.create != strings.Replace(of.orderSQL(), "create index ", "create index concurrently ", 1) {
		o.log.Warn("a list has no index: its column's type has no text that never changes", "statement", x.create)
		return nil
	}
	return err
}
