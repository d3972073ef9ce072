package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a package with mutants of every fate.
var sample = map[string]string{
	"go.mod": "module sample\n\ngo 1.26\n",
	"sample.go": `package sample

type list[T any] struct{ items []T }

func (l *list[T]) add(item T, _ int, more ...T) (n int, full bool) {
	l.items = append(l.items, item)
	l.items = append(l.items, more...)
	return len(l.items), len(l.items) > 3
}

func countdown(n int) int {
	seen := 0
	for n > 0 {
		n--
		seen++
	}
	return seen
}

func log(text string) {
	if text == "" {
		return
	}
	println(text)
}

func unused(a, b int) int { return a + b }
`,
	"sample_test.go": `package sample

import "testing"

func TestAdd(t *testing.T) {
	var l list[int]
	if n, full := l.add(1, 0, 2, 3); n != 3 || full {
		t.Errorf("%d %v", n, full)
	}
	if n, full := l.add(4, 0); n != 4 || !full {
		t.Errorf("%d %v", n, full)
	}
}

func TestCountdown(t *testing.T) {
	if got := countdown(5); got != 5 {
		t.Error(got)
	}
}

func TestLog(t *testing.T) { log("") }
`,
}

// in makes the sample, and the process stands in it.
func inSample(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sample {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// What happens to each mutant of a small package, from its source to its fate,
// with both kinds of mutants in one build.
func TestEveryFate(t *testing.T) {
	inSample(t)
	p, err := load(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	f := found{Files: []foundIn{{Name: "sample.go", Mutations: []place{
		{"CONDITIONALS_BOUNDARY", 8, 36}, // > 3
		{"CONDITIONALS_BOUNDARY", 13, 8}, // n > 0
		{"INCREMENT_DECREMENT", 14, 4},   // n--
		{"CONDITIONALS_NEGATION", 21, 10},
		{"ARITHMETIC_BASE", 27, 38},
	}}}}
	c, err := parseCoverage(`mode: set
sample/sample.go:5.73,9.2 3 1
sample/sample.go:11.28,12.14 2 1
sample/sample.go:12.14,13.12 1 1
sample/sample.go:13.12,16.3 2 1
sample/sample.go:17.2,17.13 1 1
sample/sample.go:20.23,21.16 1 1
sample/sample.go:21.16,23.3 1 1
sample/sample.go:24.2,24.15 1 0
sample/sample.go:27.27,27.43 1 0
`)
	if err != nil {
		t.Fatal(err)
	}
	ms, err := p.mutants(f, c, c)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	binary, bad, err := p.build(t.Context(), ms, tmp)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "state", "results.jsonl")
	known, err := openState(file, p, ms, false)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{binary: binary, dir: p.dir, fast: 12 * time.Second, slow: 12 * time.Second}
	results, err := b.tryAll(t.Context(), p, ms, bad, known)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, string(r.verdict)+": "+r.key())
	}
	want := []string{
		"killed: sample.go list.add DELETION: l.items = append(l.items, item)",
		"killed: sample.go list.add DELETION: l.items = append(l.items, more...)",
		"does not compile: sample.go list.add DELETION: return len(l.items), len(l.items) > 3",
		"killed: sample.go list.add CONDITIONALS_BOUNDARY: len(l.items) > 3",
		"killed: sample.go countdown DELETION: for n > 0 { n-- seen++ }",
		"killed: sample.go countdown CONDITIONALS_BOUNDARY: n > 0",
		"killed, no end: sample.go countdown DELETION: n--",
		"killed, no end: sample.go countdown INCREMENT_DECREMENT: n--",
		"killed: sample.go countdown DELETION: seen++",
		"does not compile: sample.go countdown DELETION: return seen",
		"living: sample.go log DELETION: if text == \"\" { return }",
		"living: sample.go log CONDITIONALS_NEGATION: text == \"\"",
		"living: sample.go log DELETION: return",
		"uncovered: sample.go log DELETION: println(text)",
		"does not compile: sample.go unused DELETION: return a + b",
		"uncovered: sample.go unused ARITHMETIC_BASE: a + b",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if by := results[0].by; by != "TestAdd" {
		t.Errorf("the first mutant was killed by %s", by)
	}
	resumes(t, p, ms, bad, file, results)
}

// resumes wants a run that was broken off to go on from what is known, which
// nothing that changed may do.
func resumes(t *testing.T, p *pkg, ms []mutant, bad map[int]bool, file string, results []result) {
	t.Helper()
	known, err := openState(file, p, ms, false)
	if err != nil {
		t.Fatal(err)
	}
	idle := bench{binary: "/no/such/program"} // it would fail if it were asked
	again, err := idle.tryAll(t.Context(), p, ms, bad, known)
	if err != nil || len(again) != len(results) || again[0].verdict != killed || again[0].by != "TestAdd" {
		t.Errorf("a second run: %v, %+v", err, again)
	}
	for _, c := range []struct {
		name, file, text string
		reuse            bool
		know             int
	}{
		{"the tests have changed", "sample_test.go", "// more\n", false, 0},
		{"the tests have changed, and the dead stay dead", "sample_test.go", "// more\n", true, 8},
		{"another function has changed", "sample.go", "func more() {}\n", true, 8},
	} {
		inSample(t)
		f, err := os.OpenFile(c.file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(c.text); err != nil {
			t.Fatal(err)
		}
		f.Close()
		p, err := load(t.Context(), ".")
		if err != nil {
			t.Fatal(err)
		}
		known, err := openState(file, p, ms, c.reuse)
		if err != nil {
			t.Fatal(err)
		}
		if len(known.known) != c.know {
			t.Errorf("%s: %d results are known, want %d", c.name, len(known.known), c.know)
		}
	}
}

// Tests that fail without any mutant say nothing about mutants.
func TestTestsThatFailAnyway(t *testing.T) {
	inSample(t)
	if err := os.WriteFile("bad_test.go", []byte("package sample\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(1) }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := load(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	binary, _, err := p.build(t.Context(), nil, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := bench{binary: binary, dir: p.dir, fast: time.Minute, slow: time.Minute}
	if err := b.sound(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "TestBad") {
		t.Errorf("sound says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.try(ctx, 0, true); err == nil {
		t.Error("a run that was broken off has a verdict")
	}
}

// A package that does not compile is not taken for a mutant that doesn't.
func TestAPackageThatDoesNotBuild(t *testing.T) {
	inSample(t)
	if err := os.WriteFile("bad_test.go", []byte("package sample\n\nvar x int = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := load(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.build(t.Context(), nil, t.TempDir()); err == nil || !strings.Contains(err.Error(), "bad_test.go:3") {
		t.Errorf("build says %v", err)
	}
}

// gremlins names places by line and column: where they do not fit the source,
// nothing is replaced.
func TestPlacesThatDoNotFit(t *testing.T) {
	s, err := parse("sample.go", sample["sample.go"])
	if err != nil {
		t.Fatal(err)
	}
	f := found{Files: []foundIn{{Name: "x/sample.go", Mutations: []place{{"CONDITIONALS_BOUNDARY", 8, 35}}}}}
	if ms, err := f.in(s); err == nil {
		t.Errorf("%+v", ms)
	}
}
