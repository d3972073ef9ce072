package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/app/migration"
)

const (
	tasks   = 1500 // in the old database
	backlog = 1000 // records that it lacks before the second return
)

// walkback is the way back from step 8, and what a load sees of it.
type walkback struct {
	*site
	old  *sql.DB // a foreign program's
	load *load.Generator
}

// manyTasks is the original's table with as many tasks.
func manyTasks(t *testing.T, path string, n int) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, statement := range []string{
		`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
		`CREATE INDEX by_assignee ON tasks(assignee, done)`,
		fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
			INSERT INTO tasks SELECT 'old-'||i, 'Nobody', 'from before', 0 FROM n`, n),
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// pending is what the old database still lacks, by the active instance.
func (w *walkback) pending() int64 {
	w.t.Helper()
	var st struct {
		Live      int
		Instances []struct {
			Port int
			Told struct{ Pending int64 } `json:"status"`
		}
	}
	w.json(&st, "status")
	for _, i := range st.Instances {
		if i.Port == st.Live {
			return i.Told.Pending
		}
	}
	w.t.Fatal("there is no active instance")
	return 0
}

// back rolls back from step 4 to 3 and says what that cost the clients.
func (w *walkback) back(what string) {
	w.t.Helper()
	w.load.Mark()
	began := time.Now()
	var r struct{ Returned migration.ReturnResult }
	w.json(&r, "rollback")
	if r.Returned.Epoch == 0 || r.Returned.Already {
		w.t.Fatalf("the primary did not return: %+v", r.Returned)
	}
	f := w.load.Mark()
	if r.Returned.Pause <= 0 || r.Returned.Pause >= 5*time.Second {
		w.t.Errorf("writes waited %v; past 5 s any instance reopens the fence", r.Returned.Pause)
	}
	w.t.Logf("return of the primary, %s: writes waited %v; %d records were sent back before that, %d meanwhile; %d requests in %v, the slowest %v",
		what, r.Returned.Pause.Round(time.Millisecond), r.Returned.Before, r.Returned.Closed,
		f.Requests, time.Since(began).Round(time.Millisecond), f.Worst.Round(time.Millisecond))
}

// block keeps writes from the old database until it lacks as many records. On a
// busy machine writes are few: a fifth is enough once three minutes are over.
func (w *walkback) block(records int64) {
	w.t.Helper()
	foreign, err := w.old.Conn(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := foreign.ExecContext(w.t.Context(), "BEGIN IMMEDIATE"); err != nil {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * time.Minute); w.pending() < records; {
		if time.Now().After(deadline) {
			if w.pending() >= records/5 {
				break
			}
			w.t.Fatalf("after three minutes %d records are pending, %d wanted", w.pending(), records)
		}
		if err := w.load.Wait(w.t.Context(), w.load.Snapshot().Requests+100); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := foreign.ExecContext(w.t.Context(), "ROLLBACK"); err != nil {
		w.t.Fatal(err)
	}
}

// end stops the load and reads back all that it was told.
func (w *walkback) end(ledger string) {
	w.t.Helper()
	f, err := w.load.Stop()
	if err != nil {
		w.t.Fatal(err)
	}
	rep, err := load.Check(w.t.Context(), load.CheckConfig{BaseURL: w.url(), Ledger: ledger, Min: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := rep.Err(); err != nil || f.Lost+f.Stale+f.Failed > 0 {
		w.t.Errorf("%v; %d lost, %d stale and %d failed on the way\n%s", err, f.Lost, f.Stale, f.Failed, strings.Join(append(f.Problems, rep.Problems...), "\n"))
	}
	w.t.Logf("acknowledged %d, lost %d, stale %d, failed %d %v", rep.Acknowledged, f.Lost+int64(rep.Lost), f.Stale+int64(rep.Stale), f.Failed, f.Kinds)
}

// From step 8 back to 1 while a load goes on, twice over the return of the
// primary: with an empty backlog, and with a large one, since a foreign program
// has kept our writes from the old database.
func TestRollbackUnderLoad(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "todo.sqlite")
	w := &walkback{site: s, old: manyTasks(t, file, tasks)}
	var own []string
	for i := range tasks {
		own = append(own, fmt.Sprintf("old-%d", i+1))
	}
	s.startMongo()
	s.must("nginx", "start")
	s.must("advance", "--until", "1", "--sqlite", file)
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	var err error
	if w.load, err = load.New(load.Config{BaseURL: s.url(), Ledger: ledger, Clients: 24, Own: own, MaxTasks: tasks, Think: 50 * time.Millisecond, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	w.load.Start(t.Context())
	defer w.load.Stop()

	s.must("advance", "--until", "8", "--backfill")
	for range 4 {
		s.must("rollback")
	}
	w.back("with an empty backlog")
	s.must("advance", "--until", "5", "--backfill")
	s.must("rollback")
	w.block(backlog)
	w.back(fmt.Sprintf("with %d pending", w.pending()))
	s.must("rollback")
	s.must("rollback")
	w.end(ledger)
}
