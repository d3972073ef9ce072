package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func fates() []result {
	m := func(fn, what string, v verdict) result {
		return result{mutant: mutant{file: "a.go", fn: fn, kind: deletionKind, what: what, nth: 1}, verdict: v}
	}
	return []result{
		m("f", "x = 1", killed), m("f", "x |= 2", living), m("g", "y()", untested), m("g", "z()", untested), m("h", "for {", stuck), m("h", "return", unbuilt),
	}
}

func TestPage(t *testing.T) {
	why := reasons{"a.go f DELETION: x |= 2": "it makes no difference", "a.go g uncovered": "nobody calls g"}
	text := page("./a", "2026-11-30", "", fates(), why)
	for _, want := range []string{
		"**The tests kill 2 of 3 covered mutants: 66.7 %.**",
		"| **all** | 1 | 1 | 1 | 2 | 1 |",
		"| `a.go` `f` | deletion | `x \\|= 2` | it makes no difference |",
		"| `a.go` `g` | deletion | `z()` | nobody calls g |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	if text := page("./a", "2026-11-30", "", fates(), reasons{}); strings.Count(text, "none is given") != 3 {
		t.Errorf("%s\ndoes not say three times that a reason is missing", text)
	}
}

// Too many that live, one without a reason, a reason for one that is dead: each
// is an error.
func TestConclude(t *testing.T) {
	good := reasons{"a.go f DELETION: x |= 2": "so", "a.go g uncovered": "so"}
	dead := []result{}
	for range 30 {
		dead = append(dead, result{mutant: mutant{file: "a.go", fn: "k"}, verdict: killed})
	}
	many := append(dead, fates()...)
	for _, c := range []struct {
		name    string
		results []result
		why     reasons
		says    string
	}{
		{"all is well", many, good, ""},
		{"too many live", fates(), good, "at least 95 %"},
		{"no reason", many, reasons{"a.go f DELETION: x |= 2": "so"}, "gives no reason"},
		{"a stale reason", many, reasons{"a.go f DELETION: x |= 2": "so", "a.go g uncovered": "so", "a.go f DELETION: x = 1": "dead since"}, "x = 1"},
		{"a reason for all that is uncovered is none for what lives", many, reasons{"a.go f uncovered": "so", "a.go g uncovered": "so"}, "gives no reason"},
	} {
		o := options{page: filepath.Join(t.TempDir(), "page.md")}
		err := conclude(o, c.results, c.why)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if _, err := os.Stat(o.page); err != nil {
			t.Errorf("%s: no page was written: %v", c.name, err)
		}
	}
}

func TestReadReasons(t *testing.T) {
	for _, c := range []struct {
		text string
		want reasons
		says string
	}{
		{"# comment\n\na.go f X: y\n\tbecause\n\tof that\nb.go g uncovered\n\tso\n", reasons{"a.go f X: y": "because of that", "b.go g uncovered": "so"}, ""},
		{"", reasons{}, ""},
		{"\tbecause\n", nil, "without a mutant"},
		{"a\n", nil, "no reason below"},
		{"a\n\tso\na\n\tso\n", nil, "twice"},
	} {
		file := filepath.Join(t.TempDir(), "reasons.txt")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readReasons(file)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.text, err, c.says)
		}
		for key, why := range c.want {
			if got[key] != why {
				t.Errorf("%q: %q is %q, want %q", c.text, key, got[key], why)
			}
		}
	}
}

func TestCovers(t *testing.T) {
	c, err := parseCoverage("mode: atomic\nm/p/a.go:3.10,5.2 2 7\nm/p/a.go:7.1,7.9 1 0\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		file      string
		line, col int
		want      bool
	}{
		{"a.go", 3, 9, false}, {"a.go", 3, 10, true}, {"a.go", 4, 99, true}, {"a.go", 5, 2, true}, {"a.go", 5, 3, false},
		{"a.go", 7, 3, false}, {"b.go", 4, 1, false},
	} {
		if got := c.covers(p.file, p.line, p.col); got != p.want {
			t.Errorf("%+v: %v", p, got)
		}
	}
	for _, bad := range []string{"a.go", "a.go:1,2 3", "a.go:1.2,3.4 5 x"} {
		if _, err := parseCoverage(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// Equal pieces of one function are told apart, and two kinds that make the same
// change are one mutant.
func TestNumber(t *testing.T) {
	m := func(from int, kind, with string) mutant {
		return mutant{file: "a.go", fn: "f", kind: kind, what: "a - b", from: from, to: from + 1, with: with}
	}
	var keys []string
	for _, m := range number([]mutant{m(9, "ARITHMETIC_BASE", "+"), m(3, "INVERT_NEGATIVES", "+"), m(3, "ARITHMETIC_BASE", "+")}) {
		keys = append(keys, m.key())
	}
	if want := []string{"a.go f ARITHMETIC_BASE: a - b", "a.go f ARITHMETIC_BASE: a - b (2)"}; !slices.Equal(keys, want) {
		t.Errorf("%q, want %q", keys, want)
	}
}
