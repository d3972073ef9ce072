package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/nginx"
)

// failover is one case of a live instance that does not answer. It returns
// what is wrong, so that the same cases judge the broken variants.
type failover struct {
	name string
	run  func(t *testing.T, s *stage) error
	link bool // it is about the link, which nginx looks at afresh
}

var changes = []string{"POST", "PUT", "PATCH", "DELETE"}

// with points the links; 0 is none.
func (s *stage) with(t *testing.T, live, fallback int) {
	t.Helper()
	move := s.Clear
	if live != 0 {
		move = func(ctx context.Context) error { return s.Move(ctx, live) }
	}
	if err := errors.Join(move(t.Context()), s.SetFallback(t.Context(), fallback)); err != nil {
		t.Fatal(err)
	}
}

// each sends a request of every method and judges the answers.
func (s *stage) each(t *testing.T, methods []string, judge func(answer) error) error {
	var errs []error
	for _, method := range methods {
		got, err := send(t.Context(), method, s.url()+"/tasks", strings.NewReader("{}"))
		if err == nil {
			err = judge(got)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", method, err))
		}
	}
	return errors.Join(errs...)
}

func (in *instance) got(want int) error {
	if n := in.arrived.Load(); n != int64(want) {
		return fmt.Errorf("%d requests arrived at port %d, want %d", n, in.port, want)
	}
	return nil
}

func is(status int, body string) func(answer) error {
	return func(a answer) error { return a.differs(status, body) }
}

func down(code string) func(answer) error {
	return func(a answer) error { return a.isDown(code) }
}

func failovers() []failover {
	all := append([]string{"GET"}, changes...)
	return []failover{
		{"the live one answers", func(t *testing.T, s *stage) error {
			live, standby := s.serve(t, named("live")), s.serve(t, named("standby"))
			s.with(t, live.port, standby.port)
			return errors.Join(s.each(t, all, is(200, "live")), live.got(len(all)), standby.got(0))
		}, false},
		{"never sent: the fallback takes it", func(t *testing.T, s *stage) error {
			standby := s.serve(t, named("standby"))
			s.with(t, s.port(), standby.port)
			return errors.Join(s.each(t, all, is(200, "standby")), standby.got(len(all)))
		}, false},
		{"a read may be sent again", func(t *testing.T, s *stage) error {
			live, standby := s.dying(t, func() {}), s.serve(t, named("standby"))
			s.with(t, live.port, standby.port)
			err := s.each(t, []string{"GET"}, is(200, "standby"))
			err = errors.Join(err, s.each(t, []string{"HEAD"}, is(200, "")))
			return errors.Join(err, live.got(4), standby.got(2))
		}, false},
		{"a change that may have arrived is not", func(t *testing.T, s *stage) error {
			live, standby := s.dying(t, func() {}), s.serve(t, named("standby"))
			s.with(t, live.port, standby.port)
			err := s.each(t, changes, down("outcome_unknown"))
			return errors.Join(err, live.got(len(changes)), standby.got(0))
		}, false},
		{"moved meanwhile: a read finds the next one", func(t *testing.T, s *stage) error {
			next := s.serve(t, named("next"))
			live := s.dying(t, func() { s.with(t, next.port, 0) })
			s.with(t, live.port, 0)
			return errors.Join(s.each(t, []string{"GET"}, is(200, "next")), live.got(1), next.got(1))
		}, true},
		{"moved meanwhile: a change does not", func(t *testing.T, s *stage) error {
			next := s.serve(t, named("next"))
			live := s.dying(t, func() { s.with(t, next.port, 0) })
			s.with(t, live.port, 0)
			return errors.Join(s.each(t, []string{"POST"}, down("outcome_unknown")), live.got(1), next.got(0))
		}, true},
		{"the fallback dies of it", func(t *testing.T, s *stage) error {
			standby := s.dying(t, func() {})
			s.with(t, s.port(), standby.port)
			err := s.each(t, []string{"GET"}, down("unavailable"))
			err = errors.Join(err, s.each(t, changes, down("outcome_unknown")))
			return errors.Join(err, standby.got(1+len(changes)))
		}, false},
		{"both are dead", func(t *testing.T, s *stage) error {
			s.with(t, s.port(), s.port())
			return s.each(t, all, down("unavailable"))
		}, false},
		{"dead, and no fallback", func(t *testing.T, s *stage) error {
			s.with(t, s.port(), 0)
			return s.each(t, all, down("unavailable"))
		}, false},
		{"no live one", func(t *testing.T, s *stage) error {
			standby := s.serve(t, named("standby"))
			s.with(t, 0, standby.port)
			return errors.Join(s.each(t, all, down("unavailable")), standby.got(0))
		}, false},
		{"none at all", func(t *testing.T, s *stage) error {
			s.with(t, 0, 0)
			return s.each(t, all, down("unavailable"))
		}, false},
		{"the link leads elsewhere", func(t *testing.T, s *stage) error {
			standby := s.serve(t, named("standby"))
			s.with(t, 0, standby.port)
			link := s.LinkPath()
			var errs []error
			for _, target := range []string{filepath.Dir(link), t.TempDir(), "/nowhere", ""} {
				errs = append(errs, os.Remove(link))
				if target != "" { // else no link at all
					errs = append(errs, os.Symlink(target, link))
				}
				errs = append(errs, s.each(t, all, down("unavailable")))
			}
			return errors.Join(append(errs, standby.got(0))...)
		}, true},
		{"the application's own errors", func(t *testing.T, s *stage) error {
			var errs []error
			for _, status := range []int{502, 503, 504} {
				own := func(w http.ResponseWriter, r *http.Request) {
					http.Error(w, "its own words", status)
				}
				live, standby := s.serve(t, own), s.serve(t, named("standby"))
				s.with(t, live.port, standby.port)
				errs = append(errs, s.each(t, all, is(status, "its own words\n")), standby.got(0))
				s.with(t, s.port(), live.port) // from the fallback, too
				errs = append(errs, s.each(t, all, is(status, "its own words\n")))
			}
			return errors.Join(errs...)
		}, false},
	}
}

func TestFailover(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 64, by)
		for _, f := range failovers() {
			if f.link && by != nginx.ByLink {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				if err := f.run(t, s); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// The cases above see each of these mistakes.
func TestFailoverSeesMistakes(t *testing.T) {
	for _, mistake := range []struct{ name, old, changed, seen string }{
		{"everything is sent again",
			"$resend {\n        volatile;\n        default 0;", "$resend {\n        volatile;\n        default 1;",
			"a change that may have arrived is not"},
		{"nothing is sent again",
			"\"~^1:\" 1;\n", "\n",
			"never sent: the fallback takes it"},
		{"only what was never sent goes on",
			`"~^0:(GET|HEAD):" 1;`, ``,
			"a read may be sent again"},
		{"no second look at the link",
			`error_page 502 504 = @again;`, `error_page 502 504 = @fallback;`,
			"moved meanwhile: a read finds the next one"},
		{"no fallback",
			`error_page 502 504 = @fallback;`, `error_page 502 504 = @down;`,
			"never sent: the fallback takes it"},
		{"no group for none",
			`upstream none { server 127.0.0.1:1 down; }`, ``,
			"none at all"},
		{"a link that leads elsewhere is a dead instance",
			`            if ($instance = none) { return 503; }`, ``,
			"the link leads elsewhere"},
		{"errors of the application are taken over",
			`proxy_intercept_errors off;`, `proxy_intercept_errors on;`,
			"the application's own errors"},
	} {
		t.Run(mistake.name, func(t *testing.T) {
			s := newStage(t, 64)
			s.alter(t, mistake.old, mistake.changed)
			for _, f := range failovers() {
				if f.name == mistake.seen {
					if err := f.run(t, s); err == nil {
						t.Errorf("%q does not see it", f.name)
					}
				}
			}
		})
	}
}
