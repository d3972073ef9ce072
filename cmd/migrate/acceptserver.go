package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

type acceptServerOptions struct {
	nothingLost, dryRun, yes bool
}

func newAcceptServerCmd(g *globals) *cobra.Command {
	var o acceptServerOptions
	cmd := &cobra.Command{
		Use:   "accept-server",
		Short: "Go on after a failover of a database's server",
		Long: `Go on with a server that has taken over from another one, such as a promoted
standby of PostgreSQL. It may lack what was acknowledged last, so from step 3 on
each instance refuses it until it is accepted here.

After a planned switchover, or with a synchronous standby, nothing was lost: say
so with --nothing-lost, and the instances go on at once. Else the epoch of the
fence is raised first, so that no copy counts as final any more, and what the
other database has is put back. What only the lost server had is lost: at steps
6 to 8 nobody else has it.

The former server must not take writes any more: a program that still reaches it
can't tell that another one has taken over.`,
		Example: "  migrate accept-server --dry-run\n  migrate accept-server --nothing-lost\n  migrate accept-server --yes",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAcceptServer(cmd.Context(), g, o) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.nothingLost, "nothing-lost", false, "the server has all that was acknowledged")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show which server was accepted and which one answers; change nothing")
	flags.BoolVar(&o.yes, "yes", false, "go on although commits may be lost")
	return cmd
}

func runAcceptServer(ctx context.Context, g *globals, o acceptServerOptions) error {
	same := sameAsKept
	if o.dryRun {
		same = looksSame
	}
	s, err := g.storesThat(ctx, same, false)
	if err != nil {
		return err
	}
	defer s.close()
	found, err := migration.LookAtServers(ctx, s.old, s.new)
	if err != nil {
		return next(err, "nothing was changed", "migrate doctor")
	}
	if o.dryRun || !found.Moved() {
		return g.answer(found, func(w io.Writer) { g.printServers(w, found) })
	}
	if !o.nothingLost && !o.yes {
		return next(usageError{errors.New("another server has taken over, and it may lack what was acknowledged last")}, "nothing was changed: the instances refuse it",
			"migrate accept-server --nothing-lost, after a planned switchover or with a synchronous standby; else migrate accept-server --yes, which raises the epoch and puts back what the other database has")
	}
	began := time.Now()
	var res migration.ServerAccepted
	err = s.orch.Exclusive(ctx, "accept-server", func(ctx context.Context) error {
		res, err = migration.AcceptServer(ctx, s.old, s.new, migration.AcceptServerOptions{
			NothingLost: o.nothingLost, Batch: defaultBatch, Progress: g.say,
		})
		return err
	})
	text := fmt.Sprintf("epoch %d, %d copies offered", res.Epoch, res.PutBack)
	if o.nothingLost {
		text = "nothing was lost, on the operator's word"
	}
	if err := s.noted(ctx, "accept-server", began, text, err); err != nil {
		if errors.Is(err, store.ErrFenceMoved) || errors.Is(err, migration.ErrClosing) {
			return next(fmt.Errorf("%w: %w", orchestrator.ErrNotReady, err), "the instances refuse the server, as before", "migrate accept-server, once more in a few seconds")
		}
		return next(err, "the instances refuse the server, as before", "migrate accept-server, which begins anew")
	}
	return g.answer(res, func(w io.Writer) {
		g.printServers(w, res.ServersFound)
		if res.Epoch > 0 {
			fmt.Fprintf(w, "The fence is at epoch %d, primary %s. %d copies were offered to the server that has taken over", res.Epoch, res.Primary, res.PutBack)
			if res.Refused > 0 {
				fmt.Fprintf(w, "; %d of them a rule of the old database refused", res.Refused)
			}
			fmt.Fprintln(w, ".")
		}
		fmt.Fprintf(w, "Accepted. Next: %s\n", g.hint("migrate verify"))
	})
}

func (g *globals) printServers(w io.Writer, found migration.ServersFound) {
	side := func(name string, f migration.ServerFound) {
		switch {
		case !f.Lined:
			fmt.Fprintf(w, "%s: no other server can take over\n", name)
		case f.Moved():
			fmt.Fprintf(w, "%s: %s: it writes timeline %s, and %s was accepted; %s\n", name, g.paint(g.out, red, "another server has taken over"), f.Line, f.Accepted, f.Why)
		default:
			fmt.Fprintf(w, "%s: the server that was accepted, timeline %s; %s\n", name, f.Line, f.Why)
		}
	}
	side("old", found.Old)
	side("new", found.New)
}
