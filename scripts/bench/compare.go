package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// values are the figures of one turn of one build, by the name of the metric.
type values map[string]float64

// rule says how many pairs of turns are made.
//
// A pair during which other programs took more than a tenth of the machine is
// put aside, and measured again. While the ratios of a deciding metric are
// spread too widely, more pairs are made. Both end at most pairs. A quick run
// measures nothing again.
type rule struct {
	pairs    int      // quiet ones, at least
	most     int      // in all
	deciding []string // metrics whose spread counts
}

// wide is the spread from which on more pairs are made: the distance between
// the quartiles of the ratios, as a share of their median.
const wide = 0.25

// defaults gives a rule its number of pairs: that of the command line, or
// this measurement's own.
func (b *bench) defaults(pairs int, deciding ...string) rule {
	if b.pairs > 0 {
		pairs = b.pairs
	}
	return rule{pairs: pairs, most: choose(b, pairs, 2*pairs), deciding: deciding}
}

// comparison is what some pairs of turns showed.
type comparison struct {
	base, now []values // one a pair that counts
	aside     int      // pairs that other programs disturbed
	disturbed bool     // too few were quiet, so the disturbed ones count, too
	unsteady  bool     // still spread too widely at the end
}

// compare lets both take turns: A B, B A, A B and so on.
func (b *bench) compare(ctx context.Context, what string, p *pair, r rule, turn func(context.Context, *site) (values, error)) (*comparison, error) {
	var quiet, loud comparison
	for n := 0; n < r.most; n++ {
		enough := len(quiet.base) >= r.pairs
		if enough && !quiet.unsettled(r) {
			break
		}
		b.say("%s: pair %d%s", what, n+1, because(enough, n >= r.pairs))
		into, base, now, err := &quiet, values(nil), values(nil), error(nil)
		since := b.load.now()
		if n%2 == 0 {
			base, now, err = turns(ctx, p.base, p.now, turn)
		} else {
			now, base, err = turns(ctx, p.now, p.base, turn)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if share := b.load.since(since); share > tooMuch {
			b.say("%s: pair %d put aside: other programs took %.0f %% of the machine", what, n+1, 100*share)
			into = &loud
		}
		into.base, into.now = append(into.base, base), append(into.now, now)
	}
	return settle(quiet, loud, r), nil
}

func because(enough, over bool) string {
	switch {
	case enough:
		return ", since the ratios are spread widely"
	case over:
		return ", in place of one that was disturbed"
	}
	return ""
}

func turns(ctx context.Context, first, second *site, turn func(context.Context, *site) (values, error)) (a, b values, err error) {
	if a, err = turn(ctx, first); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", first.name, err)
	}
	if b, err = turn(ctx, second); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", second.name, err)
	}
	return a, b, nil
}

// settle chooses the pairs that count.
func settle(quiet, loud comparison, r rule) *comparison {
	c := quiet
	c.aside = len(loud.base)
	if len(quiet.base) < r.pairs {
		c.disturbed, c.aside = true, 0
		c.base, c.now = append(c.base, loud.base...), append(c.now, loud.now...)
	}
	c.unsteady = c.unsettled(r)
	return &c
}

func (c *comparison) unsettled(r rule) bool {
	return slices.ContainsFunc(r.deciding, func(metric string) bool { return c.ratio(metric).spread() > wide })
}

// ratio compares a metric, now ÷ base, pair by pair.
func (c *comparison) ratio(metric string) summary {
	var ratios []float64
	for n := range c.base {
		ratios = append(ratios, c.now[n][metric]/c.base[n][metric])
	}
	return summarize(ratios)
}

// within compares two metrics of the same turns, over ÷ under.
func within(of []values, over, under string) summary {
	var ratios []float64
	for _, v := range of {
		ratios = append(ratios, v[over]/v[under])
	}
	return summarize(ratios)
}

// of is one metric of some turns.
func of(turns []values, metric string) summary {
	var all []float64
	for _, v := range turns {
		all = append(all, v[metric])
	}
	return summarize(all)
}

// summary is the median of some figures, with the quartiles around it.
type summary struct {
	median, low, high, most float64
	count                   int
}

// summarize leaves out what is no number: a division by 0 says nothing.
func summarize(all []float64) summary {
	var known []float64
	for _, v := range all {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			known = append(known, v)
		}
	}
	if len(known) == 0 {
		return summary{median: math.NaN(), low: math.NaN(), high: math.NaN(), most: math.NaN()}
	}
	slices.Sort(known)
	return summary{quantile(known, 0.5), quantile(known, 0.25), quantile(known, 0.75), known[len(known)-1], len(known)}
}

// quantile interpolates between sorted figures.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// spread is the distance between the quartiles as a share of the median.
func (s summary) spread() float64 {
	if s.count < 2 {
		return 0
	}
	return (s.high - s.low) / s.median
}

// times shows the ratio as 1.04 (0.98–1.10), or as 1.04 if there is one only.
func (s summary) times() string {
	if s.count < 2 {
		return figure(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median), figure(s.low), figure(s.high))
}

// figure keeps three digits.
func figure(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// seconds is a duration as a figure.
func seconds(d time.Duration) float64 { return d.Seconds() }
