package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// While the new database hangs at step 4, under old, the service reads and
// writes, status says what is wrong, and a rollback leads to the one that stands
// by, which keeps the other as its fallback. Nothing is lost: what could not be
// replicated is, once the database goes on.
func TestNewDatabaseHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must("advance", "--until", "4")
	var st siteStatus
	s.json(&st, "status")
	pid, live, standsBy := 0, st.Live, st.Fallback
	for _, d := range st.Daemons {
		pid = d.Process.PID
	}
	if pid == 0 || standsBy == 0 {
		t.Fatalf("%+v", st)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()

	b := &browser{t, s.url(), map[string]string{}}
	for _, text := range []string{"one", "two", "three"} {
		b.create(text)
	}
	b.all("while the new database hangs")
	var face struct{ Primary string }
	if err := json.Unmarshal(b.do("GET", "/config", nil, 200), &face); err != nil || face.Primary != "old" {
		t.Errorf("/config: %+v, %v", face, err)
	}
	if s.json(&st, "status"); !st.active().Ready {
		t.Errorf("not ready: %+v", st)
	}
	if !waitFor(t.Context(), time.Minute, func() bool { return strings.Contains(s.must("status"), "serves, but: new database") }) {
		t.Errorf("status does not say that the new database hangs:\n%s", s.must("status"))
	}
	// What the hints name for a server that is down tells of one that hangs.
	hangs := []string{fmt.Sprintf("(process %d) runs, but does not answer", pid), fmt.Sprintf("kill -CONT %d", pid)}
	s.refused(3, hangs, "mongo", "start")
	s.refused(3, hangs, "mongo", "status")
	if out, _, code := s.run("gates"); code != 4 || !strings.Contains(out, "REFUSES") {
		t.Errorf("gates: exit %d\n%s", code, out)
	}

	var r struct {
		Moves []struct {
			Port, Previous, Fallback int
			Drained                  bool
			Pending                  int64
			Warnings                 []string
		}
	}
	s.json(&r, "rollback")
	if len(r.Moves) != 1 || r.Moves[0].Port != standsBy || r.Moves[0].Fallback != live || r.Moves[0].Drained || r.Moves[0].Pending != 3 ||
		!strings.Contains(strings.Join(r.Moves[0].Warnings, " "), "3 writes are still to be replicated") {
		t.Errorf("rollback: %+v", r)
	}
	b.create("four")
	b.all("after the rollback")

	resume()
	pending := func() int64 {
		var all struct {
			Live      int
			Instances []struct {
				Port   int
				Status struct{ Pending int64 }
			}
		}
		s.json(&all, "status")
		for _, i := range all.Instances {
			if i.Port == all.Live {
				return i.Status.Pending
			}
		}
		return -1
	}
	if !waitFor(t.Context(), time.Minute, func() bool { return pending() == 0 }) {
		t.Errorf("once the new database goes on, %d writes stay pending", pending())
	}
	s.must("verify")
}
