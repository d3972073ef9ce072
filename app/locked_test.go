package app

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// While some program holds the old database locked, under the new primary,
// writes are acknowledged, soon without asking it; what it lacks comes later.
func TestWritesGoOnWhileTheOldFileIsLocked(t *testing.T) {
	const writes, asked = 20, 3 // the breaker's threshold
	b := bring(t, nil, func(n store.New) store.New { return n })
	b.advance()
	var puts atomic.Int64
	s, err := migration.New(migration.Config{
		Step: migration.ReadBoth, Old: b.old, New: b.new, Budget: 20 * time.Millisecond,
		Observe: func(db store.Primary, op string, _ time.Duration, _ error) {
			if db == store.PrimaryOld && op == "put_if_newer" {
				puts.Add(1)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	locked, err := b.foreign.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if _, err := locked.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	create := func(todo.Record, bool) (todo.Record, bool, error) {
		return todo.Record{Body: task.Task{Assignee: "Bill"}}, true, nil
	}
	for n := range writes {
		if _, err := todo.New(s).Apply(t.Context(), fmt.Sprint("t", n), true, create); err != nil {
			t.Fatal(err)
		}
	}
	// On a slow machine the breaker's pauses pass, and more are let through.
	if n := puts.Load(); n < asked || n == writes {
		t.Errorf("the locked database was asked %d times for %d writes, want about %d", n, writes, asked)
	}
	if _, err := locked.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page, _, err := b.old.Scan(t.Context(), "", 2*writes); err != nil || len(page.Records) != writes {
		t.Errorf("afterwards it has %d of %d, %v", len(page.Records), writes, err)
	}
}
