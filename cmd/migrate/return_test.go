package main

import (
	"os"
	"strings"
	"testing"

	"migrate/app/store"
	"migrate/orchestrator/process"
)

// A registration counts as gone with proof, or on the operator's word about
// its host, and never for want of a look.
func TestProcessGone(t *testing.T) {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const here, away = "here", "away"
	at := func(host string, change func(*store.Registration)) store.Registration {
		r := store.Registration{Instance: "i", Host: host, PID: self.PID, Started: self.Started, Boot: self.Boot}
		if change != nil {
			change(&r)
		}
		return r
	}
	for _, c := range []struct {
		name   string
		reg    store.Registration
		gone   []string // hosts, on the operator's word
		refuse string   // empty: it is gone
	}{
		{"it lives", at(here, nil), nil, "its process lives"},
		{"its number was given out again", at(here, func(r *store.Registration) { r.Started += "0" }), nil, ""},
		{"it ran before this boot", at(here, func(r *store.Registration) { r.Boot = "another" }), nil, ""},
		{"no such process", at(here, func(r *store.Registration) { r.PID = -1 }), nil, ""},
		{"on another host", at(away, nil), nil, "another host (away)"},
		{"on another host, where nothing proves it dead", at(away, func(r *store.Registration) { r.PID = -1 }), nil, "another host (away)"},
		{"its host is no more", at(away, nil), []string{"other", away}, ""},
		{"some other host is no more", at(away, nil), []string{"other"}, "another host (away)"},
		{"a host that starts alike is no more", at(away, nil), []string{"awa", "away2", ""}, "another host (away)"},
		{"it lives, whatever the operator says of this host", at(here, nil), []string{here}, "its process lives"},
		{"it lives, and another host is no more", at(here, nil), []string{away}, "its process lives"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := processGone(here, c.gone)(c.reg)
			switch {
			case c.refuse == "" && err != nil:
				t.Errorf("it is not taken for gone: %v", err)
			case c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)):
				t.Errorf("%v, want %q", err, c.refuse)
			}
		})
	}
}
