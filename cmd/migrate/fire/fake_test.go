package fire

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// fake is the service in a few lines, by the model, and broken on demand: an
// honest one has every answer of the real one, unknown outcomes included.
type fake struct {
	mu     sync.Mutex
	rng    *rand.Rand
	tasks  map[string]*fakeTask
	fault  string   // what it gets wrong, now and then; empty: nothing
	faults int      // how often it did
	late   []func() // effects of requests that have been given up
}

type fakeTask struct {
	id, assignee string
	state, was   state
}

func newFake(fault string) *fake {
	return &fake{rng: rand.New(rand.NewPCG(1, 2)), tasks: map[string]*fakeTask{}, fault: fault}
}

func (s *fake) legacy(l Legacy) {
	s.tasks[l.ID] = &fakeTask{id: l.ID, assignee: l.Assignee, state: legacyRecord(l).initial}
}

// wrong reports whether to make this mistake now.
func (s *fake) wrong(fault string) bool {
	if s.fault != fault || s.rng.IntN(8) > 0 {
		return false
	}
	s.faults++
	return true
}

func (s *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet && r.URL.Path == "/tasks" {
		s.list(w, r)
		return
	}
	if len(s.late) > 0 && s.rng.IntN(8) == 0 {
		s.late[0]()
		s.late = s.late[1:]
	}
	body, _ := io.ReadAll(r.Body)
	var in struct{ Assignee, Description string }
	_ = json.Unmarshal(body, &in)
	t := s.task(r, in.Assignee)
	req := fakeRequest(r, in.Description, t)
	switch n := s.rng.IntN(400); {
	case n < 2:
		fakeProblem(w, "unavailable") // and nothing happens
		return
	case n < 4 && req.Op != opGet: // it may happen, now or later or never
		if s.rng.IntN(3) > 0 {
			s.late = append(s.late, func() { t.state, _ = t.state.next(req) })
		}
		fakeProblem(w, "outcome_unknown")
		return
	}
	next, a := t.state.next(req)
	switch {
	case req.Op == opGet && s.wrong("stale read"):
		_, a = t.was.next(req)
	case req.Op == opPatch && a.Status == 200 && s.wrong("lost update"):
		next = t.state
	case req.Op == opPatch && a.Status == 200 && s.wrong("refused, but done"):
		t.state = next
		fakeProblem(w, "unavailable")
		return
	case next.is == deleted && s.wrong("back from the dead"):
		next = t.state
	case req.If.Rev != 0 && a.Status == 412 && s.fault == "blind": // rare enough as it is
		s.faults++
		req.If = view{}
		next, a = t.state.next(req)
	}
	if next != t.state {
		t.was, t.state = t.state, next
	}
	fakeAnswer(w, t, a)
}

// task finds the one that is meant, or makes room for one.
func (s *fake) task(r *http.Request, assignee string) *fakeTask {
	id := strings.TrimPrefix(r.URL.Path, "/tasks/")
	if r.Method == http.MethodPost {
		if id = r.Header.Get("Idempotency-Key"); id == "" {
			id = fmt.Sprint("plain ", len(s.tasks))
		}
		id = strings.NewReplacer(" ", "-", "#", "-").Replace(id)
	}
	if s.tasks[id] == nil {
		s.tasks[id] = &fakeTask{id: id, assignee: assignee}
	}
	return s.tasks[id]
}

func fakeRequest(r *http.Request, description string, t *fakeTask) request {
	req := request{Description: description, Op: map[string]op{
		http.MethodPost: opCreate, http.MethodGet: opGet, http.MethodPatch: opPatch, http.MethodPut: opDone, http.MethodDelete: opDelete,
	}[r.Method]}
	if tag := r.Header.Get("If-Match"); tag != "" {
		req.If.Rev = -1 // matches nothing
		if tag == fakeTag(t.state.view) {
			req.If = t.state.view
		}
	}
	return req
}

func fakeProblem(w http.ResponseWriter, code string) {
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, `{"error":{"code":%q}}`, code)
}

func fakeTag(v view) string { return fmt.Sprintf(`"%d-%x"`, v.Rev, fmt.Sprint(v.Description, v.Done)) }

func fakeAnswer(w http.ResponseWriter, t *fakeTask, a answer) {
	if a.View.Rev > 0 {
		w.Header().Set("ETag", fakeTag(a.View))
	}
	w.WriteHeader(a.Status)
	switch {
	case a.Status == 422:
		fmt.Fprint(w, `{"error":{"code":"idempotency_key_reuse"}}`)
	case a.View.Rev > 0:
		_ = json.NewEncoder(w).Encode(a.View)
	case a.Status < 202:
		fmt.Fprintf(w, `{"id":%q}`, t.id)
	}
}

func (s *fake) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	items := []item{}
	for id, t := range s.tasks {
		shown := t.state.is == live && (q.Get("done") == "all" || !t.state.view.Done)
		if t.assignee != q.Get("assignee") || id <= q.Get("after") || !shown && !(t.state.is != never && s.wrong("list shows what is gone")) {
			continue
		}
		if s.wrong("list misses one") {
			continue
		}
		v := t.state.view
		if t.was.is == live && s.wrong("list is stale") {
			v = t.was.view
		}
		items = append(items, item{id, v})
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.ID, b.ID) })
	if n, err := strconv.Atoi(q.Get("limit")); err == nil {
		items = items[:min(n, len(items))]
	}
	if len(items) > 0 && s.wrong("list shows one twice") {
		items = append(items, items[0])
	}
	_ = json.NewEncoder(w).Encode(items)
}
