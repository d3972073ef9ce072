package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/app/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// openOld opens an empty old database of this declaration, taken over.
func openOld(t *testing.T, uri string, d record.Declaration) *postgres.Old {
	t.Helper()
	o, err := postgres.OpenOld(t.Context(), postgres.Config{URI: uri, Collections: d.Collections, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := o.Adopt(t.Context(), store.AdoptOptions{}); err != nil {
		t.Fatal(err)
	}
	return o
}

func openNew(t *testing.T, uri string, d record.Declaration) *postgres.New {
	t.Helper()
	n, err := postgres.OpenNew(t.Context(), postgres.Config{URI: uri, Collections: d.Collections})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// ruled can be told of a rule between records.
type ruled struct {
	*postgres.Old
	uri string
}

func (r ruled) Unwrap() store.Old { return r.Old }

func (r ruled) Unique(t storetest.T, collection, field string) {
	conn, err := pgx.Connect(context.Background(), r.uri)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), fmt.Sprintf(`create unique index on %q (%q)`, collection, field)); err != nil {
		t.Fatalf("%v", err)
	}
}

func TestOld(t *testing.T) {
	storetest.RunOld(t, func(t *testing.T, d record.Declaration) store.Old {
		uri := pgtest.Database(t)
		return ruled{openOld(t, uri, d), uri}
	})
}

func TestNew(t *testing.T) {
	storetest.RunNew(t, func(t *testing.T, d record.Declaration) store.New { return openNew(t, pgtest.Database(t), d) })
}

// behind returns the URI of an empty database through a PgBouncer whose sessions
// are shared by the transactions of all.
func behind(t *testing.T) func(*testing.T) string {
	b := pgtest.Bouncer(t, pgtest.Shared(t), "transaction")
	return func(t *testing.T) string {
		uri, err := b.URI(pgtest.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		return uri
	}
}

func TestOldBehindAPooler(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite runs without a pooler, too")
	}
	database := behind(t)
	storetest.RunOld(t, func(t *testing.T, d record.Declaration) store.Old {
		uri := database(t)
		return ruled{openOld(t, uri, d), uri}
	})
}

func TestNewBehindAPooler(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite runs without a pooler, too")
	}
	database := behind(t)
	storetest.RunNew(t, func(t *testing.T, d record.Declaration) store.New { return openNew(t, database(t), d) })
}

// The pooler shows a store that keeps something in its session.
func TestAPoolerShowsPreparedStatements(t *testing.T) {
	n := openNew(t, behind(t)(t), storetest.Tasks())
	if err := n.Prepare(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	if err := n.Preparing(t.Context()); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Bool
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 50 {
				if err := n.PutIfNewer(t.Context(), taskRecord(t, fmt.Sprint(w, i), 1, 1)); err != nil {
					failed.Store(true)
					return
				}
			}
		})
	}
	group.Wait()
	if !failed.Load() {
		t.Error("prepared statements pass behind the pooler")
	}
}
