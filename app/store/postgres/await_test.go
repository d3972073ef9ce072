package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/storetest"
)

// A COMMIT waits for a synchronous standby that does not answer. Whoever ends the
// wait, the outcome is unknown; and if it was us, nobody sees a record that only one
// server has.
func TestACommitThatWaitsForItsStandby(t *testing.T) {
	primary, other := standby(t, true)
	look, err := pgx.Connect(t.Context(), primary.URI("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(context.Background())
	ask := func(sql string) (found string) {
		t.Helper()
		if err := look.QueryRow(t.Context(), "select ("+sql+")::text").Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	open := func(timeout time.Duration) *postgres.Old {
		o, err := postgres.OpenOld(t.Context(), postgres.Config{URI: primary.URI("postgres"), Collections: storetest.Tasks().Collections, Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = o.Close() })
		return o
	}
	paused := func(t *testing.T) {
		if err := other.Pause(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := other.Continue(); err != nil {
				t.Error(err)
			}
		})
	}
	there := func(id string) string { return fmt.Sprintf("select count(*) from tasks where id = '%s'", id) }
	const waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
	until := func(what, sql, want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ask(sql) != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %s, want %s", what, ask(sql), want)
			}
		}
	}

	t.Run("readers beside", func(t *testing.T) {
		paused(t)
		o := open(500 * time.Millisecond)
		errs := make(chan error)
		for n := range 12 {
			go func() {
				errs <- o.CompareAndSwap(t.Context(), 1, taskRecord(t, fmt.Sprint("beside ", n), 1, 1), store.Pair{})
			}()
		}
		for range 12 {
			if err := <-errs; !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a write: %v", err)
			}
		}
		if _, err := o.Fence(t.Context()); err != nil {
			t.Errorf("a read while no COMMIT is answered: %v", err)
		}
		if err := other.Continue(); err != nil {
			t.Fatal(err)
		}
		until("once the standby answers", waiting, "0")
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err := o.CompareAndSwap(t.Context(), 1, taskRecord(t, "afterwards", 1, 1), store.Pair{})
			if err == nil || errors.Is(err, store.ErrConflict) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("a write once the standby answers: %v", err)
			}
		}
	})
	t.Run("our time limit", func(t *testing.T) {
		paused(t)
		const limit = 500 * time.Millisecond
		began := time.Now()
		err := open(limit).CompareAndSwap(t.Context(), 1, taskRecord(t, "a", 1, 1), store.Pair{})
		if !errors.Is(err, store.ErrUnknown) || time.Since(began) > 10*limit {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if ask(waiting) != "1" || ask(there("a")) != "0" {
				t.Fatalf("%s COMMITs wait, and %s rows are seen that the standby has not", ask(waiting), ask(there("a")))
			}
		}
		if err := other.Continue(); err != nil {
			t.Fatal(err)
		}
		until("once the standby answers", there("a"), "1")
	})
	for name, end := range map[string]string{"cancelled": "pg_cancel_backend", "terminated": "pg_terminate_backend"} {
		t.Run(name, func(t *testing.T) {
			paused(t)
			o := open(time.Minute)
			answer := make(chan error)
			go func() { answer <- o.CompareAndSwap(t.Context(), 1, taskRecord(t, name, 1, 1), store.Pair{}) }()
			until("a COMMIT that waits", waiting, "1")
			ask("select " + end + "(pid) from pg_stat_activity where wait_event = 'SyncRep'")
			err := <-answer
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("%v", err)
			}
			if name == "cancelled" && !strings.Contains(err.Error(), "synchronous replication") {
				t.Errorf("%v doesn't say why", err)
			}
			if ask(there(name)) != "1" {
				t.Error("it was not carried out: the test proves nothing")
			}
		})
	}
}
