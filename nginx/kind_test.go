package nginx_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"migrate.invalid/migrate/nginx"
)

// hidden says which of the operator's paths reach an instance.
func hidden(s *stage, live *instance, want bool) error {
	var errs []error
	before := live.arrived.Load()
	for _, uri := range []string{"/metrics", "/readyz", "/metrics?x=1", "//metrics", "/a/../readyz", "/%6detrics"} {
		got, err := raw(s.Config().Listen, "GET "+uri+" HTTP/1.1\r\nHost: test\r\n\r\n")
		if want && (err != nil || got.status != http.StatusNotFound || got.code() != "not_found") {
			errs = append(errs, fmt.Errorf("%s: got %+v, %v", uri, got, err))
		}
		if !want {
			errs = append(errs, err, got.differs(200, "live"))
		}
	}
	if n := live.arrived.Load() - before; want != (n == 0) {
		errs = append(errs, fmt.Errorf("%d of them arrived", n))
	}
	for _, uri := range []string{"/healthz", "/metrics2", "/tasks/metrics"} {
		got, err := raw(s.Config().Listen, "GET "+uri+" HTTP/1.1\r\nHost: test\r\n\r\n")
		errs = append(errs, err, got.differs(200, "live"))
	}
	return errors.Join(errs...)
}

// What is for the operator of the ToDo service is not passed to the outside,
// however it is written. Of another service everything passes. Which of the two
// runs on a port may change, and takes no reload.
func TestHidden(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 4, by)
		for _, todo := range []bool{true, false} {
			live := s.serve(t, named("live"))
			if err := s.Describe(live.port, todo); err != nil {
				t.Fatal(err)
			}
			s.with(t, live.port, 0)
			if err := hidden(s, live, todo); err != nil {
				t.Errorf("the ToDo service %v: %v", todo, err)
			}
		}
		live := s.serve(t, named("live"))
		for _, todo := range []bool{true, false} { // another one, started on the same port
			s.with(t, 0, 0)
			if err := s.Describe(live.port, todo); err != nil {
				t.Fatal(err)
			}
			s.with(t, live.port, 0)
			if err := hidden(s, live, todo); err != nil {
				t.Errorf("again, the ToDo service %v: %v", todo, err)
			}
		}
	})
}

// Paths can be hidden of any service, and its own 404 is its own.
func TestHidePath(t *testing.T) {
	s := newStageOf(t, 1, func(cfg *nginx.Config) { cfg.HidePaths = []string{"/metrics", "/readyz", "/in side", "/metrics"} })
	live := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.Error(w, "its own words", http.StatusNotFound)
			return
		}
		named("live")(w, r)
	})
	s.with(t, live.port, 0)
	if err := hidden(s, live, true); err != nil {
		t.Error(err)
	}
	got, err := raw(s.Config().Listen, "GET /in%20side HTTP/1.1\r\nHost: test\r\n\r\n")
	if err != nil || got.status != http.StatusNotFound {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = raw(s.Config().Listen, "GET /missing HTTP/1.1\r\nHost: test\r\n\r\n")
	if err = errors.Join(err, got.differs(404, "its own words\n")); err != nil {
		t.Error(err)
	}
}

// chunked hides the length of a body.
func chunked(size int) io.Reader { return struct{ io.Reader }{bytes.NewReader(make([]byte, size))} }

// tooLarge says how an answer is not our own 413, which names the limit.
func tooLarge(limit int64) func(answer) error {
	return func(a answer) error {
		if a.status != http.StatusRequestEntityTooLarge || a.code() != "too_large" || !strings.Contains(a.body, fmt.Sprintf(" %d bytes", limit)) {
			return fmt.Errorf("got %d %q, want 413 too_large with the limit %d", a.status, a.body, limit)
		}
		return nil
	}
}

// sends POSTs a body of this size, with and without its length, and judges.
func (s *stage) sends(t *testing.T, size int, judge func(answer) error) error {
	t.Helper()
	var errs []error
	for _, length := range []bool{true, false} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url()+"/tasks", chunked(size))
		if err != nil {
			t.Fatal(err)
		}
		if length {
			req.ContentLength = int64(size)
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			errs = append(errs, fmt.Errorf("%d bytes, length %v: %w", size, length, err))
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err := judge(answer{resp.StatusCode, resp.Header, string(body)}); err != nil {
			errs = append(errs, fmt.Errorf("%d bytes, length %v: %w", size, length, err))
		}
	}
	return errors.Join(errs...)
}

// A body has a limit of 1 MB before the ToDo service, and none before another,
// unless the operator has set one.
func TestMaxBody(t *testing.T) {
	const mb = 1_000_000
	half := int64(mb / 2)
	var none int64
	for name, test := range map[string]struct {
		max  *int64
		todo bool
		pass int // a size that passes
		fail int // one that does not; 0 if all do
	}{
		"the ToDo service":           {nil, true, mb - 1, mb + 1},
		"another one":                {nil, false, 8 * mb, 0},
		"half for the ToDo service":  {&half, true, mb / 2, mb/2 + 1},
		"half for another one":       {&half, false, mb / 2, mb/2 + 1},
		"none for the ToDo service":  {&none, true, 8 * mb, 0},
		"a name that is a number, 0": {nil, true, 0, 9_999_999},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, by nginx.Cutover) {
				s := newStageOf(t, 1, func(cfg *nginx.Config) { cfg.Cutover, cfg.MaxBody = by, test.max })
				live := s.serve(t, named("live"))
				if err := s.Describe(live.port, test.todo); err != nil {
					t.Fatal(err)
				}
				s.with(t, live.port, 0)
				if err := s.sends(t, test.pass, is(200, "live")); err != nil {
					t.Error(err)
				}
				before := live.arrived.Load()
				limit := int64(mb)
				if test.max != nil {
					limit = *test.max
				}
				if test.fail != 0 {
					if err := s.sends(t, test.fail, tooLarge(limit)); err != nil {
						t.Error(err)
					}
				}
				if n := live.arrived.Load() - before; n != 0 {
					t.Errorf("%d that are too large arrived", n)
				}
			})
		})
	}
}

// One that is refused is not stored first. (300 MB, of which 299 lay beside
// the databases before the answer was 413.)
func TestTooLargeIsNotStored(t *testing.T) {
	s := newStage(t, 1)
	live := s.serve(t, named("live"))
	if err := s.Describe(live.port, true); err != nil {
		t.Fatal(err)
	}
	s.with(t, live.port, 0)
	for _, length := range []bool{true, false} {
		var most atomic.Int64
		body := &watched{left: 64 << 20, look: func() { most.Store(max(most.Load(), stored(t, s))) }}
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url(), body)
		if err != nil {
			t.Fatal(err)
		}
		if length {
			req.ContentLength = body.left
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || most.Load() > 2<<20 {
			t.Errorf("length %v: got %s, and %d bytes were stored", length, resp.Status, most.Load())
		}
	}
}

// watched is a body that has a look from time to time while it is sent.
type watched struct {
	left int64
	look func()
}

func (w *watched) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, io.EOF
	}
	if w.left%(4<<20) == 0 {
		w.look()
	}
	n := min(int64(len(p)), w.left, 1<<15)
	w.left -= n
	return int(n), nil
}

// stored is the size of what lies in nginx's temporary folders.
func stored(t *testing.T, s *stage) (size int64) {
	t.Helper()
	err := filepath.WalkDir(s.Config().Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, "/temp/") {
			return nil // gone meanwhile
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
