// Command mutants changes one piece of a package at a time and wants the
// package's tests to fail. It is what scripts/prove.sh mutants runs.
//
// All mutants are built into one test binary, which takes the one that acts
// from its environment: a build for each would take most of the time. Results
// are written down as they come, and a run that was broken off goes on from
// them while neither the package nor its tests have changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

type options struct {
	pkg     string
	state   string
	reasons string
	page    string
	reuse   bool
	quick   bool
	jobs    int
	fast    time.Duration
	slow    time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.pkg, "package", "./app/migration", "the package")
	flag.StringVar(&o.state, "state", ".mutants/results.jsonl", "where results are kept")
	flag.StringVar(&o.reasons, "reasons", "scripts/mutants/reasons.txt", "why mutants live or are not covered")
	flag.StringVar(&o.page, "page", "docs/mutants.md", "the page to write; \"\" writes none")
	flag.BoolVar(&o.reuse, "reuse", false, "a dead mutant stays dead while its function is the same")
	flag.BoolVar(&o.quick, "quick", false, "run the fast tests alone, while better ones are being written; writes no page")
	flag.IntVar(&o.jobs, "jobs", 2, "how many mutants are tried at a time")
	flag.DurationVar(&o.fast, "fast", 20*time.Second, "the bound of one run of the fast tests; of processor time, a quarter of it")
	flag.DurationVar(&o.slow, "slow", 10*time.Minute, "the bound of one run of what explores every order; 0 leaves that out, but for a few seconds at random")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	why, err := readReasons(o.reasons)
	if err != nil {
		return err
	}
	p, err := load(ctx, o.pkg)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	say("gremlins looks for mutants, and the tests are run to see what they cover")
	ms, err := p.find(ctx, o, tmp)
	if err != nil {
		return err
	}
	known, err := openState(o.state, p, ms, o.reuse)
	if err != nil {
		return err
	}
	say("building %d mutants into one binary", len(ms))
	binary, bad, err := p.build(ctx, ms, tmp)
	if err != nil {
		return err
	}
	b := bench{binary: binary, dir: p.dir, fast: o.fast, slow: o.slow, quick: o.quick, jobs: o.jobs}
	if o.quick {
		o.page = ""
	}
	results, err := b.tryAll(ctx, p, ms, bad, known)
	if err != nil {
		return err
	}
	return conclude(o, results, why)
}

// find returns the mutants of gremlins and ours.
func (p *pkg) find(ctx context.Context, o options, tmp string) ([]mutant, error) {
	f, err := gremlins(ctx, p.path, tmp)
	if err != nil {
		return nil, err
	}
	short, err := p.coverage(ctx, tmp, "-short", "-skip=^("+exploring+")$")
	if err != nil {
		return nil, err
	}
	if o.quick {
		return p.mutants(f, short, coverage{})
	}
	which := []string{"-run=^(" + exploring + ")$"}
	if o.slow == 0 {
		which = []string{"-short", "-run=^TestExplore$"}
	}
	long, err := p.coverage(ctx, tmp, which...)
	if err != nil {
		return nil, err
	}
	return p.mutants(f, short, long)
}

// coverage runs tests and returns what they run.
func (p *pkg) coverage(ctx context.Context, tmp string, args ...string) (coverage, error) {
	profile := filepath.Join(tmp, "cover.out")
	args = append([]string{"test", "-count=1", "-coverprofile=" + profile}, args...)
	if out, err := exec.CommandContext(ctx, "go", append(args, p.path)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the tests fail: %w\n%s", err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	return parseCoverage(string(text))
}

// tryAll tries every mutant that is covered and compiles, and says what lives.
func (b bench) tryAll(ctx context.Context, p *pkg, ms []mutant, bad map[int]bool, known *state) ([]result, error) {
	results := make([]result, len(ms))
	var open []int // the positions of those to be tried
	for i, m := range ms {
		results[i].mutant = m
		switch k, ok := known.known[m.key()]; {
		case bad[i+1]:
			results[i].verdict = unbuilt
		case !m.covered:
			results[i].verdict = untested
		case ok:
			results[i].verdict, results[i].by = k.Verdict, k.By
		default:
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return results, nil
	}
	say("%d are to be tried; first the tests without a mutant, twice", len(open))
	if err := b.sound(ctx, 2); err != nil {
		return nil, err
	}
	return results, b.tryOpen(ctx, p, results, open, known)
}

// tryOpen tries the mutants at the given positions, some at a time.
func (b bench) tryOpen(ctx context.Context, p *pkg, results []result, open []int, known *state) error {
	began := time.Now()
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, b.jobs))
	for _, i := range open {
		g.Go(func() error {
			r := result{mutant: results[i].mutant}
			var err error
			r.verdict, r.by, err = b.try(ctx, i+1, r.explored)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				return fmt.Errorf("broken off after %d of %d; the same command goes on from there: %w", done, len(open), err)
			}
			results[i] = r
			if !b.quick || r.verdict.dead() {
				if err := known.add(p, r); err != nil {
					return err
				}
			}
			if r.verdict == living {
				say("living: %s:%d %s", r.file, r.line, r.key())
			}
			if done++; done%100 == 0 {
				say("%d of %d, %s", done, len(open), time.Since(began).Round(time.Second))
			}
			return nil
		})
	}
	return g.Wait()
}

// how says how the mutants were tried.
func (o options) how() string {
	how := fmt.Sprintf("What the fast tests leave alive, %s explores at random", "`TestExplore`")
	if o.slow > 0 {
		how += fmt.Sprintf(", and then every order, as %s does, for %v at the most.", "`TestEveryBrokenRuleIsCaught`", o.slow)
	} else {
		how += "; every order, as the whole explorer does, was left out."
	}
	if o.reuse {
		how += " A mutant that an earlier run killed counts as killed while its function is the same (`--reuse`)."
	}
	return how
}

// conclude writes the page and says what is wrong.
func conclude(o options, results []result, why reasons) error {
	if o.page != "" {
		if err := os.WriteFile(o.page, []byte(page(o.pkg, time.Now().Format("2006-01-02"), o.how(), results, why)), 0o644); err != nil {
			return err
		}
	}
	total, _ := count(results)
	say("%d of %d covered mutants are dead: %.1f %%; %d live, %d are not covered, %d do not compile", total[killed]+total[stuck],
		total.covered(), 100*total.share(), total[living], total[untested], total[unbuilt])
	var errs []error
	if total.share() < wanted {
		errs = append(errs, fmt.Errorf("at least %.0f %% are wanted", 100*wanted))
	}
	var without []string
	for _, r := range results {
		if (r.verdict == living || r.verdict == untested) && why.of(r.mutant, r.verdict) == "" {
			without = append(without, fmt.Sprintf("  %s:%d\t%s\t(%s)", r.file, r.line, r.key(), r.verdict))
		}
	}
	if len(without) > 0 {
		errs = append(errs, fmt.Errorf("%s gives no reason for:\n%s", o.reasons, strings.Join(without, "\n")))
	}
	if stale := why.stale(results); len(stale) > 0 {
		errs = append(errs, fmt.Errorf("%s gives reasons for what is dead or no longer there:\n  %s", o.reasons, strings.Join(stale, "\n  ")))
	}
	return errors.Join(errs...)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
