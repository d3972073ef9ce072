package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/static/browsertest"
)

// up starts the databases, the old one as the original left it, the proxy and
// an instance at step 1.
func up(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "todo.sqlite")
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
		`INSERT INTO tasks VALUES('l-1','Ann','first',0),('l-2','Ann','second',1)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	s.startMongo()
	s.must("nginx", "start")
	s.must("spawn", "--port", strconv.Itoa(s.first), "--step", "1", "--sqlite", file)
	s.must("switch")
	return s
}

// next puts the next step in place as a person would.
func (s *site) next(step int) {
	s.t.Helper()
	if step == 5 || step == 8 {
		s.must("backfill")
		s.must("verify")
	}
	s.must("spawn", "--port", strconv.Itoa(s.first+step-1), "--step", strconv.Itoa(step))
	s.must("switch")
}

// The user console stays as it is, and its panel turns to what serves now,
// when somebody switches; what was begun before is finished after.
func TestConsoleAcrossASwitch(t *testing.T) {
	t.Parallel()
	tab := browsertest.New(t)
	s := up(t)
	tab.Open(s.url())
	tab.Text("#panel h2", "deploy the new database")
	tab.Wait(`document.querySelector("#new input")`)
	tab.Text("#blank", "Nothing to do for Bill")
	browsertest.Eval[bool](tab, `(document.querySelector("#new input").select(), true)`)
	tab.Keys("begun before\r")
	tab.Text("#tasks li", "begun before")
	before := panelColour(tab)
	tab.Count("flashes", "#panel", "flashing")
	s.next(2)
	tab.Text("#panel h2", "add the new data access object")
	tab.Text(`#panel [data-key="port"]`, strconv.Itoa(s.first+1))
	tab.Wait(`window.flashes > 0`)
	tab.Text("#panel .unseen", "Now served at step 2")
	if after := panelColour(tab); after == before {
		t.Errorf("the panel is %s at step 1 and at step 2", after)
	}
	tab.Click("#tasks input")
	tab.Wait(`document.querySelectorAll("#tasks li").length === 0`)
	tab.Text("#message", "Done: begun before")
}

func panelColour(tab *browsertest.Tab) string {
	return browsertest.Eval[string](tab, `getComputedStyle(document.querySelector("#panel header")).backgroundColor`)
}

// Bill and Jane go on through all eight steps and nothing of theirs fails; the
// strip shows each cut-over among their requests.
func TestProducerThroughTheWalk(t *testing.T) {
	t.Parallel()
	tab := browsertest.New(t)
	s := up(t)
	tab.Open(s.url() + "/static/taskProducer.html")
	tab.As(browsertest.Look{Width: 1200, Height: 760, Still: true})
	tab.Text("#panel h2", migration.DeployNew.Name())
	browsertest.Eval[bool](tab, `(window.red = 0, new MutationObserver((changes) => {
		for (const change of changes) if (change.target.dataset.state === "bad") window.red++;
	}).observe(document.querySelector("#people"), { subtree: true, attributeFilter: ["data-state"] }), true)`)
	tab.Click("#run")
	tab.Wait(`document.querySelectorAll('.person[data-state="good"]').length === 2`)
	for step := migration.AddDAO; step <= migration.RemoveOld; step++ {
		s.next(int(step))
		tab.Text("#panel h2", step.Name())
		tab.Text("#cuts li", fmt.Sprintf("step %d → %d, port %d → %d", step-1, step, s.first+int(step)-2, s.first+int(step)-1))
	}
	tab.Text(`#panel [data-key="primary"]`, "MongoDB")
	tab.Text(`#panel [data-key="epoch"]`, "2")
	// Tasks of the last step are made and finished, too.
	tab.Wait(`[...document.querySelectorAll("#strip .cut")].every((cut) => cut.dataset.requests > 0)`)
	if dir := os.Getenv("MIGRATE_SCREENSHOTS"); dir != "" {
		tab.Photograph(filepath.Join(dir, "producer-walk"))
	}
	tab.Click("#run")
	tab.Text("#running", "Stopped")
	got := browsertest.Eval[struct{ Requests, Failures, Red, Cuts int }](tab, `({
		requests: +document.querySelector("#requests").textContent, failures: +document.querySelector("#failures").textContent,
		red: window.red, cuts: document.querySelectorAll("#cuts li").length,
	})`)
	t.Logf("%+v", got)
	if got.Failures != 0 || got.Red != 0 || got.Cuts != 7 || got.Requests < 100 {
		t.Errorf("%+v; want at least 100 requests, 7 cut-overs, nothing failed and nothing red", got)
	}

	// Would it be noticed?
	tab.Click("#run")
	tab.Wait(`document.querySelectorAll('.person[data-state="good"]').length === 2`)
	s.must("nginx", "stop", "--yes")
	tab.Wait(`window.red > 0 && document.querySelector("#failures").textContent > 0`)
	tab.Text(`#panel[data-state="unreachable"] h2`, "no answer")
}
