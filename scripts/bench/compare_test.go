package main

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// scripted is a harness whose load is quiet or loud as the test says: a share
// of the machine for each pair.
func scripted(t *testing.T) (*bench, *pair) {
	t.Helper()
	b := &bench{progress: io.Discard, load: watchOthers(t.TempDir())}
	return b, &pair{&site{build: build{name: "base"}}, &site{build: build{name: "now"}}}
}

// The builds take turns, and the one that begins changes.
func TestTurnsChange(t *testing.T) {
	b, p := scripted(t)
	order := ""
	c, err := b.compare(t.Context(), "test", p, rule{pairs: 4, most: 4}, func(_ context.Context, s *site) (values, error) {
		order += s.name + " "
		return values{"speed": map[string]float64{"base": 10, "now": 20}[s.name]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "base now now base base now now base "; order != want {
		t.Errorf("the order was %q, want %q", order, want)
	}
	if got := c.ratio("speed"); got.median != 2 || got.count != 4 {
		t.Errorf("ratio %+v, want 2 of 4 pairs: the sides must not be mixed up", got)
	}
}

// A turn that fails ends the comparison, and names the build.
func TestFailedTurnIsNoFigure(t *testing.T) {
	b, p := scripted(t)
	broken := errors.New("it answers nothing")
	for _, name := range []string{"base", "now"} {
		_, err := b.compare(t.Context(), "test", p, rule{pairs: 1, most: 1}, func(_ context.Context, s *site) (values, error) {
			if s.name == name {
				return nil, broken
			}
			return values{"speed": 1}, nil
		})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want it to name %s, which failed", err, name)
		}
	}
}

// More pairs are made while the ratios are spread widely, but not for ever.
func TestWideSpreadWantsMorePairs(t *testing.T) {
	for _, test := range []struct {
		name     string
		ratios   []float64
		unsteady bool
		pairs    int
	}{
		{"narrow", []float64{1, 1.01, 0.99}, false, 3},
		{"wide at first", []float64{0.5, 1, 2, 1, 1, 1, 1, 1, 1, 1}, false, 5},
		{"wide for ever", []float64{0.5, 1, 2, 0.5, 1, 2}, true, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := comparison{}
			r := rule{pairs: 3, most: 6, deciding: []string{"speed"}}
			for n := 0; n < r.most && (n < r.pairs || c.unsettled(r)); n++ {
				c.base, c.now = append(c.base, values{"speed": 1}), append(c.now, values{"speed": test.ratios[n]})
			}
			got := settle(c, comparison{}, r)
			if len(got.base) != test.pairs || got.unsteady != test.unsteady {
				t.Errorf("%d pairs, unsteady %v; want %d, %v", len(got.base), got.unsteady, test.pairs, test.unsteady)
			}
		})
	}
}

// A disturbed pair counts only where too few were quiet, and then it is said.
func TestDisturbedPairs(t *testing.T) {
	one := func(v float64) comparison {
		return comparison{base: []values{{"speed": 1}}, now: []values{{"speed": v}}}
	}
	c := settle(one(1), one(9), rule{pairs: 1})
	if c.disturbed || c.aside != 1 || c.ratio("speed").median != 1 {
		t.Errorf("%+v: want the quiet pair alone", c)
	}
	c = settle(one(1), one(9), rule{pairs: 2})
	if !c.disturbed || c.ratio("speed").median != 5 {
		t.Errorf("%+v: want both, and that it is said", c)
	}
}

func TestSummary(t *testing.T) {
	s := summarize([]float64{4, 1, 3, 2, math.NaN()})
	if s.median != 2.5 || s.low != 1.75 || s.high != 3.25 || s.most != 4 || s.count != 4 {
		t.Errorf("%+v", s)
	}
	if got := s.spread(); got != 0.6 {
		t.Errorf("spread %v, want 0.6", got)
	}
	if got := summarize(nil).times(); got != "–" {
		t.Errorf("no figures show as %q", got)
	}
	if got := within([]values{{"with": 6, "without": 3}, {"with": 6, "without": 2}}, "with", "without").median; got != 2.5 {
		t.Errorf("with ÷ without is %v, want 2.5", got)
	}
}
