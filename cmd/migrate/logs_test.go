package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

// Logs are rotated while their programs run; a keeper that was killed is
// replaced by the next command that starts something, and it ends with stop.
func TestLogsAreKeptSmall(t *testing.T) {
	s := newSite(t)
	const most = 200 << 10
	s.env = append(s.env, "MIGRATE_LOG_SIZE=204800", "MIGRATE_LOG_EVERY=50ms")
	s.must("nginx", "start")
	s.must("spawn", "--step", "1")
	keeper := func() (id process.Identity) {
		t.Helper()
		s.until("a keeper", func() bool {
			b, err := os.ReadFile(filepath.Join(s.dir, "logs.lock"))
			return err == nil && json.Unmarshal(b, &id) == nil && id.Alive()
		})
		return id
	}
	first := keeper()
	logs, err := filepath.Glob(filepath.Join(s.dir, "instances", "*", "log"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	logs = append(logs, filepath.Join(s.dir, "nginx", "logs", "error.log"))
	grow := func(old string) {
		t.Helper()
		for _, log := range logs {
			f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.Write(make([]byte, most+1))
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			s.until(log+old, func() bool {
				was, oldErr := os.Stat(log + old)
				now, err := os.Stat(log)
				return oldErr == nil && was.Size() > most/2 && err == nil && now.Size() <= most
			})
		}
	}
	grow(".1")
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until("its end", func() bool { return !first.Alive() })
	s.must("spawn", "--step", "1")
	second := keeper()
	grow(".2")
	s.must("stop", "--all", "--yes")
	if second.Alive() {
		t.Error("the keeper goes on though nothing runs")
	}
}

// until waits for something.
func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}
