package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

// outcomes are how an operation can have ended, as the journal has it.
var outcomes = [...]string{"done", "failed", "refused", "finished", "undone", "unfinished"}

// historyOptions are the filters; a zero one lets everything through.
type historyOptions struct {
	limit   int
	port    int
	step    int
	outcome string
	command string
	since   string
	from    time.Time // since, understood
}

func newHistoryCmd(g *globals) *cobra.Command {
	o := historyOptions{limit: 20}
	cmd := &cobra.Command{
		Use:   "history",
		Short: "The journal: when, who, what, how long, and why it failed",
		Long: `Show what was done, oldest first. A filter keeps the operations that match it;
several must all match. --limit counts what is left.

Its flags read MIGRATE_HISTORY_PORT and so on, so that a variable that is meant
for another command filters nothing.`,
		Example: `  migrate history --outcome failed
  migrate history --command switch --since 2h
  migrate history --port 8003 --limit 0
  migrate history --since 2025-03-01T08:00:00Z --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.from, err = moment(o.since, time.Now()); err != nil {
				return badUsage(cmd, "--since %q: want a duration such as 2h, a date such as 2025-03-01, or RFC 3339", o.since)
			}
			if o.outcome != "" && !slices.Contains(outcomes[:], o.outcome) {
				return badUsage(cmd, "--outcome %q: there are %s", o.outcome, strings.Join(outcomes[:], ", "))
			}
			return runHistory(g, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.limit, "limit", o.limit, "how many operations, the latest; 0 for all")
	f.IntVar(&o.port, "port", 0, "only what had to do with this `port`")
	f.IntVar(&o.step, "step", 0, "only what went from or to this `step`")
	f.StringVar(&o.outcome, "outcome", "", "only what had this `outcome`: "+strings.Join(outcomes[:], ", "))
	f.StringVar(&o.command, "command", "", "only commands that begin with these `words`")
	f.StringVar(&o.since, "since", "", "only what began after this `time`, or within this duration")
	for _, name := range []string{"limit", "port", "step", "outcome", "command", "since"} {
		f.Lookup(name).Annotations = map[string][]string{envAnnotation: {"MIGRATE_HISTORY_" + strings.ToUpper(name)}}
	}
	g.complete(cmd, "port", portsOf(anyInstance))
	g.complete(cmd, "step", allSteps)
	g.complete(cmd, "outcome", words(outcomes[:]...))
	g.complete(cmd, "command", words("spawn", "switch", "stop", "backfill", "verify", "nginx", "mongo"))
	return cmd
}

// moment reads a point in time as people say it.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return day, nil
	}
	return time.Parse(time.RFC3339, text)
}

func (o historyOptions) match(op orchestrator.Operation) bool {
	touches := func(e orchestrator.Entry) bool { return e.Port == o.port || e.Previous == o.port }
	walks := func(e orchestrator.Entry) bool { return e.From == o.step || e.To == o.step }
	return (o.outcome == "" || op.Outcome == o.outcome) &&
		!op.Began.Before(o.from) &&
		(o.command == "" || strings.HasPrefix(op.Command+" ", o.command+" ")) &&
		(o.port == 0 || slices.ContainsFunc(op.Phases, touches)) &&
		(o.step == 0 || slices.ContainsFunc(op.Phases, walks))
}

func runHistory(g *globals, o historyOptions) error {
	orch, _, err := g.begunFolder()
	if err != nil {
		return err
	}
	all, unreadable, err := orch.History(0)
	if err != nil {
		return err
	}
	// A pass over the databases is noted when it has ended.
	slices.SortStableFunc(all, func(a, b orchestrator.Operation) int { return a.Began.Compare(b.Began) })
	ops := []orchestrator.Operation{}
	for _, op := range all {
		if o.match(op) {
			ops = append(ops, op)
		}
	}
	if o.limit > 0 && len(ops) > o.limit {
		ops = ops[len(ops)-o.limit:]
	}
	return g.answer(ops, func(w io.Writer) {
		g.printHistory(w, ops, len(all))
		if unreadable > 0 {
			fmt.Fprintf(w, "%d line(s) of the journal are torn and left out.\n", unreadable)
		}
	})
}

func (g *globals) printHistory(w io.Writer, ops []orchestrator.Operation, all int) {
	if len(ops) == 0 {
		fmt.Fprintf(w, "No operation matches, of %d in the journal.\n", all)
		return
	}
	// Who did it is of interest only if it was not always the same.
	sole := isTerminal(g.out) && !slices.ContainsFunc(ops, func(op orchestrator.Operation) bool { return op.Who != ops[0].Who })
	header := []string{"WHEN", "WHO", "WHAT", "OUTCOME", "MS", "DETAIL"}
	if sole {
		header = slices.Delete(header, 1, 2)
	}
	var rows [][]string
	for _, op := range ops {
		detail := op.Last.Detail
		if op.Last.Error != "" {
			detail = op.Last.Error
		}
		for _, gate := range op.Last.Forced {
			detail += " [forced " + gate + "]"
		}
		row := []string{op.Began.Local().Format("01-02 15:04:05"), op.Who, op.Command, g.outcome(op.Outcome), fmt.Sprintf("%.0f", float64(op.Took)), detail}
		if sole {
			row = slices.Delete(row, 1, 2)
		}
		rows = append(rows, row)
	}
	g.columnsAndMore(w, header, rows)
}

func (g *globals) outcome(outcome string) string {
	switch outcome {
	case "done", "finished":
		return g.paint(g.out, green, outcome)
	case "failed", "unfinished":
		return g.paint(g.out, red, outcome)
	}
	return g.paint(g.out, yellow, outcome)
}
