package main

import (
	"testing"
	"time"

	"migrate.invalid/migrate/app/load"
)

func TestHowFarALoadIs(t *testing.T) {
	f := load.Figures{Requests: 40, Failed: 2}
	for _, c := range []struct {
		name        string
		cfg         load.Config
		what, unit  string
		done, total int64
	}{
		{"a rate and an end", load.Config{Rate: 50, Duration: 4 * time.Second}, "load, 2 failed", "requests", 40, 200},
		{"a rate alone", load.Config{Rate: 50}, "load, 2 failed", "requests", 40, 0},
		{"an end alone", load.Config{Duration: 4 * time.Second}, "load, 40 requests, 2 failed", "", 1500, 4000},
		{"neither", load.Config{}, "load, 2 failed", "requests", 40, 0},
	} {
		what, done, total := howFar(c.cfg, f, 1500*time.Millisecond)
		if unit := unitOf(c.cfg); what != c.what || unit != c.unit || done != c.done || total != c.total {
			t.Errorf("%s: %q, %d of %d %q; want %q, %d of %d %q", c.name, what, done, total, unit, c.what, c.done, c.total, c.unit)
		}
	}
}
