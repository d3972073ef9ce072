package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

func TestAdmin(t *testing.T) {
	ok := newMapTasks()
	bad := newMapTasks()
	bad.err = fmt.Errorf("mongo at 127.0.0.1:1: %w", store.ErrUnavailable)
	stranger := newMapTasks()
	stranger.err = fmt.Errorf("old has m1, new has m2: %w", store.ErrStranger)
	cases := []struct {
		tasks          *mapTasks
		method, target string
		status         int
		code, says     string
	}{
		{ok, "GET", "/gates?to=4", 200, "", `{"gates":[{"name":"cleared","ok":true,"untried":true,"detail":"nothing pending"}],"to":4}`},
		{ok, "POST", "/gates?to=4", 200, "", `{"gates":[{"name":"cleared","ok":true,"detail":"nothing pending"}],"to":4}`},
		{ok, "GET", "/gates?to=9", 400, "malformed", "1 to 8"},
		{ok, "GET", "/gates", 400, "malformed", "1 to 8"},
		{bad, "GET", "/gates?to=4", 503, "unavailable", "127.0.0.1:1"},
		{ok, "POST", "/prepare", 200, "", "{}"},
		{ok, "POST", "/probe", 200, "", "{}"},
		{ok, "POST", "/advance", 200, "", "{}"},
		{ok, "POST", "/drain", 200, "", `{"in_flight":0}`},
		{bad, "POST", "/probe", 503, "unavailable", "127.0.0.1:1"},
		{bad, "POST", "/advance", 503, "unavailable", "127.0.0.1:1"},
		{bad, "POST", "/drain", 503, "unavailable", "127.0.0.1:1"},
		{stranger, "POST", "/prepare", 409, "stranger", "new has m2"},
		{ok, "GET", "/drain", 405, "method_not_allowed", "POST"},
		{ok, "GET", "/tasks", 404, "not_found", "nothing at this path"},
	}
	for _, c := range cases {
		t.Run(c.method+c.target, func(t *testing.T) {
			res, body := ask(t, newServer(t, c.tasks, Config{}).Admin(), c.method, c.target, "")
			if res.StatusCode != c.status {
				t.Fatalf("%d: %s", res.StatusCode, body)
			}
			if c.code != "" {
				checkError(t, body, c.code, c.says)
			} else if strings.TrimSpace(body) != c.says {
				t.Errorf("%s, want %s", body, c.says)
			}
		})
	}
}

func TestStatusSaysWhatIsInFlight(t *testing.T) {
	tasks := newMapTasks()
	tasks.held, tasks.entered = make(chan struct{}), make(chan struct{})
	s := newServer(t, tasks, Config{})
	status := func() (out struct {
		Step     int        `json:"step"`
		InFlight int        `json:"in_flight"`
		Requests int        `json:"requests"`
		Instance string     `json:"instance"`
		Build    string     `json:"build"`
		Last     *time.Time `json:"last_active"`
	}) {
		t.Helper()
		_, body := ask(t, s.Admin(), "GET", "/status", "")
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := status(); got.Step != 4 || got.Instance != "i-1" || got.Build != "v1" || got.Last != nil {
		t.Errorf("%+v", got)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ask(t, s.Public(), "GET", "/tasks/a", "")
	}()
	<-tasks.entered
	if got := status(); got.InFlight != 1 || got.Requests != 1 {
		t.Errorf("during a request: %+v", got)
	}
	before := time.Now()
	close(tasks.held)
	<-finished
	for _, probe := range []string{"/readyz", "/healthz", "/metrics"} {
		ask(t, s.Public(), "GET", probe, "")
	}
	got := status()
	if got.InFlight != 0 || got.Requests != 1 {
		t.Errorf("after it, and probes that don't count: %+v", got)
	}
	if got.Last == nil || got.Last.Before(before.Add(-time.Millisecond)) {
		t.Errorf("last active %v is not when the request ended", got.Last)
	}
}

func TestProbes(t *testing.T) {
	tasks := newMapTasks()
	s := newServer(t, tasks, Config{})
	res, body := ask(t, s.Public(), "GET", "/readyz", "")
	if res.StatusCode != 200 || strings.TrimSpace(body) != `{"degraded":"new is unreachable","ready":true}` {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	tasks.ready = false
	res, body = ask(t, s.Public(), "GET", "/readyz", "")
	if res.StatusCode != 503 || strings.TrimSpace(body) != `{"ready":false,"reason":"not at this step"}` {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ = ask(t, s.Public(), "GET", "/healthz", ""); res.StatusCode != 200 {
		t.Errorf("alive while not ready: %d", res.StatusCode)
	}
	tasks.ready = true
	s.traffic.ending.Store(true)
	if res, _ = ask(t, s.Public(), "GET", "/readyz", ""); res.StatusCode != 503 {
		t.Errorf("ready while ending: %d", res.StatusCode)
	}
}

func TestConfig(t *testing.T) {
	s := newServer(t, newMapTasks(), Config{
		Port: 8003, Old: store.Place{Scheme: "sqlite", Where: "/d/tasks.db"},
		New: store.Place{Scheme: "mongodb", Where: "mongodb://ann:xxxxx@db1:27017,db2:27017/?replicaSet=r", Name: "todo"},
	})
	res, body := ask(t, s.Public(), "GET", "/config", "")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"repository": "migrate_from_sqlite_to_mongodb", "migration_step": 4.0, "port": 8003.0, "sqlite_file_path": "/d/tasks.db",
		"mongodb_connection_uri": "mongodb://ann:xxxxx@db1:27017,db2:27017/?replicaSet=r", "mongodb_database_name": "todo",
		"old":     map[string]any{"scheme": "sqlite", "where": "/d/tasks.db"},
		"new":     map[string]any{"scheme": "mongodb", "where": "mongodb://ann:xxxxx@db1:27017,db2:27017/?replicaSet=r", "name": "todo"},
		"primary": "old", "epoch": 1.0, "instance": "i-1", "version": "v1",
	}
	if diff := cmp.Diff(want, got); diff != "" || res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, diff)
	}
	for step, want := range map[migration.Step]string{1: "sqlite", 2: "migrate_from_sqlite_to_mongodb", 7: "migrate_from_sqlite_to_mongodb", 8: "mongodb"} {
		if got := repository(step); got != want {
			t.Errorf("step %d: %s", step, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	tasks := newMapTasks()
	tasks.state.PendingAge = 1250
	tasks.state.RefusedIn = map[string]int64{"tasks": 2}
	calls := prometheus.NewCounter(prometheus.CounterOpts{Name: "migrate_store_operations_total", Help: "Calls."})
	s := newServer(t, tasks, Config{Collectors: []prometheus.Collector{calls}})
	ask(t, s.Public(), "GET", "/tasks/a1", "")
	ask(t, s.Public(), "GET", "/tasks/a2", "")
	ask(t, s.Public(), "BREW", "/tasks", "")
	ask(t, s.Public(), "GET", "/what/ever", "")
	res, body := ask(t, s.Public(), "GET", "/metrics", "")
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	for _, line := range []string{
		`migrate_http_requests_total{code="404",method="GET",route="/tasks/{id:.+}"} 2`,
		`migrate_http_requests_total{code="405",method="other",route="/tasks"} 1`,
		`migrate_http_requests_total{code="404",method="GET",route="none"} 1`,
		`migrate_http_request_duration_seconds_count{method="GET",route="/tasks/{id:.+}"} 2`,
		`migrate_http_in_flight 0`,
		`migrate_step 4`, `migrate_fence_epoch 1`, `migrate_primary{store="old"} 1`, `migrate_primary{store="new"} 0`,
		`migrate_pending_records{store="old"} 3`, `migrate_pending_age_seconds{store="old"} 1.25`,
		`migrate_compared_reads_total{collection="tasks",result="different"} 0`,
		`migrate_refused_records{collection="tasks"} 2`,
		`migrate_store_operations_total 0`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	tasks.state.Pending = -1 // unknown is not a number
	s = newServer(t, tasks, Config{})
	if _, body = ask(t, s.Public(), "GET", "/metrics", ""); strings.Contains(body, "migrate_pending_") {
		t.Error("an unknown number of pending records, or its age, is shown")
	}
}

func TestPages(t *testing.T) {
	h := newServer(t, newMapTasks(), Config{}).Public()
	for target, contentType := range map[string]string{
		"/": "text/html", "/static/index.html": "text/html", "/static/taskProducer.html": "text/html",
		"/static/style.css": "text/css", "/static/tasks.js": "text/javascript", "/favicon.ico": "image/", "/static/favicon.ico": "image/",
		"/static/userConsole.js": "text/javascript", "/static/taskProducer.js": "text/javascript",
		"/static/serverConfigController.js": "text/javascript", "/static/serverConfig.css": "text/css",
	} {
		res, body := ask(t, h, "GET", target, "")
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), contentType) || body == "" {
			t.Errorf("%s: %d %s", target, res.StatusCode, res.Header.Get("Content-Type"))
		}
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", target, csp)
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, "onclick") || strings.Contains(body, "innerHTML") || strings.Contains(body, "style=") {
			t.Errorf("%s runs inline script or markup, which the policy forbids", target)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", target)
		}
		if res, _ := ask(t, h, "GET", target, "", "If-None-Match: "+res.Header.Get("ETag")); res.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %d", target, res.StatusCode)
		}
	}
}
