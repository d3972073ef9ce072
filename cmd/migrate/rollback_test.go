package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/orchestrator"
)

// An active instance that can't say who is primary must not keep the primary
// from returning: the old database knows.
func TestRollbackUnderASilentInstance(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startMongo()
	s.must("nginx", "start")
	s.must("advance", "--until", "5", "--backfill")
	s.must("rollback")
	var st struct{ Live int }
	s.json(&st, "status")
	if err := os.Remove(filepath.Join(s.dir, "instances", strconv.Itoa(st.Live), "admin.sock")); err != nil {
		t.Fatal(err)
	}
	if out := s.must("rollback"); !strings.Contains(out, "is primary again") {
		t.Errorf("from step 4, whose instance is silent: %s", out)
	}
}

// What stands by is there to be gone back to when it is needed most: the active
// instance has been killed, or is a service of one's own that needs no start.
func TestRollbackToTheOneThatStandsBy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.must("nginx", "start")
	s.must("mongo", "start")
	type status struct {
		Live      int
		Instances []struct {
			Port, Step int
			Process    struct{ PID int }
		}
	}
	kill := func() (port int) {
		var st status
		s.json(&st, "status")
		for _, i := range st.Instances {
			if i.Port == st.Live {
				if err := syscall.Kill(i.Process.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				dead := func() bool {
					var st orchestrator.Status
					s.json(&st, "status")
					return !slices.ContainsFunc(st.Instances, func(one orchestrator.InstanceStatus) bool { return one.Port == i.Port && one.Running })
				}
				if !waitFor(t.Context(), 30*time.Second, dead) {
					t.Fatalf("process %d outlives SIGKILL", i.Process.PID)
				}
			}
		}
		return st.Live
	}
	at := func(step int) {
		t.Helper()
		if got := (&browser{t, s.url(), nil}).step(); got != step {
			t.Errorf("served by step %d, want %d", got, step)
		}
	}
	s.must("advance", "--until", "3")
	dead := kill()
	s.refused(3, []string{fmt.Sprint(dead), "has ended", "migrate switch --to", "migrate spawn --port"}, "advance")
	s.refused(2, []string{"(step 2) takes traffic through this nginx", "migrate nginx stop --yes"}, "nginx", "stop")
	s.must("rollback", "--dry-run")
	s.must("rollback")
	at(2)
	kill()
	s.refused(3, []string{"has ended", "migrate spawn --port"}, "rollback") // nothing stands by
	s.must("stop", "--all", "--yes")

	own := []string{"--", s.bin, "serve", "--port", "{port}", "--step", "{step}"}
	s.env = append(s.env, "MIGRATE_DIR="+s.dir+"-own")
	s.dir += "-own"
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must(append([]string{"advance", "--until", "1"}, own...)...)
	s.env = append(s.env, fmt.Sprintf("MIGRATE_MONGO_URI=mongodb://127.0.0.1:%d/", s.first+39))
	s.must(append([]string{"advance"}, own...)...)
	at(2)
	s.must("rollback")
	at(1)
	s.refused(2, []string{"nothing to go back to"}, "rollback")
}
