package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/orchestrator"
)

type loadOptions struct {
	load.Config
	check string
	min   int
}

func newLoadCmd(g *globals) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Bill and Jane: load, with a ledger of every write",
		Long: `Two users, Bill and Jane, use the service through nginx, on connections that
never repeat a request, and keep a ledger of every write that was acknowledged.
Their tasks are real ones, written into the live service's database; they stay.
With --check every one is read back: exits 7 if a write is lost or other than
acknowledged, or the ledger was altered.`,
		Example: "  migrate load --duration 30s --rate 100\n  migrate load --check .migrate/ledger.jsonl",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.check != "" {
				return runCheck(cmd.Context(), g, o)
			}
			return runLoad(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.BaseURL, "url", "", "`address` of the service (default: this state folder's nginx)")
	f.Float64Var(&o.Rate, "rate", 100, "requests a second, all clients together; 0: as many as they can")
	f.IntVar(&o.Clients, "clients", 16, "connections, half of them Bill's")
	f.DurationVar(&o.Duration, "duration", 30*time.Second, "for how long; 0: until interrupted")
	f.Uint64Var(&o.Seed, "seed", 1, "start of the random choices: the same seed makes the same ones")
	f.StringVar(&o.Ledger, "ledger", "", "`file` that keeps the ledger (default: ledger.jsonl in the state folder)")
	f.StringVar(&o.check, "check", "", "read every acknowledged write of this `ledger` back")
	f.IntVar(&o.min, "min", 1, "with --check: acknowledged writes that must have been checked")
	return ends(cmd, endsUnread)
}

func (o *loadOptions) complete(g *globals) error {
	if o.BaseURL == "" {
		_, proxy, err := g.begunFolder()
		if err != nil {
			return err
		}
		o.BaseURL = orchestrator.ByNginx(proxy).URL()
	}
	if o.Ledger == "" {
		o.Ledger = filepath.Join(g.Dir, "ledger.jsonl")
	}
	return nil
}

func runLoad(ctx context.Context, g *globals, o loadOptions) error {
	if err := o.complete(g); err != nil {
		return err
	}
	f, err := g.makeLoad(ctx, o.Config)
	if err != nil {
		return err
	}
	if err := g.answer(f, func(w io.Writer) { printFigures(w, f, g.hint("migrate load --check "+o.Ledger)) }); err != nil {
		return err
	}
	if f.Lost+f.Stale > 0 {
		return next(fmt.Errorf("%w: %d lost, %d stale", errDiffers, f.Lost, f.Stale), "the ledger is kept in "+o.Ledger, "migrate verify")
	}
	if f.Requests > 0 && f.Failed == f.Requests {
		return next(fmt.Errorf("no request of %d succeeded at %s: %s", f.Requests, o.BaseURL, kinds(f)), "nothing was acknowledged, so nothing can be lost", "migrate status")
	}
	return nil
}

// kinds is what failed, and how often.
func kinds(f load.Figures) string {
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(f.Kinds)) {
		all = append(all, fmt.Sprintf("%d × %s", f.Kinds[kind], kind))
	}
	return strings.Join(all, ", ")
}

// drawEvery is how often the bar of a load moves.
const drawEvery = 200 * time.Millisecond

// makeLoad makes load for the configured duration, or until ctx ends, and shows
// how far it is.
func (g *globals) makeLoad(ctx context.Context, cfg load.Config) (load.Figures, error) {
	gen, err := load.New(cfg)
	if err != nil {
		return load.Figures{}, err
	}
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	bar := g.bar("load", unitOf(cfg), math.MaxInt32)
	began := time.Now()
	gen.Start(ctx)
	ended := make(chan error, 1)
	go func() { ended <- gen.Wait(ctx, math.MaxInt64) }() // it ends with the load, which ends with ctx
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			what, done, total := howFar(cfg, gen.Total(), time.Since(began))
			bar.say(what)
			bar.at(done, total)
		case <-ended: // why is what Stop says
			bar.end()
			return gen.Stop()
		}
	}
}

// byTime: without a rate nobody knows how many requests it will be, but maybe
// when it ends.
func byTime(cfg load.Config) bool { return cfg.Rate <= 0 && cfg.Duration > 0 }

func unitOf(cfg load.Config) string {
	if byTime(cfg) {
		return ""
	}
	return "requests"
}

// howFar is what the bar shows: milliseconds where the load goes by time, else
// requests. A total of 0 is unknown.
func howFar(cfg load.Config, f load.Figures, elapsed time.Duration) (what string, done, total int64) {
	if byTime(cfg) {
		return fmt.Sprintf("load, %d requests, %d failed", f.Requests, f.Failed), elapsed.Milliseconds(), cfg.Duration.Milliseconds()
	}
	return fmt.Sprintf("load, %d failed", f.Failed), f.Requests, int64(cfg.Rate * cfg.Duration.Seconds())
}

func printFigures(w io.Writer, f load.Figures, next string) {
	fmt.Fprintf(w, "%d requests in %.1f s, %d writes acknowledged; p50 %.1f ms, p99 %.1f ms, worst %.1f ms\n",
		f.Requests, f.Elapsed.Seconds(), f.Acknowledged, f.P50.Seconds()*1000, f.P99.Seconds()*1000, f.Worst.Seconds()*1000)
	for _, kind := range slices.Sorted(maps.Keys(f.Kinds)) {
		fmt.Fprintf(w, "  failed: %d × %s\n", f.Kinds[kind], kind)
	}
	for _, p := range f.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	fmt.Fprintf(w, "acknowledged %d, lost %d, stale %d, failed %d. Next: %s\n", f.Acknowledged, f.Lost, f.Stale, f.Failed, next)
}

func runCheck(ctx context.Context, g *globals, o loadOptions) error {
	if err := o.complete(g); err != nil {
		return err
	}
	bar := g.bar("read back", "tasks", 1)
	r, err := load.Check(ctx, load.CheckConfig{BaseURL: o.BaseURL, Ledger: o.check, Min: o.min,
		Progress: func(done, total int) { bar.at(int64(done), int64(total)) }})
	bar.end()
	if err != nil {
		return err
	}
	err = g.answer(r, func(w io.Writer) {
		for _, p := range r.Problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
		fmt.Fprintf(w, "acknowledged %d, checked %d in %d tasks: lost %d, stale %d, unknown %d, ledger lines altered %d\n",
			r.Acknowledged, r.Checked, r.Tasks, r.Lost, r.Stale, r.Unknown, r.Altered)
	})
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return next(err, "the databases were only read", "migrate verify")
	}
	return nil
}
