package web

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
)

// traffic counts what passes through the public port. Probes and scrapes are
// left out: they come whether or not the instance is live, and whoever waits
// for it to fall silent must not be disturbed by them.
type traffic struct {
	inFlight atomic.Int64
	requests atomic.Int64 // begun since the start
	last     atomic.Int64 // when one last began or ended, in Unix nanoseconds; 0 never
	port     atomic.Int64 // listened on
	open     atomic.Int64 // connections
	ending   atomic.Bool  // connections are asked to close
}

func (t *traffic) begin() {
	t.inFlight.Add(1)
	t.requests.Add(1)
	t.last.Store(time.Now().UnixNano())
}

func (t *traffic) end() {
	t.last.Store(time.Now().UnixNano())
	t.inFlight.Add(-1)
}

// lastActive returns when a request last began or ended; nil if none did.
func (t *traffic) lastActive() *time.Time {
	n := t.last.Load()
	if n == 0 {
		return nil
	}
	return new(time.Unix(0, n).UTC())
}

// connection follows the number of open connections.
func (t *traffic) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		t.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		t.open.Add(-1)
	}
}

// observe counts and times a request under the template of its route. An
// answer that was broken off counts as an error of the server.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := routeOf(r)
		switch route {
		case "/healthz", "/readyz", "/metrics":
		default:
			s.traffic.begin()
			defer s.traffic.end()
		}
		rec := &recorder{ResponseWriter: w, traffic: &s.traffic}
		start := time.Now()
		whole := false
		defer func() {
			status := rec.status
			if !whole { // whatever status was sent before
				status = http.StatusInternalServerError
			}
			s.metrics.observe(r.Method, route, status, time.Since(start))
		}()
		next.ServeHTTP(rec, r)
		whole = true
	})
}

func routeOf(r *http.Request) string {
	if route := mux.CurrentRoute(r); route != nil {
		if template, err := route.GetPathTemplate(); err == nil {
			return template
		}
	}
	return "none"
}

// recorder remembers the status and, once the instance is ending, asks the
// client to close the connection: at the moment of the answer, since the
// request may have begun before.
type recorder struct {
	http.ResponseWriter
	traffic *traffic
	status  int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		if w.traffic.ending.Load() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
