package nginx_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// keptOpen returns connections on which one request was answered, and which
// could take another.
func keptOpen(t *testing.T, address string, n int) []func() error {
	var all []func() error
	for range n {
		conn, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		reader := bufio.NewReader(conn)
		post := func() error {
			_, err := (&load{}).post(conn, reader)
			return err
		}
		if err := post(); err != nil {
			t.Fatal(err)
		}
		all = append(all, post)
	}
	return all
}

// Connections that idle for longer than the window are cut, and counted: as
// many requests fail, and none of a busy client's, whose connection may be
// counted with them if it is still open when the window ends. From nginx 1.27.4
// on none is cut, and none fails.
func TestReloadCountsWhatItCuts(t *testing.T) {
	const idle, clients = 16, 8
	s := newStage(t, 2, nginx.ByReload)
	a, b := s.serve(t, named("a")), s.serve(t, named("b"))
	s.with(t, a.port, 0)
	if cut := s.TakeCut(); cut != 0 {
		t.Errorf("%d connections cut before there was one", cut)
	}
	posts := keptOpen(t, s.Config().Listen, idle)
	busy := startLoad(t.Context(), s.Config().Listen, clients, 0)
	busy.moreDone(t, clients)
	if err := s.Move(t.Context(), b.port); err != nil {
		t.Fatal(err)
	}
	busy.moreDone(t, clients)
	busy.end()
	failed := 0
	for _, post := range posts {
		if post() != nil {
			failed++
		}
	}
	least, most := idle, idle+clients
	if s.KeepsIdle(t.Context()) {
		least, most = 0, 0
	}
	if cut := s.TakeCut(); cut < failed || cut > most || failed != least || busy.failed.Load() != 0 {
		t.Errorf("said to have cut %d connections, %d requests on idle ones failed, want %d; %d of the busy clients failed: %v",
			cut, failed, least, busy.failed.Load(), busy.err())
	}
	if cut := s.TakeCut(); cut != 0 {
		t.Errorf("and %d again", cut)
	}
}

// It is the window that spares the busy clients: where answers don't announce
// the end, their connections are cut.
func TestReloadWithoutAnnouncementCuts(t *testing.T) {
	const clients = 16
	s := newStage(t, 2, nginx.ByReload)
	if s.KeepsIdle(t.Context()) {
		t.Skip("this nginx cuts no connection, with or without a word")
	}
	a, b := s.serve(t, named("a")), s.serve(t, named("b"))
	s.with(t, a.port, 0)
	s.alter(t, "return 418;", "set $unannounced 1;")
	s.TakeCut()
	l := startLoad(t.Context(), s.Config().Listen, clients, 0)
	l.moreDone(t, 4*clients)
	err := s.Move(t.Context(), b.port)
	l.end()
	if cut := s.TakeCut(); err != nil || cut != clients || l.failed.Load() > clients {
		t.Errorf("%d connections cut, want all %d; %d failed; %v", cut, clients, l.failed.Load(), err)
	}
}

// A rewritten file that nginx rejects takes no one's place, and nothing moves.
func TestMoveRejected(t *testing.T) {
	dir := t.TempDir()
	reject := filepath.Join(dir, "reject")
	script := fmt.Sprintf("#!/bin/sh\nif [ -e '%s' ]; then case \"$*\" in *' -t '*) echo 'not this one' >&2; exit 1;; esac; fi\nexec '%s' \"$@\"\n",
		reject, nginxtest.Binary(t))
	binary := filepath.Join(dir, "nginx.sh")
	if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	server := nginxtest.Start(t, 2, func(cfg *nginx.Config) { cfg.Cutover, cfg.Binary = nginx.ByReload, binary })
	ctx, cfg := t.Context(), server.Config()
	if err := server.Move(ctx, cfg.FirstPort); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(cfg.Dir, "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(reject, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = server.Move(ctx, cfg.FirstPort+1)
	if !errors.Is(err, nginx.ErrRejected) || !strings.Contains(err.Error(), "not this one") || !strings.Contains(err.Error(), "still there") {
		t.Errorf("got %v, want what nginx said", err)
	}
	after, err := os.ReadFile(filepath.Join(cfg.Dir, "nginx.conf"))
	if err != nil || string(after) != string(before) {
		t.Errorf("nginx.conf has changed (%v)", err)
	}
	left, _ := filepath.Glob(filepath.Join(cfg.Dir, ".nginx.conf*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	route, err := server.Served(ctx)
	if _, open := os.Stat(filepath.Join(cfg.Dir, "closing", route.Generation)); !errors.Is(open, os.ErrNotExist) {
		t.Errorf("the closing window of what runs is open (%v)", open)
	}
	live, lerr := server.Live()
	if err := errors.Join(err, lerr); err != nil || route.Live != cfg.FirstPort || live != cfg.FirstPort {
		t.Errorf("served %+v, link %d, %v", route, live, err)
	}
}

// A reload that is not seen in time is undone: nginx, which is in the middle of
// it, comes to the old file last. (Without being told once more it would go on
// to the new one after everybody was told that traffic is where it was.)
func TestReloadNotSeenIsPutBack(t *testing.T) {
	s := newStage(t, 2, nginx.ByReload)
	a, b := s.serve(t, named("a")), s.serve(t, named("b"))
	s.with(t, a.port, 0)
	before, err := s.Served(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := startLoad(t.Context(), s.Config().Listen, 4, 0)
	defer l.end()
	for range 5 {
		s.SetTaking(1)
		err := s.Move(t.Context(), b.port)
		s.SetTaking(patience)
		if err == nil {
			t.Fatal("a move that could not be seen succeeded")
		}
		for range 30 {
			if route, err := s.Served(t.Context()); err != nil || route != before {
				t.Fatalf("served %+v, %v; want %+v as before", route, err, before)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if live, err := s.Live(); err != nil || live != a.port {
			t.Errorf("the link names %d, %v", live, err)
		}
	}
	l.end()
	if err := s.Move(t.Context(), b.port); err != nil {
		t.Fatal(err)
	}
	if err := s.each(t, []string{"POST"}, is(200, "b")); err != nil {
		t.Error(err)
	}
}

// The other way may follow at any move: what was live stays so until then, and
// no busy client notices.
func TestOneWayAfterTheOther(t *testing.T) {
	s := newStage(t, 2)
	a, b := s.serve(t, named("a")), s.serve(t, named("b"))
	s.with(t, a.port, 0)
	cfg := s.Config()
	cfg.Cutover = nginx.ByReload
	reload, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := startLoad(t.Context(), cfg.Listen, 8, 0)
	defer l.end()
	for n, move := range []struct {
		server *nginx.Server
		to     *instance
		body   string
	}{{reload, b, "b"}, {s.Server, a, "a"}, {s.Server, b, "b"}, {reload, a, "a"}} {
		l.moreDone(t, 8)
		if err := move.server.Move(t.Context(), move.to.port); err != nil {
			t.Fatal(err)
		}
		if err := move.server.SetFallback(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		route, err := s.Served(t.Context())
		live, lerr := s.Live()
		if err := errors.Join(err, lerr); err != nil || route.Live != move.to.port || live != move.to.port {
			t.Errorf("move %d: served %+v, link %d, want %d; %v", n, route, live, move.to.port, err)
		}
		if err := s.each(t, []string{"POST"}, is(200, move.body)); err != nil {
			t.Errorf("move %d: %v", n, err)
		}
	}
	// And by link again for one that starts: the links are true under either way.
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.each(t, []string{"POST"}, is(200, "a")); err != nil {
		t.Error(err)
	}
	l.end()
	if l.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed: %v", l.failed.Load(), l.done.Load(), l.err())
	}
}

// A port outside the range can be made known, and stays so.
func TestWiden(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 1, by)
		s.port()
		outside := nginxtest.FreePorts(t, 1)
		s.next = outside
		in := s.serve(t, named("outside"))
		if err := s.Move(t.Context(), outside); err == nil {
			t.Error("moved to a port that nothing knows")
		}
		for range 2 {
			if err := s.Widen(t.Context(), outside); err != nil {
				t.Fatal(err)
			}
		}
		s.with(t, outside, 0)
		if err := errors.Join(s.each(t, []string{"POST"}, is(200, "outside")), in.got(1)); err != nil {
			t.Error(err)
		}
		again, err := nginx.New(s.Config())
		if err != nil {
			t.Fatal(err)
		}
		if live, err := again.Live(); err != nil || live != outside {
			t.Errorf("live %d, %v", live, err)
		}
		_, own, _ := net.SplitHostPort(s.Config().Listen)
		var port int
		fmt.Sscan(own, &port)
		for _, port := range []int{0, -1, 1 << 16, port} {
			if err := s.Widen(t.Context(), port); err == nil {
				t.Errorf("port %d was taken", port)
			}
		}
	})
}

// What a command that is killed in a move leaves is put right: nginx serves
// the truth.
func TestRecover(t *testing.T) {
	s := newStage(t, 2, nginx.ByReload)
	ctx, dir, first := t.Context(), s.Config().Dir, s.Config().FirstPort
	s.with(t, first, 0)
	route, err := s.Served(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	running, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	recovered := func(after string) {
		t.Helper()
		if err := s.Recover(ctx); err != nil {
			t.Fatalf("%s: %v", after, err)
		}
		live, lerr := s.Live()
		now, err := s.Served(ctx)
		text, rerr := os.ReadFile(conf)
		if err := errors.Join(err, lerr, rerr); err != nil || live != first || now.Live != first || string(text) != string(running) {
			t.Errorf("%s: live %d, served %+v, %v", after, live, now, err)
		}
		if _, open := os.Stat(filepath.Join(dir, "closing", now.Generation)); !errors.Is(open, os.ErrNotExist) {
			t.Errorf("%s: the closing window is open (%v)", after, open)
		}
	}
	// Killed in the window.
	if err := os.WriteFile(filepath.Join(dir, "closing", route.Generation), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	recovered("in the window")
	// Killed before nginx was told of the new file.
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(string(running), route.Generation, "unborn")), 0o600); err != nil {
		t.Fatal(err)
	}
	recovered("before the signal")
	// Killed before the link followed.
	link := filepath.Join(dir, "live")
	if err := errors.Join(os.Remove(link), os.Symlink("routes/none", link)); err != nil {
		t.Fatal(err)
	}
	recovered("before the link")
}

// With keepalive_min_timeout there is no need for a window: nginx's own
// version says whether it is there.
func TestRenderByVersion(t *testing.T) {
	for said, has := range map[string]bool{
		"nginx version: nginx/1.22.1": false, "nginx version: nginx/1.27.4": true, "nginx version: nginx/1.27.3": false,
		"nginx version: nginx/1.28.0 (Ubuntu)": true, "nginx version: nginx/2.0.0": true, "nginx version: openresty/1.27.1.2": false,
		"Tengine version: Tengine/3.1.0": false, "": false,
	} {
		binary := filepath.Join(t.TempDir(), "nginx")
		if err := os.WriteFile(binary, []byte("#!/bin/sh\necho '"+said+"' >&2\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		server, err := nginx.New(nginx.Config{Dir: t.TempDir(), Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		text, err := server.Render(t.Context())
		if err != nil || strings.Contains(string(text), "keepalive_min_timeout ") != has {
			t.Errorf("%q: keepalive_min_timeout %v, want %v; %v", said, !has, has, err)
		}
	}
}
