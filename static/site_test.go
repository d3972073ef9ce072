package static_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/todo"
	"migrate.invalid/migrate/app/web"
)

// site is the service behind one address, with stores in memory: any step can
// be put in place of another, and any request be disturbed.
type site struct {
	t     *testing.T
	url   string
	old   *memory.Old
	new   *memory.New
	live  atomic.Pointer[web.Server]
	fault atomic.Pointer[fault]
}

// fault may answer a request itself, and then returns true.
type fault func(w http.ResponseWriter, r *http.Request) bool

func newSite(t *testing.T, step migration.Step) *site {
	t.Helper()
	s := &site{t: t, old: memory.NewOld("m"), new: memory.NewNew()}
	s.serve(step, 8000+int(step))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.fault.Load(); f != nil && (*f)(w, r) {
			return
		}
		s.live.Load().Public().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// serve puts an instance at this step in place of the one before.
func (s *site) serve(step migration.Step, port int) {
	s.t.Helper()
	cfg := migration.Config{Step: step}
	if step.HasOld() {
		cfg.Old = s.old
	}
	if step.HasNew() {
		cfg.New = s.new
	}
	tasks, err := migration.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := tasks.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tasks.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	server, err := web.New(web.Config{
		Step: step, Port: port, Instance: "0197c2f4-7d3e-7a51-9c1b-5f0e2d8a41" + string("0123456789"[step]) + "7", Build: "v1.0.0",
		Old: store.Place{Scheme: "sqlite", Where: "/var/lib/todo/todo.sqlite"},
		New: store.Place{Scheme: "mongodb", Where: "mongodb://127.0.0.1:27117/", Name: "todo"},
	}, todo.New(tasks))
	if err != nil {
		s.t.Fatal(err)
	}
	s.live.Store(server)
}

// disturb lets f meet every request from now on; nil ends that.
func (s *site) disturb(f fault) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// undone is what Bill, or whoever, has to do, past all faults and pages.
func (s *site) undone(assignee string) []string {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.live.Load().Public().ServeHTTP(w, httptest.NewRequest("GET", "/tasks?"+url.Values{"assignee": {assignee}}.Encode(), nil))
	var tasks []struct{ Description string }
	if err := json.Unmarshal(w.Body.Bytes(), &tasks); err != nil || w.Code != 200 {
		s.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	descriptions := []string{}
	for _, task := range tasks {
		descriptions = append(descriptions, task.Description)
	}
	return descriptions
}

// create adds tasks past all faults and pages.
func (s *site) create(assignee string, descriptions ...string) {
	s.t.Helper()
	for _, d := range descriptions {
		r := httptest.NewRequest("POST", "/tasks", strings.NewReader(url.Values{"assignee": {assignee}, "description": {d}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.live.Load().Public().ServeHTTP(w, r)
		if w.Code != 201 {
			s.t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// cut closes the connection instead of answering requests like these; an
// empty method or path is any.
func cut(method, path string) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if method != "" && r.Method != method || !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		panic(http.ErrAbortHandler)
	}
}

// refuse answers requests like these with 503, unchanged.
func refuse(method, path string) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		answer(w, "unavailable", "the database can't be reached; nothing has changed")
		return true
	}
}

// unknown lets a write happen and says that nobody knows.
func (s *site) unknown(method string) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		s.live.Load().Public().ServeHTTP(httptest.NewRecorder(), r)
		answer(w, "outcome_unknown", "the change may or may not have happened")
		return true
	}
}

func answer(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(map[string]any{"error": map[string]string{"code": code, "message": message}})
	_, _ = w.Write(b.Bytes())
}
