package postgres_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/app/store/storetest"
)

// minds opens an old database that refuses a server which has taken over.
func minds(t *testing.T, s *local.Server, any bool) *postgres.Old {
	t.Helper()
	o, err := postgres.OpenOld(t.Context(), postgres.Config{URI: s.URI("postgres"), Collections: storetest.Tasks().Collections, Create: true, SameServer: !any})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func taskRecord(t *testing.T, id string, rev, epoch int64) store.Record {
	t.Helper()
	key, err := record.NewID("tasks", record.UncheckedText(id))
	if err != nil {
		t.Fatal(err)
	}
	return store.Record{ID: key, Pair: store.Pair{Rev: rev, Epoch: epoch}, Body: record.NewBody(record.UncheckedText("bill"), record.UncheckedText(id), record.OfBool(false))}
}

// standby is a server with a database that was taken over, and its standby.
func standby(t *testing.T, synchronous bool) (primary, other *local.Server) {
	t.Helper()
	primary = pgtest.Start(t, nil)
	if _, err := minds(t, primary, false).Adopt(t.Context(), store.AdoptOptions{}); err != nil {
		t.Fatal(err)
	}
	other, err := primary.Standby(t.Context(), filepath.Join(pgtest.Folder(t), "server"), synchronous)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pgtest.Stop(t, other) })
	return primary, other
}

func TestAStandbyIsNoDatabaseToReadFrom(t *testing.T) {
	_, other := standby(t, true)
	if _, err := minds(t, other, false).Fence(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a standby that was not promoted answered %v", err)
	}
}

func TestASynchronousStandbyTakesOver(t *testing.T) {
	primary, other := standby(t, true)
	before := minds(t, primary, false)
	rec := taskRecord(t, "a", 1, 1)
	if err := before.CompareAndSwap(t.Context(), 1, rec, store.Pair{}); err != nil {
		t.Fatal(err)
	}
	if keeps, why, err := before.Keeps(t.Context()); err != nil || !keeps {
		t.Errorf("keeps %v (%s), %v", keeps, why, err)
	}
	if err := primary.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := other.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := minds(t, other, false)
	for name, call := range map[string]func() error{
		"Fence":          func() error { _, err := after.Fence(t.Context()); return err },
		"Get":            func() error { _, _, err := after.Get(t.Context(), rec.ID); return err },
		"CompareAndSwap": func() error { return after.CompareAndSwap(t.Context(), 1, taskRecord(t, "a", 2, 1), rec.Pair) },
		"PutIfNewer":     func() error { return after.PutIfNewer(t.Context(), 1, taskRecord(t, "a", 2, 1)) },
		"ClearPending":   func() error { return after.ClearPending(t.Context(), rec.Mark()) },
		"MoveFence": func() error {
			return after.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
		},
	} {
		if err := call(); !errors.Is(err, store.ErrStranger) || !strings.Contains(err.Error(), "00000002") || !strings.Contains(err.Error(), "00000001") {
			t.Errorf("%s on a server that has taken over: %v", name, err)
		}
	}
	to := memory.NewNew()
	fence, err := minds(t, other, true).Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Prepare(t.Context(), fence.Migration); err != nil {
		t.Fatal(err)
	}
	res, err := migration.AcceptServer(t.Context(), minds(t, other, true), to, migration.AcceptServerOptions{NothingLost: true})
	if err != nil || !res.Old.Moved() || res.Epoch != 0 {
		t.Fatalf("AcceptServer: %+v, %v", res, err)
	}
	found, fence, err := after.Get(t.Context(), rec.ID)
	if err != nil || found[rec.ID] != rec || fence.Epoch != 1 {
		t.Errorf("after it was accepted: %+v at epoch %d, %v", found, fence.Epoch, err)
	}
}

// An asynchronous standby lacks what was acknowledged while it was not connected:
// what the new database has of that is put back under an epoch that nobody has seen.
func TestAnAsynchronousStandbyTakesOver(t *testing.T) {
	primary, other := standby(t, false)
	before := minds(t, primary, false)
	kept := taskRecord(t, "kept", 1, 1)
	if err := before.CompareAndSwap(t.Context(), 1, kept, store.Pair{}); err != nil {
		t.Fatal(err)
	}
	if err := primary.Exec(t.Context(), "postgres", "select pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	if err := other.Stop("fast"); err != nil { // having what came so far
		t.Fatal(err)
	}
	lost := taskRecord(t, "lost", 1, 1)
	if err := before.CompareAndSwap(t.Context(), 1, lost, store.Pair{}); err != nil {
		t.Fatal(err)
	}
	if err := primary.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := other.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	if err := other.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	any := minds(t, other, true)
	fence, err := any.Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found, _, err := any.Get(t.Context(), lost.ID); err != nil || len(found) != 0 {
		t.Fatalf("the standby has %+v, %v: nothing was lost", found, err)
	}
	to := memory.NewNew()
	if err := to.Prepare(t.Context(), fence.Migration); err != nil {
		t.Fatal(err)
	}
	if err := to.PutIfNewer(t.Context(), kept, lost); err != nil {
		t.Fatal(err)
	}
	if err := to.RaiseMirror(t.Context(), store.Mirror{Migration: fence.Migration, Epoch: 1, Primary: store.PrimaryOld}); err != nil {
		t.Fatal(err)
	}
	res, err := migration.AcceptServer(t.Context(), any, to, migration.AcceptServerOptions{})
	if err != nil || res.Epoch != 2 || res.Primary != store.PrimaryOld || res.PutBack != 2 {
		t.Fatalf("AcceptServer: %+v, %v", res, err)
	}
	after := minds(t, other, false)
	found, fence, err := after.Get(t.Context(), lost.ID, kept.ID)
	if err != nil || found[lost.ID] != lost || found[kept.ID] != kept || fence.Epoch != 2 {
		t.Errorf("after it was accepted: %+v at epoch %d, %v", found, fence.Epoch, err)
	}
	if again, err := migration.AcceptServer(t.Context(), any, to, migration.AcceptServerOptions{}); err != nil || again.Moved() || again.Epoch != 0 {
		t.Errorf("once more: %+v, %v", again, err)
	}
}
