// Package web is the HTTP face of the ToDo service: the tasks, the pages, the
// probes and metrics on a public port, and what an orchestrator needs to move
// traffic safely on an admin socket.
//
// It promises that a success is answered only once the store below has
// acknowledged it, that an unknown outcome is said to be one
// (503 outcome_unknown), and that a request which was accepted is finished
// when the process is told to end.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// Change decides what becomes of a record: next is what to commit (only its
// Body, Deleted and Request matter), commit false writes nothing, and err is
// the answer of [Tasks.Apply]. It may be called several times.
type Change = todo.Change

// Tasks is the store that walks through the migration.
//
// Its errors wrap store.ErrUnknown (the change may or may not have happened),
// store.ErrUnavailable, store.ErrUnfit,
// migration.ErrRefused (this step may not serve under the present fence), the
// context's own error (nothing happened), or are the change's own.
type Tasks interface {
	// Apply reads the record, lets change decide and commits. A tombstone is
	// found, with Deleted set. fresh says that the id was just made here and
	// nobody else can know it. It returns the record as it is now stored: the
	// committed one, or the one that change saw last.
	Apply(ctx context.Context, id string, fresh bool, change Change) (todo.Record, error)
	// Get returns a record; a tombstone is found, with Deleted set.
	Get(ctx context.Context, id string) (rec todo.Record, found bool, err error)
	// List returns a page of up to limit records with ids greater than after, nil
	// for the beginning, in bytewise order of ids, tombstones left out.
	List(ctx context.Context, filter task.Filter, after *string, limit int) (todo.Page, error)

	// Known is the primary and the epoch as they were seen last.
	Known(ctx context.Context) (store.Primary, int64)
	Status(ctx context.Context) migration.Status
	Ready(ctx context.Context) (ready bool, reason, degraded string)
	// Gates tries what only a write can tell; LookAtGates only reads.
	Gates(ctx context.Context, to migration.Step) ([]migration.Gate, error)
	LookAtGates(ctx context.Context, to migration.Step) ([]migration.Gate, error)
	Prepare(ctx context.Context) error
	Probe(ctx context.Context) error
	Advance(ctx context.Context) error
	// Flush returns once everything that was pending in the primary when it
	// began has been replicated.
	Flush(ctx context.Context) error
}

// Config describes an instance. Zero durations take the defaults below.
type Config struct {
	Host        string // to listen on; 127.0.0.1 when empty
	Port        int    // 0 lets the system choose
	AdminSocket string // path of the admin socket; none when empty
	Step        migration.Step
	Instance    string // the instance's id, unique to this process
	Build       string // version of the program

	Old, New store.Place // where the databases are

	FirstContact *FirstContact // for the admin socket; nil unless this instance made it

	RequestTimeout time.Duration // for the store's part of one request; 10 s
	Linger         time.Duration // at the end: how long busy connections are asked to close; 250 ms
	Grace          time.Duration // at the end: how long requests may take to finish; 20 s

	Log        *slog.Logger           // nil discards
	Collectors []prometheus.Collector // further metrics
}

func (c Config) withDefaults() Config {
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 10 * time.Second
	}
	if c.Linger == 0 {
		c.Linger = 250 * time.Millisecond
	}
	if c.Grace == 0 {
		c.Grace = 20 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server is one instance of the service.
type Server struct {
	cfg     Config
	tasks   Tasks
	log     *slog.Logger
	traffic traffic
	metrics *metrics
	public  http.Handler
	admin   http.Handler
}

// New returns an instance that serves tasks. It listens once [Server.Serve]
// is called; the handlers work without it.
func New(cfg Config, tasks Tasks) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, tasks: tasks, log: cfg.Log.With("instance", cfg.Instance)}
	s.traffic.port.Store(int64(cfg.Port))
	m, err := newMetrics(s, cfg.Collectors)
	if err != nil {
		return nil, err
	}
	s.metrics = m
	s.public = s.publicRoutes()
	s.admin = s.adminRoutes()
	return s, nil
}

// Public returns the handler of the port that clients reach through nginx.
func (s *Server) Public() http.Handler { return s.public }

// Admin returns the handler of the admin socket.
func (s *Server) Admin() http.Handler { return s.admin }

func (s *Server) publicRoutes() http.Handler {
	// Ids of the original may hold anything, slashes and dots too: match the
	// path as it was sent, and never clean it.
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	r.Handle("/tasks", resource{"GET": s.listTasks, "POST": s.createTask})
	r.Handle("/tasks/{id:.+}", resource{
		"GET": s.getTask, "PUT": s.finishTask, "PATCH": s.patchTask, "DELETE": s.deleteTask,
	})
	r.Handle("/config", resource{"GET": s.getConfig})
	r.Handle("/healthz", resource{"GET": s.healthz})
	r.Handle("/readyz", resource{"GET": s.readyz})
	r.Handle("/metrics", resource{"GET": s.metrics.handler.ServeHTTP})
	r.Handle("/", resource{"GET": s.console})
	r.Handle("/favicon.ico", resource{"GET": s.favicon})
	r.Handle("/static/userConsole.html", resource{"GET": formerConsole})
	r.Handle("/static/{file}", resource{"GET": s.page})
	r.Use(s.observe, sameOrigin)
	r.NotFoundHandler = s.observe(http.HandlerFunc(notFound))
	return secured(r)
}

// secured sets the headers that keep a page from running or embedding what is
// not ours.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
