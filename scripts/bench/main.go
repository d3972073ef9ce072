// Command bench compares two builds of migrate: a frozen baseline and the
// present one. scripts/bench.sh builds both and runs it.
//
// It drives a build from outside only, by commands and HTTP, and takes no code
// from the project. It compares speeds as ratios within one run, never as times:
// the two builds take turns, and each pair of turns gives one ratio.
//
// A new measurement is one file with one function, and one line in
// [measurements].
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// errMissed says that a target was missed, and is no fault of the run.
var errMissed = errors.New("a target was missed")

// measurement is one question about the two builds.
type measurement struct {
	name  string
	short string   // what it answers, on one line
	parts []string // names for --only
	run   func(context.Context, *bench, *page) error
}

// measurements lists all of them, in the order of the help.
func measurements() []measurement {
	return []measurement{
		{"hang", "a rollback, requests and status while a database hangs", []string{"rollback", "requests", "locked", "stopped"}, hang},
		{"steps", "throughput and p99 of each request at each step", []string{"1", "2", "3", "4", "5", "6", "7", "8"}, steps},
		{"switch", "p99 with twenty switches against p99 without", []string{"link", "reload"}, switches},
		{"foreign", "what the triggers cost other programs that write to PostgreSQL", []string{"insert", "update", "flips"}, foreign},
		{"smoke", "whether the harness builds, drives and compares, in about half a minute", nil, smoke},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var b bench
	cmd := &cobra.Command{
		Use:   "scripts/bench.sh",
		Short: "Compare the present build with the frozen baseline",
		Long: `Compares the present build of migrate with a frozen baseline. Both serve on
this machine and take turns; each pair of turns gives one ratio, and the median
of the ratios counts. Nothing is judged by a time alone.

The result is printed, and written to docs/bench-MEASUREMENT.md.`,
		Example: `  scripts/bench.sh steps
  scripts/bench.sh hang --quick
  scripts/bench.sh --smoke`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	flags := cmd.PersistentFlags()
	flags.BoolVar(&b.quick, "quick", false, "take less time, and write no page unless --page names one")
	flags.IntVar(&b.pairs, "pairs", 0, "pairs of turns to begin with (default: the measurement's own number)")
	flags.StringVar(&b.page, "page", "", "file to write (default docs/bench-MEASUREMENT.md)")
	flags.StringSliceVar(&b.only, "only", nil, "make some parts alone, and write no page unless --page names one")
	flags.BoolVar(&b.check, "check", false, "exit 1 if a target is missed")
	flags.StringVar(&b.baseline.path, "baseline", "", "built program")
	flags.StringVar(&b.baseline.commit, "baseline-commit", "889cf48", "its commit")
	flags.StringVar(&b.present.path, "present", "", "built program")
	flags.StringVar(&b.present.commit, "present-commit", "present", "its commit")
	for _, name := range []string{"baseline", "baseline-commit", "present", "present-commit"} {
		cmd.PersistentFlags().Lookup(name).Hidden = true // the script gives them
	}
	cmd.AddGroup(&cobra.Group{ID: "measurements", Title: "Measurements:"})
	for _, m := range measurements() {
		cmd.AddCommand(&cobra.Command{
			GroupID: "measurements",
			Use:     m.name,
			Short:   m.short,
			Long:    m.long(),
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context(), m) },
		})
	}
	return cmd
}

// long explains a measurement.
func (m measurement) long() string {
	text := "Measures " + m.short + "."
	if len(m.parts) > 0 {
		text += "\n\nParts for --only: " + strings.Join(m.parts, ", ") + "."
	}
	return text
}

// bench is one run of the harness.
type bench struct {
	baseline, present build
	quick, check      bool
	pairs             int
	only              []string
	page              string

	dir      string // temporary: the state folders of all sites
	progress io.Writer
	sites    []*site
	load     *others
}

// run makes one measurement, prints its page and writes it.
func (b *bench) run(ctx context.Context, m measurement) (err error) {
	b.progress = os.Stderr
	b.baseline.name, b.present.name = b.baseline.commit, "present"
	if err := errors.Join(b.baseline.usable(), b.present.usable()); err != nil {
		return err
	}
	for _, part := range b.only {
		if !slices.Contains(m.parts, part) {
			return fmt.Errorf("%s has no part %q; its parts: %s", m.name, part, strings.Join(m.parts, ", "))
		}
	}
	if b.dir, err = os.MkdirTemp("", "migrate-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.load = watchOthers(b.dir)
	p := newPage(m, b)
	if err := m.run(ctx, b, p); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; what it started is ended, and no page was written")
		}
		return fmt.Errorf("%s: %w", m.name, err)
	}
	p.finish(b)
	fmt.Print(p.String())
	if err := p.write(b); err != nil {
		return err
	}
	if missed := p.missed(); b.check && missed > 0 {
		return fmt.Errorf("%w: %d of %d, see above", errMissed, missed, len(p.targets))
	}
	return nil
}

// say tells what goes on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// wants reports whether a part is to be made.
func (b *bench) wants(part string) bool { return len(b.only) == 0 || slices.Contains(b.only, part) }

// choose returns the value for a quick run, or for a whole one.
func choose[T any](b *bench, quick, whole T) T {
	if b.quick {
		return quick
	}
	return whole
}
