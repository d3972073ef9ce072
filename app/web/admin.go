package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// operatorTimeout bounds what an operator asks for; a flush may take a while.
const operatorTimeout = 60 * time.Second

// adminStatus is the answer of GET /status.
type adminStatus struct {
	migration.Status
	Instance   string     `json:"instance"`
	Build      string     `json:"build"`
	Port       int        `json:"port"`
	InFlight   int64      `json:"in_flight"`
	Requests   int64      `json:"requests"`              // since the start, probes left out
	LastActive *time.Time `json:"last_active,omitempty"` // when a request last began or ended

	FirstContact *FirstContact `json:"first_contact,omitempty"`
}

// FirstContact is what bringing the old database into the protocol has done.
type FirstContact struct {
	Copy        string `json:"copy"`        // path of the file as it was before
	Rows        int64  `json:"rows"`        // that became records
	Quarantined int64  `json:"quarantined"` // rows that could not
}

func (s *Server) adminRoutes() http.Handler {
	r := mux.NewRouter()
	r.Handle("/status", resource{"GET": s.adminStatus})
	r.Handle("/gates", resource{"GET": s.gates(s.tasks.LookAtGates), "POST": s.gates(s.tasks.Gates)})
	r.Handle("/prepare", resource{"POST": s.order(s.tasks.Prepare)})
	r.Handle("/probe", resource{"POST": s.order(s.tasks.Probe)})
	r.Handle("/advance", resource{"POST": s.order(s.tasks.Advance)})
	r.Handle("/drain", resource{"POST": s.drain})
	r.NotFoundHandler = http.HandlerFunc(notFound)
	return r
}

func (s *Server) adminStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	writeJSON(w, http.StatusOK, adminStatus{
		Status:   s.tasks.Status(ctx),
		Instance: s.cfg.Instance, Build: s.cfg.Build, Port: s.Port(),
		InFlight: s.traffic.inFlight.Load(), Requests: s.traffic.requests.Load(), LastActive: s.traffic.lastActive(),
		FirstContact: s.cfg.FirstContact,
	})
}

// gates answers which gates to a step hold. GET only looks; POST also tries what
// only a write can tell.
func (s *Server) gates(ask func(context.Context, migration.Step) ([]migration.Gate, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("to"))
		to := migration.Step(n)
		if err != nil || !to.Valid() {
			writeProblem(w, malformed("to is a step, 1 to 8"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), operatorTimeout)
		defer cancel()
		gates, err := ask(ctx, to)
		if err != nil {
			s.failOperator(w, r, err)
			return
		}
		if gates == nil {
			gates = []migration.Gate{} // an empty list, not null
		}
		writeJSON(w, http.StatusOK, map[string]any{"to": int(to), "gates": gates})
	}
}

// order answers {} once what was asked for is done.
func (s *Server) order(do func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), operatorTimeout)
		defer cancel()
		if err := do(ctx); err != nil {
			s.failOperator(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, struct{}{})
	}
}

// drainAnswer is the answer of POST /drain.
type drainAnswer struct {
	InFlight int64  `json:"in_flight"`
	Pending  int64  `json:"pending,omitempty"` // what is left to be replicated; more than 0 only with Away
	Away     string `json:"away,omitempty"`    // why that is not waited for: the other database does not answer
}

// drain makes ready for the instance to stand by or to end: what is pending is
// replicated, unless the other database does not answer. Traffic has moved away
// by then; what is still in flight is said.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), operatorTimeout)
	defer cancel()
	answer := drainAnswer{InFlight: s.traffic.inFlight.Load()}
	if err := s.tasks.Flush(ctx); errors.Is(err, migration.ErrAway) {
		answer.Away, answer.Pending = err.Error(), s.tasks.Status(ctx).Pending
	} else if err != nil {
		s.failOperator(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// failOperator answers as fail does, but says everything: whoever may open the
// socket may know.
func (s *Server) failOperator(w http.ResponseWriter, r *http.Request, err error) {
	p := *problemOf(err)
	if errors.Is(err, store.ErrStranger) {
		p = problem{status: http.StatusConflict, code: "stranger"}
	}
	p.message = err.Error()
	s.log.Warn("order failed", "path", r.URL.Path, "code", p.code, "error", err)
	writeProblem(w, &p)
}
