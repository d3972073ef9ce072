package main

import (
	"strings"
	"testing"

	"migrate.invalid/migrate/orchestrator"
)

// What an instance says of one database is held against that one's remedies alone.
func TestRemediesAreOfTheDatabaseThatIsMeant(t *testing.T) {
	const refused, missing = "FATAL: no (SQLSTATE 28P01)", "FATAL: no (SQLSTATE 3D000)"
	both := &orchestrator.Databases{Old: "postgres://h/a", New: "postgres://h/b"}
	for _, c := range []struct {
		text string
		d    *orchestrator.Databases
		want []string // in each remedy, a word
	}{
		{"old database: " + refused, both, []string{"password"}},
		{"new database: " + refused, both, []string{"MIGRATE_NEW"}},
		{"old database: " + missing + "; new database: " + refused, both, []string{"another one in MIGRATE_OLD", "MIGRATE_NEW to a URI"}},
		{"new database: " + missing + "; old database: " + refused, both, []string{"MIGRATE_OLD to a URI", "another one in MIGRATE_NEW"}},
		{"old database: " + refused, &orchestrator.Databases{Old: "sqlite:/a", New: "postgres://h/b"}, nil},
		{"", both, nil},
		{"old database: " + refused, nil, nil},
	} {
		got := remediesOf(c.text, c.d)
		if len(got) != len(c.want) {
			t.Errorf("%q: %q", c.text, got)
			continue
		}
		for n, want := range c.want {
			if !strings.Contains(got[n], want) {
				t.Errorf("%q: %q, want %q", c.text, got[n], want)
			}
		}
	}
}
