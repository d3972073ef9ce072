package migration

import (
	"os"
	"strings"
	"testing"
)

// search looks for a violation with as few faults and preemptions as do.
func search(sc scenario, faults, runs int) (result, bounds) {
	var res result
	var b bounds
	for f := 0; f <= faults; f++ {
		for p := 0; p <= 3; p++ {
			b = bounds{faults: f, preemptions: p, runs: runs}
			if res = explore(sc, b); res.found != nil {
				return res, b
			}
		}
	}
	return res, b
}

// TestEveryBrokenRuleIsCaught switches each rule off and wants a schedule on
// which that shows, and on which nothing is wrong with the rule in force.
func TestEveryBrokenRuleIsCaught(t *testing.T) {
	sequential(t)
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			sc := v.in
			sc.broken = &v
			res, b := search(sc, v.faults, 20_000)
			if v.harmless {
				if res.found != nil {
					t.Errorf("it is not harmless: %s: %s", res.found.schedule, res.found.fault)
				}
				return
			}
			if res.found == nil {
				t.Fatalf("without the rule %q nothing went wrong in %d runs (%+v)", v.rule, res.runs, b)
			}
			story, fault, err := replay(sc, res.found.schedule)
			if err != nil || fault != res.found.fault {
				t.Fatalf("the schedule %s does not replay: %v, %q", res.found.schedule, err, fault)
			}
			t.Logf("%s\n%s: %s\n%s", v.hazard, res.found.schedule, fault, story)
			sc.broken = nil
			if res := explore(sc, b); res.found != nil {
				t.Errorf("with the rule too: %s: %s", res.found.schedule, res.found.fault)
			}
		})
	}
}

// The table for people names every rule that is switched off here.
func TestHazardsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/hazards.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variants() {
		if !strings.Contains(string(text), "| `"+v.name+"` |") {
			t.Errorf("docs/hazards.md has no row for %s: %s", v.name, v.hazard)
		}
	}
}
