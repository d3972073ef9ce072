package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole walk by reload, under load: nothing is lost, and no more requests
// fail than connections that the reloads are known to have cut. (TestDemo is
// the same by link.)
func TestDemoByReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var r struct {
		Moves            []struct{ Step int }
		Lost, Stale, Cut int64
		Failed, Requests int64
		Acknowledged     int
		Problems         []string
	}
	s.json(&r, "demo", "--cutover", "reload")
	t.Logf("%d moves, %d requests: %d acknowledged, lost %d, failed %d, connections cut %d",
		len(r.Moves), r.Requests, r.Acknowledged, r.Lost, r.Failed, r.Cut)
	if len(r.Moves) != 9 || r.Acknowledged == 0 || r.Lost != 0 || r.Stale != 0 || r.Failed > r.Cut {
		t.Errorf("%+v", r)
	}
}

// The way is remembered, and the other one may follow at any switch.
func TestCutoverIsRemembered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	by := func(want string) {
		t.Helper()
		var st struct{ Cutover string }
		s.json(&st, "nginx", "start")
		conf, err := os.ReadFile(filepath.Join(s.dir, "nginx", "nginx.conf"))
		if err != nil || st.Cutover != want || !strings.Contains(string(conf), " by "+want+"\n") {
			t.Errorf("traffic moves by %q, want %q; %v", st.Cutover, want, err)
		}
	}
	s.refused(2, []string{"link or reload"}, "nginx", "start", "--cutover", "magic")
	s.must("mongo", "start")
	s.must("nginx", "start", "--cutover", "reload")
	by("reload")
	s.must("spawn", "--step", "1")
	s.must("switch")
	by("reload")
	s.must("spawn", "--step", "1")
	s.must("switch", "--cutover", "link")
	by("link")
	s.must("spawn", "--step", "2")
	s.must("switch", "--cutover", "reload")
	by("reload")
	var st struct {
		Live   int
		Served struct{ Live int }
	}
	s.json(&st, "status")
	if st.Live == 0 || st.Served.Live != st.Live {
		t.Errorf("%+v", st)
	}
}
