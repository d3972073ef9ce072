package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Serve listens on the port and on the admin socket until ctx ends, then ends
// well: it accepts no more, finishes what is in flight within the grace,
// flushes what is pending, and returns nil. The stores are the caller's to close.
func (s *Server) Serve(ctx context.Context) error {
	var lc net.ListenConfig
	public, err := lc.Listen(ctx, "tcp", net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)))
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	if s.cfg.AdminSocket == "" {
		return s.serve(ctx, public, nil)
	}
	admin, err := listenUnix(s.cfg.AdminSocket)
	if err != nil {
		public.Close()
		return err
	}
	return s.serve(ctx, public, admin)
}

// Port returns the port that is listened on.
func (s *Server) Port() int { return int(s.traffic.port.Load()) }

// serve owns the listeners; admin may be nil.
func (s *Server) serve(ctx context.Context, tcp, admin net.Listener) error {
	public := &listener{Listener: tcp}
	s.traffic.port.Store(int64(public.Addr().(*net.TCPAddr).Port))
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	failed := make(chan error, 2)
	clients := s.httpServer(requests, s.public)
	clients.ConnState = s.traffic.connection
	serving := 1
	go func() { failed <- clients.Serve(public) }()
	operators := s.httpServer(requests, s.admin)
	if admin != nil {
		serving++
		go func() { failed <- operators.Serve(admin) }()
	}
	s.log.Info("serving", "address", public.Addr().String(), "step", int(s.cfg.Step))

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		serving--
	}
	err = errors.Join(err, s.end(requests, clients, public))
	cut()
	operators.Close()
	for range serving {
		if e := <-failed; e != nil && !errors.Is(e, http.ErrServerClosed) && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// writeTimeout bounds an answer, and each page of a long one.
const writeTimeout = 90 * time.Second

func (s *Server) httpServer(requests context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      writeTimeout,
		// Longer than nginx keeps a connection to an upstream (1 s, or what the
		// operator says), or a reused one could meet its end with a request on it.
		IdleTimeout:    120 * time.Second,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// end finishes the public side. New connections are refused first, which a
// proxy can see and go elsewhere. Those that are open carry a request now and
// then, and closing one just as the next request arrives would lose it: they
// are asked to close with each answer for a while.
func (s *Server) end(ctx context.Context, clients *http.Server, public *listener) error {
	s.log.Info("ending", "in_flight", s.traffic.inFlight.Load())
	s.traffic.ending.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Grace)
	defer cancel()
	s.linger(ctx, public)
	var err error
	if e := clients.Shutdown(ctx); e != nil {
		err = fmt.Errorf("%d requests did not finish within %v and were cut: %w", s.traffic.inFlight.Load(), s.cfg.Grace, e)
		clients.Close()
	}
	if e := s.tasks.Flush(ctx); e != nil {
		// Nothing is lost: the outbox is in the database, another instance goes on.
		s.log.Warn("changes are still to be replicated", "error", e)
	}
	return err
}

// linger closes the listener and returns when no connection is open, at most
// after the configured time.
func (s *Server) linger(ctx context.Context, public *listener) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Linger)
	defer cancel()
	if err := public.settle(ctx); err != nil {
		s.log.Warn("clients that have just connected may be cut off", "error", err)
	}
	public.Close()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for s.traffic.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
