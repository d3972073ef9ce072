package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"migrate.invalid/migrate/orchestrator"
)

// Status says what the relay was refused last, and what nothing but a person can
// resolve; where all is well, neither.
func TestStatusSaysWhatNeedsAPerson(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      []string
	}{
		{"all is well", `{"progress":{"epoch":2,"verify":{"equal":3,"clean":true}},"compared":{"tasks":{"equal":9}}}`, nil},
		{"a read that differed", `{"compared":{"notes":{"equal":3},"tasks":{"equal":9,"different":2}}}`, []string{"2 times", "a record of tasks", "only a person"}},
		{"records that differ", `{"progress":{"epoch":2,"verify":{"different":3}}}`, []string{"3 records", "only a person"}},
		{"quarantine", `{"progress":{"epoch":2,"verify":{"quarantine":4}}}`, []string{"4 rows", "only a person"}},
		{"the relay", `{"pending":5,"relay_error":"not authorized"}`, []string{"the relay could not send what is pending: not authorized"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told orchestrator.AdminStatus
			if err := json.Unmarshal([]byte(c.raw), &told); err != nil {
				t.Fatal(err)
			}
			st := orchestrator.Status{Instances: []orchestrator.InstanceStatus{{
				Instance: orchestrator.Instance{Port: 8000, Step: 4}, Role: orchestrator.RoleActive, Running: true, Ready: true,
				Told: &told, Raw: json.RawMessage(c.raw),
			}}}
			st.Warnings = forAPerson(st)
			var out bytes.Buffer
			g := &globals{out: &out, err: &out}
			g.printStatus(&out, frame{Status: st})
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, out.String())
				}
			}
			if len(c.want) == 0 && (strings.Contains(out.String(), "person") || strings.Contains(out.String(), "relay")) {
				t.Errorf("it says too much:\n%s", out.String())
			}
		})
	}
}
