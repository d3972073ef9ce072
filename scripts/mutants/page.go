package main

import (
	"fmt"
	"slices"
	"strings"
)

// wanted is the least share of the covered mutants that the tests must kill.
const wanted = 0.95

// tally counts results.
type tally map[verdict]int

func (t tally) covered() int { return t[killed] + t[stuck] + t[living] }

// share is how many of the covered mutants are dead.
func (t tally) share() float64 {
	if t.covered() == 0 {
		return 0
	}
	return float64(t[killed]+t[stuck]) / float64(t.covered())
}

func count(results []result) (total tally, byKind map[string]tally) {
	total, byKind = tally{}, map[string]tally{}
	for _, r := range results {
		if byKind[r.kind] == nil {
			byKind[r.kind] = tally{}
		}
		total[r.verdict]++
		byKind[r.kind][r.verdict]++
	}
	return total, byKind
}

// page is docs/mutants.md.
func page(pkg, when, how string, results []result, why reasons) string {
	total, byKind := count(results)
	var b strings.Builder
	fmt.Fprintf(&b, `# Mutants of %s

%s, by `+"`scripts/prove.sh mutants`"+`, which writes this page. A mutant is the package with one piece of its code
changed. The package's own tests must fail with it. The places come from gremlins v0.6.0 (%s); gremlins deletes
nothing, so `+"`scripts/mutants`"+` adds a mutant for each statement that can be deleted. %s

**The tests kill %d of %d covered mutants: %.1f %%.** (At least %.0f %% are wanted.)

| kind | killed | killed: no end | living | not covered | does not compile |
|---|---|---|---|---|---|
`, strings.TrimPrefix(pkg, "./"), when, kinds(), how, total[killed]+total[stuck], total.covered(), 100*total.share(), 100*wanted)
	row := func(name string, t tally) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", name, t[killed], t[stuck], t[living], t[untested], t[unbuilt])
	}
	var names []string
	for k := range byKind {
		names = append(names, k)
	}
	for _, k := range sorted(names) {
		row(strings.ToLower(strings.ReplaceAll(k, "_", " ")), byKind[k])
	}
	row("**all**", total)
	b.WriteString("\n\"No end\": the tests did not end within their bound; a loop without an end is a fault that they show.\n")
	list(&b, "Living", "A covered mutant with which every test passes.", results, living, why)
	list(&b, "Not covered", "No test of the package runs the piece.", results, untested, why)
	return b.String()
}

func list(b *strings.Builder, title, what string, results []result, v verdict, why reasons) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", title, what)
	some := false
	byFunction := slices.Clone(results)
	slices.SortStableFunc(byFunction, func(x, y result) int { return strings.Compare(x.file+" "+x.fn, y.file+" "+y.fn) })
	for _, r := range byFunction {
		if r.verdict != v {
			continue
		}
		if !some {
			b.WriteString("| where | kind | code | reason |\n|---|---|---|---|\n")
			some = true
		}
		reason := why.of(r.mutant, v)
		if reason == "" {
			reason = "**none is given**"
		}
		fmt.Fprintf(b, "| `%s` `%s` | %s | %s | %s |\n", r.file, r.fn, strings.ToLower(strings.ReplaceAll(r.kind, "_", " ")), code(r.what), cell(reason))
	}
	if !some {
		b.WriteString("None.\n")
	}
}

// code is a text as Markdown shows code in a table.
func code(text string) string {
	fence := "`"
	if strings.Contains(text, "`") {
		fence, text = "``", " "+text+" "
	}
	return fence + cell(text) + fence
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
