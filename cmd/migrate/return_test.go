package main

import (
	"os"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator/process"
)

// A registration counts as gone with proof, or on the operator's word about
// its host, and never for want of a look.
func TestProcessGone(t *testing.T) {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const here, away, free = "here", "away", 1 << 30 // above any process's number
	at := func(host string, change func(*store.Registration)) store.Registration {
		r := store.Registration{Instance: "i", Host: host, PID: self.PID, Started: self.Started, Boot: self.Boot, Namespace: process.Namespace()}
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
		{"no such process", at(here, func(r *store.Registration) { r.PID = free }), nil, ""},
		{"no number", at(here, func(r *store.Registration) { r.PID = 0 }), nil, "proves nothing"},
		{"no start", at(here, func(r *store.Registration) { r.Started = "" }), nil, "proves nothing"},
		{"no boot", at(here, func(r *store.Registration) { r.Boot = "" }), nil, "proves nothing"},
		{"no namespace", at(here, func(r *store.Registration) { r.PID, r.Namespace = free, "" }), nil, "proves nothing"},
		{"no host", at("", nil), nil, "--gone-host unknown"},
		{"no host, and the operator knows", at("", nil), []string{"unknown"}, ""},
		{"a machine or a boot of the same name", at(here, func(r *store.Registration) { r.Boot = "another" }), nil, "proves nothing"},
		{"the machine was started again, on the operator's word", at(here, func(r *store.Registration) { r.Boot = "another" }), []string{here}, ""},
		{"a container of the same name", at(here, func(r *store.Registration) { r.PID, r.Namespace = free, "pid:[1]" }), nil, "another container"},
		{"it lives, in a registration of an older build", at(here, func(r *store.Registration) { r.Namespace = "" }), nil, "its process lives"},
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
