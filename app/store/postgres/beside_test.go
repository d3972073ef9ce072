package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// stateOf is the SQLSTATE of an error.
func stateOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// writer is a program that writes some rows in each transaction, those with the
// greatest id first: such programs don't deadlock with each other.
type writer struct {
	conn  *pgx.Conn
	level string
	rand  *rand.Rand
}

func (w *writer) once(ctx context.Context, rows int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "begin isolation level %s;", w.level)
	for id := rows - 1 - w.rand.IntN(rows/4); id > 0; id -= 1 + w.rand.IntN(rows/3) {
		switch w.rand.IntN(6) {
		case 0:
			fmt.Fprintf(&b, "delete from tasks where id = 'x%05d';", id)
		case 1:
			fmt.Fprintf(&b, "insert into tasks(id, title) values ('x%05d', '%d') on conflict (id) do update set title = excluded.title;", id, w.rand.Int())
		case 2:
			fmt.Fprintf(&b, "savepoint s; update tasks set title = '%d' where id = 'x%05d'; rollback to s;", w.rand.Int(), id)
		default:
			fmt.Fprintf(&b, "update tasks set title = '%d' where id = 'x%05d';", w.rand.Int(), id)
		}
	}
	_, err := w.conn.PgConn().Exec(ctx, b.String()+"commit").ReadAll()
	if err != nil {
		_, rerr := w.conn.PgConn().Exec(ctx, "rollback").ReadAll()
		if rerr != nil {
			return rerr
		}
	}
	return err
}

// While a table is taken over, programs at each isolation level go on writing. None
// of them fails but for a snapshot that is too old, none is the victim of a
// deadlock, and nothing that they have changed after they were counted is unknown.
func TestAdoptBesideWriters(t *testing.T) {
	const rows = 4000
	uri, _ := legacy(t, legacyTable, fmt.Sprintf(`insert into tasks(id, title) select 'x' || lpad(n::text, 5, '0'), 'first' from generate_series(1, %d) n`, rows))
	o := opened(t, uri, tasksOf())
	var (
		group   sync.WaitGroup
		failed  sync.Map
		written atomic.Int64
	)
	stop := make(chan struct{})
	for n := range 6 {
		conn := plain(t, uri)
		do(t, conn, `set deadlock_timeout = '5ms'`)
		w := &writer{conn, []string{"read committed", "repeatable read", "serializable"}[n%3], rand.New(rand.NewPCG(uint64(n), 1))}
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := w.once(t.Context(), rows)
				if err == nil {
					written.Add(1)
					continue
				}
				if s := stateOf(err); s != "40001" || w.level == "read committed" {
					failed.Store(w.level+" "+s, err.Error())
				}
			}
		})
	}
	ended := func() {
		close(stop)
		group.Wait()
	}
	a, err := o.Adopt(t.Context(), store.AdoptOptions{})
	if err != nil {
		ended()
		t.Fatal(err)
	}
	first := scan(t, o)
	for at := written.Load(); written.Load() < at+200; {
		if t.Context().Err() != nil {
			break
		}
	}
	ended()
	failed.Range(func(what, err any) bool {
		t.Errorf("%s: %s", what, err)
		return true
	})
	if err := o.Guarded(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := o.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	last := scan(t, o)
	changed := 0
	for id, r := range last {
		before, known := first[id]
		same := known && before.Body == r.Body && before.Deleted == r.Deleted
		switch {
		case same:
		case !r.Newer(before.Pair):
			t.Errorf("%s was changed unseen: %v, then %v", id, before, r)
		case !r.Pending:
			t.Errorf("%s has changed and is not pending: %v", id, r)
		default:
			changed++
		}
	}
	for id := range first {
		if _, ok := last[id]; !ok {
			t.Errorf("%s is forgotten", id)
		}
	}
	if changed == 0 {
		t.Error("nothing was changed meanwhile")
	}
	t.Logf("%d transactions beside it, %d records changed after it; others waited for at most %v", written.Load(), changed, a.Waited)
}

// A program whose snapshot is from before the take-over is told to try again.
func TestSnapshotFromBefore(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			uri, conn := legacy(t, legacyTable, abc)
			do(t, conn, `begin isolation level `+level+`; select count(*) from tasks`)
			// An index made concurrently waits for such a snapshot: the take-over can't end
			// before, and has laid its triggers by then.
			o := opened(t, uri, tasksOf())
			laid := make(chan struct{})
			done := make(chan error, 1)
			var once sync.Once
			go func() {
				_, err := o.Adopt(t.Context(), store.AdoptOptions{Progress: func(p store.AdoptProgress) {
					if p.Phase == "index" {
						once.Do(func() { close(laid) })
					}
				}})
				done <- err
			}()
			select {
			case <-laid:
			case err := <-done:
				t.Fatalf("it has ended: %v", err)
			}
			_, err := conn.Exec(t.Context(), `update tasks set title = 'X' where id = 'a'`)
			if s := stateOf(err); s != "40001" {
				t.Errorf("a write on an old snapshot: %v", err)
			}
			do(t, conn, `rollback; update tasks set title = 'X' where id = 'a'`)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := shown(scan(t, o)); got != "a(2,1)P b(1,0) c(1,0)" {
				t.Errorf("records %s", got)
			}
		})
	}
}

// Who holds up the take-over is named, and nothing was changed.
func TestWhoHoldsItUp(t *testing.T) {
	uri, conn := legacy(t, legacyTable, abc)
	do(t, conn, `set application_name = 'nightly'; begin; update tasks set title = 'X' where id = 'a'`)
	o := opened(t, uri, tasksOf())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := o.Adopt(ctx, store.AdoptOptions{})
		done <- err
	}()
	other := plain(t, uri)
	for text(t, other, `select exists(select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')::text`) != "true" {
		select {
		case err := <-done:
			t.Fatalf("it has ended: %v", err)
		default:
		}
	}
	// Writers that come meanwhile get their turn, which is after a try has given up.
	if _, err := other.Exec(t.Context(), `update tasks set title = 'Y' where id = 'b'`); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "nightly") {
		t.Errorf("it names nobody: %v", err)
	}
	if got := text(t, other, `select (to_regnamespace('migrate') is null)::text`); got != "true" {
		t.Error("something was changed")
	}
}

// Ids of several columns and of each type are filled in, swept and guarded alike.
func TestAdoptIDs(t *testing.T) {
	for _, c := range []struct {
		name, sql, touch, after string
		of                      record.Collection
	}{
		{"int", `create table tasks(id int primary key, title text); insert into tasks select n, 'x' from generate_series(-2, 1) n`, `update tasks set title = 'y' where id = -1`, "-1(2,1)P -2(1,0) 0(1,0) 1(1,0)",
			record.Collection{ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "title", Type: record.Text}}}},
		{"uuid", `create table tasks(id uuid primary key, title text); insert into tasks values ('0198c5a2-7d1e-7c3b-8f00-1234567890ab', 'x')`, `update tasks set title = 'y'`, "0198c5a2-7d1e-7c3b-8f00-1234567890ab(2,1)P",
			record.Collection{ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.UUID}, {Name: "title", Type: record.Text}}}},
		{"text by a collation", `create table tasks(id text collate "und-x-icu" primary key, title text); insert into tasks values ('a', 'x'), ('B', 'x'), ('c', 'x')`, `update tasks set title = 'y' where id = 'B'`, "B(2,1)P a(1,0) c(1,0)",
			record.Collection{ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Text}, {Name: "title", Type: record.Text}}}},
		{"two", `create table tasks(shop text, no int, title text, primary key (no, shop)); insert into tasks values ('b', 1, 'x'), ('a', 2, 'x'), ('a', 10, 'x')`, `update tasks set no = 3 where no = 10`, `["a","10"](2,1)TP ["a","2"](1,0) ["a","3"](1,1)P ["b","1"](1,0)`,
			record.Collection{ID: []string{"shop", "no"}, Fields: []record.Field{{Name: "shop", Type: record.Text}, {Name: "no", Type: record.Int}, {Name: "title", Type: record.Text}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uri, conn := legacy(t, c.sql)
			c.of.Name = "tasks"
			d := record.Declaration{Collections: []record.Collection{c.of}}
			if err := d.Complete(); err != nil {
				t.Fatal(err)
			}
			o := adopted(t, uri, d)
			do(t, conn, c.touch)
			if got := shown(scan(t, o)); got != c.after {
				t.Errorf("records %s, want %s", got, c.after)
			}
			do(t, conn, `alter table tasks disable trigger user; alter table tasks enable trigger user`)
			if _, err := o.Adopt(t.Context(), store.AdoptOptions{}); err != nil {
				t.Fatal(err)
			}
			for id, r := range scan(t, o) {
				if want := int64(2); r.Rev < want || r.Epoch != 1 || !r.Pending {
					t.Errorf("%s after a gap: %v", id, r)
				}
			}
			if n, err := o.Sweep(t.Context()); n != 0 || err != nil {
				t.Errorf("swept %d, %v", n, err)
			}
		})
	}
}
