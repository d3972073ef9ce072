package nginx_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
)

// closing starts an instance that closes a connection that was idle for a time,
// as every HTTP server does.
func (s *stage) closing(t *testing.T, after time.Duration) *instance {
	t.Helper()
	in := &instance{port: s.port()}
	listener := listen(t, in.port)
	server := &http.Server{IdleTimeout: after, Handler: named("ok")}
	var done sync.WaitGroup
	done.Go(func() { server.Serve(listener) })
	in.stop = sync.OnceFunc(func() {
		server.Close()
		done.Wait()
	})
	t.Cleanup(in.stop)
	return in
}

// idlers POST one after the other with pauses near the time after which the
// instance closes an idle connection, and return how many did not get 200. A
// client's own connection is a new one each time.
func idlers(ctx context.Context, s *stage, clients, posts int, pause time.Duration) (failed int, first error) {
	var count atomic.Int64
	var why atomic.Pointer[error]
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range posts {
				got, err := send(ctx, "POST", s.url(), strings.NewReader("x"))
				if err = errors.Join(err, got.differs(200, "ok")); err != nil {
					count.Add(1)
					why.CompareAndSwap(nil, &err)
				}
				time.Sleep(pause - 2*time.Millisecond + rand.N(4*time.Millisecond))
			}
		})
	}
	all.Wait()
	if p := why.Load(); p != nil {
		first = *p
	}
	return int(count.Load()), first
}

// A request that is sent on a connection that the service closes at that moment
// is lost, and a POST can't be sent again. So nginx gives its idle connections up
// first: by default before a service that closes after 2 s, and as told for one
// that closes sooner.
func TestIdleConnectionsAreGivenUpFirst(t *testing.T) {
	for _, test := range []struct {
		name  string
		idle  time.Duration // of nginx; 0 is the default
		after time.Duration // of the service
		posts int
	}{
		{"default, a service that closes after 2 s", 0, 2 * time.Second, 4},
		{"50 ms, a service that closes after 100 ms", 50 * time.Millisecond, 100 * time.Millisecond, 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStageOf(t, 2, func(cfg *nginx.Config) {
				if test.idle != 0 {
					cfg.UpstreamIdle = &test.idle
				}
			})
			s.with(t, s.closing(t, test.after).port, 0)
			failed, first := idlers(t.Context(), s, 16, test.posts, test.after)
			if failed > 0 {
				t.Errorf("%d of %d failed: %v", failed, 16*test.posts, first)
			}
		})
	}
	t.Run("none kept", func(t *testing.T) {
		var none time.Duration
		s := newStageOf(t, 1, func(cfg *nginx.Config) { cfg.UpstreamIdle = &none })
		var opened atomic.Int64
		listener := listen(t, s.port())
		server := &http.Server{Handler: named("ok"), ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}}
		var done sync.WaitGroup
		done.Go(func() { server.Serve(listener) })
		defer done.Wait()
		defer server.Close()
		s.with(t, s.Config().FirstPort, 0)
		for range 8 {
			if err := s.each(t, []string{"POST"}, is(200, "ok")); err != nil {
				t.Fatal(err)
			}
		}
		if n := opened.Load(); n != 8 {
			t.Errorf("%d connections for 8 requests", n)
		}
	})
}

// The same load sees connections that are kept for longer than the service
// keeps them.
func TestIdleConnectionsKeptTooLongAreSeen(t *testing.T) {
	long := time.Minute
	s := newStageOf(t, 1, func(cfg *nginx.Config) { cfg.UpstreamIdle = &long })
	const after = 100 * time.Millisecond
	s.with(t, s.closing(t, after).port, 0)
	posts := 0
	for range 60 { // it is a race, which is lost at some time
		failed, first := idlers(t.Context(), s, 16, 10, after)
		if posts += 160; failed > 0 {
			t.Logf("%d of %d failed: %v", failed, posts, first)
			return
		}
	}
	t.Errorf("not one of %d requests was lost", posts)
}
