package static_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/static/browsertest"
)

const (
	bill = `document.querySelector('[data-person="Bill"]')`
	jane = `document.querySelector('[data-person="Jane"]')`
)

// The bars are green while everything succeeds, red while one kind of request
// fails, and say which; the counters and the strip keep what has been.
func TestProducer(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
	tab.As(browsertest.Look{Width: 1280, Height: 900, Still: true})
	var asked atomic.Int64
	meet := func(f fault) {
		s.disturb(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/tasks") {
				asked.Add(1)
			}
			return f != nil && f(w, r)
		})
	}
	meet(nil)
	tab.Open(s.url + "/static/taskProducer.html")
	tab.Wait(bill + `.dataset.state === "idle"`)
	idle := colour(tab, bill)
	if asked.Load() != 0 {
		t.Error("it began by itself")
	}
	tab.Click("#run")
	tab.Wait(bill + `.dataset.state === "good" && ` + jane + `.dataset.state === "good"`)
	green := colour(tab, bill)
	tab.Wait(bill + `.querySelector(".count").textContent >= 3`)
	if width := browsertest.Eval[float64](tab, bill+`.querySelector(".scale div").getBoundingClientRect().width /`+bill+`.querySelector(".scale").clientWidth`); width < 2./20 || width > 13./20 {
		t.Errorf("3 of 20 tasks fill %v of the bar", width)
	}
	tab.Wait(bill + `.querySelectorAll("tbody tr")[2].cells[1].textContent > 0 && ` + bill + `.querySelector(".count").textContent < 3`) // they were marked done
	if failed := browsertest.Eval[string](tab, `document.querySelector("#failures").textContent`); failed != "0" {
		t.Errorf("%s requests failed", failed)
	}
	if n := browsertest.Eval[int](tab, `+document.querySelector("#requests").textContent`); n == 0 || int64(n) > asked.Load() {
		t.Errorf("%d requests are counted, %d were made", n, asked.Load())
	}
	tab.Wait(`document.querySelectorAll("#strip i:not(.failed)[style]:not([style*=': 0%'])").length > 0`)

	for i, method := range []string{"POST", "GET", "PUT"} {
		meet(refuse(method, "/tasks"))
		tab.Wait(bill + `.dataset.state === "bad"`)
		tab.Text(`[data-person="Bill"] .verdict`, method+" fails: the database can't be reached")
		if red := colour(tab, bill); red == green || red == idle || green == idle {
			t.Errorf("colours: idle %s, green %s, red %s", idle, green, red)
		}
		tab.Wait(fmt.Sprintf(`%s.querySelectorAll("tbody tr")[%d].cells[2].textContent > 0`, bill, i))
		tab.Wait(`document.querySelectorAll("#strip i.failed:not([style*=': 0%'])").length > 0`)
		meet(nil)
		tab.Wait(bill + `.dataset.state === "good"`)
	}
	if n := browsertest.Eval[int](tab, `+document.querySelector("#failures").textContent`); n < 3 {
		t.Errorf("%d failures are counted", n)
	}
	tab.Click("#run")
	tab.Text("#running", "Stopped")
	before := asked.Load()
	browsertest.Eval[bool](tab, `new Promise((done) => setTimeout(() => done(true), 1200))`)
	if after := asked.Load(); after != before {
		t.Errorf("%d requests after it was stopped", after-before)
	}
}

// Whatever is undone gets its turn, also what is on a later page; tasks that
// can't be finished don't keep it from the others.
func TestProducerFinishesEveryPage(t *testing.T) {
	t.Parallel()
	const page, stuck, free = 100, 100, 120
	s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
	for n := range stuck + free {
		s.create("Bill", fmt.Sprintf("from before, %d", n))
	}
	first := map[string]bool{}
	for _, path := range s.paths("Bill", page) {
		first[path] = true
	}
	s.disturb(func(w http.ResponseWriter, r *http.Request) bool {
		return first[r.URL.Path] && refuse("PUT", "/tasks")(w, r)
	})
	tab.Open(s.url + "/static/taskProducer.html")
	tab.Click("#run")
	tab.Wait(fmt.Sprintf(`(([, requests, failed]) => requests.textContent - failed.textContent >= %d)(%s.querySelectorAll("tbody tr")[2].cells)`, free, bill))
	for _, description := range s.undone("Bill")[stuck:] {
		if strings.HasPrefix(description, "from before") {
			t.Errorf("%q was not marked done", description)
		}
	}
	s.disturb(nil)
	tab.Wait(bill + `.querySelector(".count").textContent < 20`)
}

// paths are those of somebody's first undone tasks.
func (s *site) paths(assignee string, limit int) []string {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.live.Load().Public().ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprintf("/tasks?assignee=%s&limit=%d", assignee, limit), nil))
	var tasks []struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &tasks); err != nil || len(tasks) != limit {
		s.t.Fatalf("%d tasks, %d %v", len(tasks), w.Code, err)
	}
	var paths []string
	for _, task := range tasks {
		paths = append(paths, "/tasks/"+task.ID)
	}
	return paths
}

func colour(tab *browsertest.Tab, person string) string {
	return browsertest.Eval[string](tab, fmt.Sprintf(`getComputedStyle(%s.querySelector(".scale div")).backgroundColor`, person))
}

// The panel says who serves, has another colour at another step, flashes when
// anything changes and only then; the strip shows the cut-over.
func TestPanelShowsWhoServes(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
	tab.Open(s.url + "/static/taskProducer.html")
	tab.Text("#panel h2", "deploy the new database")
	tab.Click("#run")
	tab.Count("flashes", "#panel", "flashing")
	tab.Count("changes", "#panel", "changed")
	seen := map[string]int{}
	for step := migration.DeployNew; step <= migration.ReadBoth; step++ {
		if step > migration.DeployNew {
			s.serve(step, 8000+int(step))
		}
		tab.Text("#panel h2", step.Name())
		tab.Wait(fmt.Sprintf(`window.flashes === %d`, step-1))
		tab.Text(`#panel [data-key="port"]`, fmt.Sprint(8000+int(step)))
		c := browsertest.Eval[string](tab, `getComputedStyle(document.querySelector("#panel header")).getPropertyValue("--step")`)
		if before, ok := seen[c]; ok {
			t.Errorf("steps %d and %d have the same colour", before, step)
		}
		seen[c] = int(step)
		if step > migration.DeployNew {
			tab.Text("#cuts li", fmt.Sprintf("step %d → %d, port %d → %d", step-1, step, 7999+int(step), 8000+int(step)))
		}
	}
	tab.Wait(`document.querySelectorAll("#strip .cut").length === 3 && [...document.querySelectorAll("#strip .cut")].every((cut) => cut.dataset.requests > 0)`)
	tab.Text("#panel .unseen", "Now served at step 4, read from both, on port 8004. Primary: SQLite (old), epoch 1.")

	// Another port alone is a change; two looks without one leave the panel be.
	s.serve(migration.ReadBoth, 8009)
	changes := browsertest.Eval[int](tab, `window.changes`)
	tab.Text(`#panel [data-key="port"]`, "8009")
	tab.Wait(fmt.Sprintf(`window.flashes === 4 && window.changes === %d`, changes+1))
	tab.Wait(`(window.looks ??= 0, window.last !== (window.last = document.querySelector("#panel .looked").textContent) && window.looks++, window.looks >= 3)`)
	if !browsertest.Eval[bool](tab, fmt.Sprintf(`window.flashes === 4 && window.changes === %d`, changes+1)) {
		t.Error("the panel flashes though nothing changed")
	}
}
