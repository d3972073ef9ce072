package nginx_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
)

func (s *stage) custom(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Config().Dir, "custom.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The operator's own file is taken at a reload or a start. A proxy_set_header in
// it drops none of ours, and a location in it is served.
func TestCustom(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 2, by)
		a, b := s.serve(t, echoHeaders), s.serve(t, named("b"))
		s.with(t, a.port, 0)
		s.custom(t, "proxy_set_header X-Own yes;\nlocation = /hello { return 200 'hello'; }\nadd_header X-Added yes;\n")
		if got, err := send(t.Context(), "GET", s.url()+"/hello", nil); err != nil || got.body == "hello" {
			t.Errorf("it is taken although nobody has said so: %+v, %v", got, err)
		}
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := send(t.Context(), "GET", s.url()+"/hello", nil); err != nil || got.body != "hello" {
			t.Errorf("got %+v, %v", got, err)
		}
		got, err := raw(s.Config().Listen, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
		if err != nil || got.header.Get("X-Added") != "yes" || !strings.Contains(got.body, `"Host":["example.org"]`) ||
			!strings.Contains(got.body, `"X-Forwarded-Proto":["http"]`) {
			t.Errorf("got %+v, %v; want our own headers beside the operator's", got, err)
		}
		// What is edited meanwhile has no part in a move, however wrong it is.
		s.custom(t, "this is in the middle of being writ")
		s.with(t, b.port, a.port)
		if got, err := send(t.Context(), "GET", s.url()+"/hello", nil); err != nil || got.body != "hello" {
			t.Errorf("after a move: got %+v, %v", got, err)
		}
		if err := s.each(t, []string{"POST"}, is(200, "b")); err != nil {
			t.Error(err)
		}
		// A start takes it, too, and an nginx that does not run fails to start by it.
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); !errors.Is(err, nginx.ErrRejected) {
			t.Errorf("start with a bad file: %v", err)
		}
		if err := os.Remove(filepath.Join(s.Config().Dir, "custom.conf")); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := send(t.Context(), "GET", s.url()+"/hello", nil); err != nil || got.body != "b" {
			t.Errorf("without the file: got %+v, %v", got, err)
		}
		if copies, _ := filepath.Glob(filepath.Join(s.Config().Dir, "custom", "*")); len(copies) != 0 {
			t.Errorf("left behind: %v", copies)
		}
	})
}

// One that nginx rejects is refused in nginx's own words, about the file that the
// operator knows, and what runs goes on as it was.
func TestCustomRejected(t *testing.T) {
	s := newStage(t, 1)
	s.with(t, s.serve(t, named("a")).port, 0)
	s.custom(t, "location = /hello { return 200 'hello'; }")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := s.Served(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.custom(t, "\n\nno_such_directive on;\n")
	file := filepath.Join(s.Config().Dir, "custom.conf") + ":3"
	for name, call := range map[string]func() error{
		"reload": func() error { return s.Reload(t.Context()) },
		"start":  func() error { return s.Start(t.Context()) },
		"test":   func() error { return s.Test(t.Context()) },
	} {
		err := call()
		if !errors.Is(err, nginx.ErrRejected) || !strings.Contains(err.Error(), `unknown directive "no_such_directive"`) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want nginx's own words about %s", name, err, file)
		}
	}
	after, err := s.Served(t.Context())
	if err != nil || after != before {
		t.Errorf("served %+v, %v; want %+v still", after, err, before)
	}
	if got, err := send(t.Context(), "GET", s.url()+"/hello", nil); err != nil || got.body != "hello" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// One that nginx takes, and that answers in the place of what we ask nginx, is
// put back. What it answers with is said, and is not followed.
func TestCustomAnswersForEverything(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 2, by)
		away := s.serve(t, named("elsewhere"))
		s.with(t, s.serve(t, named("a")).port, 0)
		s.SetTaking(time.Second)
		s.custom(t, fmt.Sprintf("return 301 http://127.0.0.1:%d$request_uri;", away.port))
		err := s.Reload(t.Context())
		if !errors.Is(err, nginx.ErrNotSeen) || !strings.Contains(err.Error(), "301 Moved Permanently") {
			t.Errorf("got %v", err)
		}
		if err := errors.Join(s.each(t, []string{"GET"}, is(200, "a")), away.got(0)); err != nil {
			t.Error(err)
		}
	})
}

// If ours stood at the level of the server, a single directive there would drop
// them all: nginx's own rule, on which the place of ours rests.
func TestCustomSeesInheritedHeaders(t *testing.T) {
	s := newStage(t, 1)
	s.with(t, s.serve(t, echoHeaders).port, 0)
	s.custom(t, "proxy_set_header X-Own yes;")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.alter(t, "            proxy_set_header", "            #")
	got, err := raw(s.Config().Listen, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
	if err != nil || strings.Contains(got.body, `"Host":["example.org"]`) {
		t.Errorf("got %+v, %v", got, err)
	}
}
