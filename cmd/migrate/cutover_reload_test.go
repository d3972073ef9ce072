package main

import (
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// Traffic that moves by link and by reload, under clients that repeat nothing, of
// whom many idle. By link no connection is cut, and no request fails. By reload
// an nginx before 1.27.4 cuts the connections that idle for longer than the
// closing window, and no more requests fail than it is said to have cut. A newer
// one cuts none, and no request fails.
func TestSwitchEitherWay(t *testing.T) {
	for _, by := range []nginx.Cutover{nginx.ByLink, nginx.ByReload} {
		t.Run(string(by), func(t *testing.T) { switchUnderLoad(t, by) })
	}
}

func switchUnderLoad(t *testing.T, by nginx.Cutover) {
	const busy, idle, rounds = 32, 128, 6
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true", "MIGRATE_CUTOVER="+string(by))
	s.must("nginx", "start")
	for range 2 { // the first round is to find one that stands by
		s.must("spawn", "--step", "1")
		s.must("switch")
	}
	c := gather(t, s.url(), busy, idle, 200*time.Millisecond, false)
	cut := 0
	var took time.Duration
	for range rounds {
		var spawned, moved struct {
			Cut  int
			Move float64 `json:"move_ms"`
		}
		s.json(&spawned, "spawn", "--step", "1")
		c.more(32)
		s.json(&moved, "switch")
		c.more(32)
		cut += spawned.Cut + moved.Cut
		took += time.Duration(moved.Move * float64(time.Millisecond))
	}
	c.end()
	proxy, err := nginx.New(nginx.Config{Dir: s.dir, Binary: nginxtest.Binary(t)})
	if err != nil {
		t.Fatal(err)
	}
	version, err := proxy.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	none := by == nginx.ByLink || proxy.KeepsIdle(t.Context())
	t.Logf("%s, %d switches by %s, %v a move: %v; %d connections cut", version, rounds, by, took/rounds, c, cut)
	failed := int(c.failed.Load())
	if none && (cut > 0 || failed > 0) {
		t.Errorf("%d connections cut, %d requests failed, the first: %v", cut, failed, c.first)
	}
	if failed > cut {
		t.Errorf("%d requests failed, and %d connections were said to be cut; the first: %v", failed, cut, c.first)
	}
}
