package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// An active instance that can't say who is primary must not keep the primary
// from returning: the old database knows.
func TestRollbackUnderASilentInstance(t *testing.T) {
	s := newSite(t)
	s.must("mongo", "start")
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
