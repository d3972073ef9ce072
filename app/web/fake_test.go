package web

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// mapTasks is the smallest thing that keeps the promises of [Tasks].
type mapTasks struct {
	mu      sync.Mutex
	recs    map[string]record
	commits int
	err     error         // answered to everything instead
	held    chan struct{} // when set, Get waits until it is closed
	entered chan struct{} // told once by each Get that waits
	state   migration.Status
	ready   bool
}

func newMapTasks() *mapTasks {
	return &mapTasks{
		recs:  map[string]record{},
		ready: true,
		state: migration.Status{Step: 4, Primary: store.PrimaryOld, Epoch: 1, Pending: 3, Compared: map[string]store.Compared{"tasks": {}}},
	}
}

func (m *mapTasks) Apply(ctx context.Context, id string, fresh bool, change Change) (record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return record{}, m.err
	}
	cur, found := m.recs[id]
	if fresh && found {
		return record{}, errors.New("a fresh id is taken")
	}
	change(cur, found) // it may be called several times: only the last one counts
	next, commit, err := change(cur, found)
	if err != nil || !commit {
		return cur, err
	}
	next.ID, next.Rev = id, cur.Rev+1
	m.recs[id] = next
	m.commits++
	return next, nil
}

func (m *mapTasks) Get(ctx context.Context, id string) (record, bool, error) {
	if m.held != nil {
		m.entered <- struct{}{}
		<-m.held
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recs[id]
	return r, ok, m.err
}

func (m *mapTasks) List(ctx context.Context, f task.Filter, after *string, limit int) (todo.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []record
	for _, r := range m.recs {
		if !r.Deleted && (after == nil || r.ID > *after) && f.Match(r.Body) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b record) int { return cmp.Compare(a.ID, b.ID) })
	if len(out) < limit {
		return todo.Page{Records: out, End: true}, m.err
	}
	return todo.Page{Records: out[:limit], Next: out[limit-1].ID}, m.err
}

func (m *mapTasks) Known(context.Context) (store.Primary, int64) {
	return m.state.Primary, m.state.Epoch
}

func (m *mapTasks) Status(context.Context) migration.Status { return m.state }
func (m *mapTasks) Ready(context.Context) (bool, string, string) {
	if m.ready {
		return true, "", "new is unreachable"
	}
	return false, "not at this step", ""
}
func (m *mapTasks) LookAtGates(ctx context.Context, to migration.Step) ([]migration.Gate, error) {
	gates, err := m.Gates(ctx, to)
	for n := range gates {
		gates[n].Untried = gates[n].OK
	}
	return gates, err
}

func (m *mapTasks) Gates(_ context.Context, to migration.Step) ([]migration.Gate, error) {
	return []migration.Gate{{Name: "cleared", OK: true, Detail: "nothing pending"}}, m.err
}
func (m *mapTasks) Prepare(context.Context) error { return m.err }
func (m *mapTasks) Probe(context.Context) error   { return m.err }
func (m *mapTasks) Advance(context.Context) error { return m.err }
func (m *mapTasks) Flush(context.Context) error   { return m.err }

func (m *mapTasks) put(id string, t task.Task, rev int64) {
	m.recs[id] = record{ID: id, Rev: rev, Body: t}
}

func newServer(t *testing.T, tasks *mapTasks, cfg Config) *Server {
	t.Helper()
	cfg.Step, cfg.Instance, cfg.Build = 4, "i-1", "v1"
	s, err := New(cfg, tasks)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one request; headers are given as "Name: value".
func ask(t *testing.T, h http.Handler, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}
