package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/cmd/migrate/doctor"
)

func newDoctorCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check the machine and the databases, each with its remedy",
		Long: `Check the state folder, the disk, nginx and its configuration, ports, instances
and both databases, one line each, with the remedy where one is needed. Nothing
is changed. Exits 1 if anything fails; a note is no failure.`,
		Example: "  migrate doctor\n  migrate doctor --json | jq '.[] | select(.verdict == \"fail\")'",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), g) },
	}
}

func runDoctor(ctx context.Context, g *globals) error {
	orch, proxy, err := g.orchestrator()
	if err != nil {
		return err
	}
	checks, err := g.examine(ctx, doctor.Config{Orchestrator: orch, Proxy: proxy, MongoDaemon: mongoDaemon})
	if err != nil {
		return err
	}
	for n, c := range checks {
		checks[n].Detail, checks[n].Remedy = g.secrets.Text(c.Detail), g.secrets.Text(c.Remedy)
	}
	err = g.answer(checks, func(w io.Writer) { g.printChecks(w, checks) })
	if err != nil || !doctor.Failed(checks) {
		return err
	}
	return next(errors.New("not everything is as it should be"), "nothing was changed", "see each remedy, then migrate doctor")
}

func (g *globals) examine(ctx context.Context, cfg doctor.Config) ([]doctor.Check, error) {
	kept, err := cfg.Orchestrator.Databases()
	if err != nil {
		return nil, err
	}
	cfg.Remembered = kept != nil
	cfg.Named = g.Old != "" || g.New != ""
	if cfg.Databases, err = g.databases(cfg.Orchestrator); err != nil {
		return nil, err
	}
	embedded, err := embeddedAddress(cfg.Orchestrator)
	if err != nil {
		return nil, err
	}
	// One that was stopped is known by its files alone.
	_, err = os.Stat(filepath.Join(cfg.Orchestrator.Dir(), "data", mongoDaemon))
	if address, ok := localAddress(cfg.Databases.New); ok && (address == embedded || err == nil) {
		cfg.Embedded = address
	}
	cfg.Remedy = func(text string) string { return knownRemedy(text, cfg.Databases.New) }
	return doctor.Run(ctx, cfg)
}

func (g *globals) printChecks(w io.Writer, checks []doctor.Check) {
	marks := map[doctor.Verdict]string{doctor.OK: green, doctor.Note: yellow, doctor.Fail: red}
	var rows [][]string
	for _, c := range checks {
		text := c.Detail
		if c.Remedy != "" {
			text += fmt.Sprintf(" → %s", g.hint(c.Remedy))
		}
		rows = append(rows, []string{g.paint(g.out, marks[c.Verdict], string(c.Verdict)), c.Name, text})
	}
	g.columns(w, []string{"", "CHECK", "FOUND → REMEDY"}, rows)
}
