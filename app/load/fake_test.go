package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// service is the ToDo service over a map, with faults.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	tasks map[string]state
	made  int
	asked map[string]int // requests by method, to choose which one is at fault

	// fault names what goes wrong with the n-th request of a method; empty: nothing.
	fault func(method, path string, n int) string
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{
		tasks: map[string]state{}, asked: map[string]int{},
		fault: func(string, string, int) string { return "" },
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.Method]++
	fault := s.fault(r.Method, r.URL.Path, s.asked[r.Method])
	var before map[string]state
	switch fault {
	case "lose":
		before = maps.Clone(s.tasks)
	case "unavailable", "refused", "outcome_unknown":
		fail(w, 503, fault)
		return
	case "bad gateway":
		w.WriteHeader(502)
		return
	case "close before":
		panic(http.ErrAbortHandler)
	}
	rec := httptest.NewRecorder()
	s.serve(rec, r, fault)
	switch fault {
	case "lose":
		s.tasks = before
	case "done, yet unknown":
		fail(w, 503, "outcome_unknown")
		return
	case "close after":
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":"m"}}`, code)
}

func (s *service) serve(w http.ResponseWriter, r *http.Request, fault string) {
	id, one := strings.CutPrefix(r.URL.Path, "/tasks/")
	t, found := s.tasks[id]
	switch {
	case !one && r.Method == "GET":
		s.list(w, r.URL.Query(), fault)
		return
	case !one:
		s.create(w, r)
		return
	case !found:
		fail(w, 404, "not_found")
		return
	case t.Deleted && r.Method != "DELETE" && fault != "resurrect":
		fail(w, 404, "not_found")
		return
	}
	was := t
	switch r.Method {
	case "PUT":
		t.Done = true
	case "PATCH":
		if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
			fail(w, 400, "malformed")
			return
		}
	case "DELETE":
		t = state{Rev: t.Rev, Deleted: true}
	}
	if t != was {
		t.Rev++
	}
	s.tasks[id] = t
	switch {
	case r.Method == "DELETE":
		w.WriteHeader(204)
		return
	case fault == "stale":
		t.Rev--
	case fault == "other content":
		t.Description += "?"
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%d-%x"`, t.Rev, id))
	write(w, 200, view(id, t))
}

func (s *service) create(w http.ResponseWriter, r *http.Request) {
	t := state{Rev: 1}
	if r.Header.Get("Content-Type") == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
			fail(w, 400, "malformed")
			return
		}
	} else {
		body, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(body))
		if err != nil {
			fail(w, 400, "malformed")
			return
		}
		t.Assignee, t.Description = form.Get("assignee"), form.Get("description")
	}
	s.made++
	id := fmt.Sprintf("t/%d", s.made)
	s.tasks[id] = t
	write(w, 201, map[string]string{"id": id})
}

func (s *service) list(w http.ResponseWriter, q url.Values, fault string) {
	out := []answered{}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		t := s.tasks[id]
		if t.Deleted && fault != "list deleted" || q.Get("done") != "all" && (t.Done || t.Assignee != q.Get("assignee")) && !t.Deleted {
			continue
		}
		out = append(out, view(id, t))
	}
	switch {
	case len(out) == 0:
	case fault == "list omits":
		out = nil
	case fault == "list twice":
		out = append(out, out[0])
	case fault == "list stale":
		for i := range out {
			out[i].Description = "old"
		}
	}
	write(w, 200, out)
}

func view(id string, t state) answered {
	return answered{id, t.Assignee, t.Description, t.Done}
}

func write(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
