package web

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

// problem is an error as clients see it.
type problem struct {
	status  int
	code    string // stable, for programs
	message string // for people
}

func (p *problem) Error() string { return p.message }

func malformed(message string) *problem {
	return &problem{http.StatusBadRequest, "malformed", message}
}

func noTask(id string) *problem {
	return &problem{http.StatusNotFound, "not_found", "there is no task " + id}
}

// problemOf turns an error of the store into what a client is told. An unknown
// outcome comes first: whatever else the error says, the change may have happened.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.Is(err, store.ErrUnknown):
		return &problem{http.StatusServiceUnavailable, "outcome_unknown", "the change may or may not have happened: read before repeating it"}
	case errors.As(err, &p):
		return p
	case errors.Is(err, store.ErrQuarantined):
		return &problem{http.StatusConflict, "quarantined", err.Error() + "; set all its fields, or delete it"}
	case errors.Is(err, store.ErrRule):
		return &problem{http.StatusConflict, "conflict", err.Error()}
	case errors.Is(err, task.ErrInvalid), errors.Is(err, store.ErrUnfit):
		return &problem{http.StatusUnprocessableEntity, "invalid_field", err.Error()}
	case errors.Is(err, migration.ErrRefused), errors.Is(err, store.ErrFenceMoved), errors.Is(err, store.ErrServer):
		return &problem{http.StatusServiceUnavailable, "refused", "this instance may not serve at the present state of the migration"}
	case errors.Is(err, store.ErrUnavailable):
		return &problem{http.StatusServiceUnavailable, "unavailable", "the database can't be reached; nothing has changed"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{http.StatusServiceUnavailable, "unavailable", "the database did not answer in time; nothing has changed"}
	case errors.Is(err, store.ErrConflict):
		return &problem{http.StatusConflict, "conflict", "others changed the task meanwhile; nothing of this request was kept"}
	}
	return &problem{http.StatusInternalServerError, "internal", "internal error"}
}

// fail answers with err, and logs what the client is not told.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.status >= 500 {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "code", p.code, "error", err)
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p *problem) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.status, map[string]any{"error": map[string]string{"code": p.code, "message": p.message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // nothing that is written here can fail to marshal
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"internal error"}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that has gone can't be told
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, &problem{http.StatusNotFound, "not_found", "there is nothing at this path"})
}

// resource answers the methods of one path. HEAD goes with GET.
type resource map[string]http.HandlerFunc

func (m resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h, ok := m[method]; ok {
		h(w, r)
		return
	}
	w.Header().Set("Allow", m.allow())
	if method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeProblem(w, &problem{http.StatusMethodNotAllowed, "method_not_allowed", "this path knows " + m.allow()})
}

func (m resource) allow() string {
	methods := slices.Collect(maps.Keys(m))
	if _, ok := m[http.MethodGet]; ok {
		methods = append(methods, http.MethodHead)
	}
	methods = append(methods, http.MethodOptions)
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
