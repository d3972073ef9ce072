package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

type spawnOptions struct {
	port     int
	step     int
	settings orchestrator.Settings
	force    []string
	accept   []string
	accepted accepted
	dryRun   bool
	command  []string
}

func newSpawnCmd(g *globals) *cobra.Command {
	var o spawnOptions
	cmd := &cobra.Command{
		Use:   "spawn --step STEP [--port PORT] [-- COMMAND…]",
		Short: "Start an instance beside the live one; wait until it is ready",
		Long: `Start an instance beside the live one, detached, wait until it is ready and
prove its port, step and build. It gets no traffic until migrate switch. The one
that stood by from an earlier switch is ended first: at most two live.

Without a command it is the ToDo service. Your own service follows "--"; {port}
and {step} are replaced in it, and PORT and MIGRATION_STEP are in its
environment. What is in the environment of this command is in its, too:
MIGRATE_COMPARE_MIN=100 lets the ToDo service go to step 5 after 100 compared
reads instead of 1,000.

How an instance is waited for, asked and ended is remembered with the service,
for the next spawn, advance, rollback, switch and stop.`,
		Example: `  migrate spawn --step 3
  migrate spawn --step 3 --dry-run
  migrate spawn --port 8001 --step 3
  migrate spawn --port 8001 --step 3 -- ./my-service --listen 127.0.0.1:{port}
  migrate spawn --step 1 --ready-url /up --ready-timeout 10m -- ./my-service`,
		Args: ownCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.command = args
			g.warnOfCommand(args)
			if !cmd.Flags().Changed("step") {
				return g.stepNeeded(cmd.Context(), args)
			}
			var err error
			if o.accepted, err = accepts(cmd, o.accept); err != nil {
				return err
			}
			return runSpawn(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.port, "port", 0, "`port` on 127.0.0.1 (default: the next free one)")
	f.IntVar(&o.step, "step", 0, "`step` of the migration, 1 to 8")
	settingsFlags(cmd, &o.settings)
	f.StringSliceVar(&o.force, "force", nil, "override a `rule` by name (step: let the first instance be at another step than 1)")
	f.StringArrayVar(&o.accept, "accept", nil, "a `rule` that the first spawn's take-over goes on without (see migrate adopt); at step 5, quarantine:N: the primary may move although N rows are in quarantine")
	f.BoolVar(&o.dryRun, "dry-run", false, "list each action, and do nothing")
	g.mayCreate(cmd)
	g.complete(cmd, "port", freePorts)
	g.complete(cmd, "step", nextSteps)
	g.complete(cmd, "force", words("step"))
	return cmd
}

func runSpawn(ctx context.Context, g *globals, o spawnOptions) error {
	orch, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	opts, err := g.instance(orch, o.port, o.step, o.command)
	if err != nil {
		return err
	}
	opts.Settings, opts.Force, opts.DryRun = o.settings, o.force, o.dryRun
	if err := o.accepted.to(o.step); err != nil {
		return err
	}
	if err := g.accepting(orch, &opts, o.accepted); err != nil {
		return err
	}
	empty := opts.Databases != nil && oldMissing(opts.Databases)
	r, err := orch.Spawn(ctx, opts)
	if err != nil {
		return err
	}
	if o.dryRun {
		var p plan
		p.Actions.spawn(r)
		return g.answerPlan(p)
	}
	g.keepLogs(ctx, orch)
	r.Next = g.hint(r.Next)
	return g.answer(r, func(w io.Writer) {
		if empty && !oldMissing(opts.Databases) {
			fmt.Fprintf(w, "The old database was made just now, and is empty: %s\n", oldDatabase(opts.Databases))
		}
		g.printSpawn(w, r)
	})
}

// accepting has a spawn go on without what was accepted.
func (g *globals) accepting(orch *orchestrator.Orchestrator, opts *orchestrator.SpawnOptions, a accepted) error {
	if opts.Databases == nil { // a service of one's own
		return nil
	}
	db, err := g.databases(orch)
	if err != nil {
		return err
	}
	if opts.Adopt != nil {
		opts.Adopt = g.firstContact(db, a.rules)
	}
	check, dry := opts.Check, opts.DryRun
	opts.Check = func(ctx context.Context, from int) error {
		if err := check(ctx, from); err != nil {
			return err
		}
		return a.keep(ctx, db, dry)
	}
	return nil
}

// oldMissing reports whether the old database is certainly not there.
func oldMissing(d *orchestrator.Databases) bool { return app.Databases{Old: d.Old}.OldMissing() }

// stepNeeded says which steps there could be.
func (g *globals) stepNeeded(ctx context.Context, command []string) error {
	orch, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	st, err := orch.Status(ctx)
	if err != nil {
		return err
	}
	at := 0
	if st.Active != nil {
		at = st.Active.Step
	}
	text := "the first instance is at step 1"
	steps := besides(at)
	if at != 0 {
		text = fmt.Sprintf("beside step %d there may be step %s", at, strings.Trim(strings.ReplaceAll(fmt.Sprint(steps), " ", ", "), "[]"))
		if own, err := orch.Own(st.Live); err == nil && len(command) == 0 {
			command = own
		}
	}
	return next(usageError{errors.New("--step is needed: " + text)}, "nothing was changed",
		orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", steps[0]), command))
}

// instance says how to start one: the ToDo service, or a command of one's own.
func (g *globals) instance(orch *orchestrator.Orchestrator, port, step int, command []string) (orchestrator.SpawnOptions, error) {
	opts := orchestrator.SpawnOptions{Port: port, Step: step, Command: command, Own: len(command) > 0}
	if len(command) > 0 {
		return opts, nil
	}
	d, err := g.declaration()
	if err == nil {
		err = d.mustServe()
	}
	if err != nil {
		return opts, err
	}
	db, err := g.databases(orch)
	if err != nil {
		return opts, err
	}
	if opts.Build, err = buildID(g.self); err != nil {
		return opts, err
	}
	opts.Command = []string{g.self, "serve", "--port", "{port}", "--step", "{step}"}
	opts.Env = instanceEnv(db)
	opts.Check = func(ctx context.Context, from int) error { return g.checkDatabases(ctx, db, from, step) }
	opts.Same = func(ctx context.Context, d orchestrator.Difference) error { return same(ctx, db, d) }
	if step <= int(migration.ReadBoth) { // from then on it has been taken over
		opts.Adopt = g.firstContact(db, nil)
	}
	if step == int(migration.NewPrimary) {
		opts.Epoch = func(ctx context.Context) (int64, error) { return epoch(ctx, db) }
	}
	kept := keptDatabases(db)
	opts.Databases, opts.Unset = &kept, []string{"MIGRATE_SQLITE", "MIGRATE_MONGO_URI"}
	if !migration.Step(step).HasNew() {
		named, err := g.named(orch)
		if err != nil {
			return opts, err
		}
		opts.Databases.New, opts.Databases.Name, opts.Databases.Untouched = named.New, named.Name, true
	}
	return opts, nil
}

// epoch is the fence's.
func epoch(ctx context.Context, db app.Databases) (int64, error) {
	db.Create = false
	old, err := app.OpenOld(ctx, db, nil)
	if err != nil {
		return 0, err
	}
	defer old.Close()
	fence, err := old.Fence(ctx)
	return fence.Epoch, err
}

// instanceEnv tells an instance its databases; a password must not show in a
// list of processes.
func instanceEnv(db app.Databases) []string {
	env := []string{
		"MIGRATE_OLD=" + db.Old, "MIGRATE_NEW=" + db.New, "MIGRATE_MONGO_DB=" + db.Name,
		"MIGRATE_CREATE=" + strconv.FormatBool(db.Create),
	}
	if db.Migration != "" {
		env = append(env, "MIGRATE_MIGRATION_ID="+db.Migration)
	}
	return env
}

// checkTimeout bounds how long a database may take to answer at all;
// pairTimeout, how long it may where its answer can be done without.
const (
	checkTimeout = 5 * time.Second
	pairTimeout  = time.Second
)

// checkDatabases refuses an instance that could not become ready, or that no
// gate would let traffic move to. Going back, or starting the same step again,
// must be possible without the new database as long as it isn't primary.
func (g *globals) checkDatabases(ctx context.Context, db app.Databases, from, step int) error {
	if err := wayBack(ctx, db, from, step); err != nil {
		return err
	}
	if err := checkOld(ctx, db, from, step); err != nil {
		return err
	}
	if !migration.Step(from).HasNew() && g.New != "" { // one that somebody has named, so that it should be theirs
		ctx, cancel := context.WithTimeout(ctx, pairTimeout)
		defer cancel()
		if err := app.CheckPair(ctx, db); err != nil {
			return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "name another new database with --new, or the old one that belongs to it with --old")
		}
	}
	if !migration.Step(step).HasNew() {
		return nil
	}
	if !written(from) {
		if mayWait(from, step) {
			return nil
		}
		return reachNew(ctx, db)
	}
	if mayWait(from, step) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pairTimeout)
		defer cancel()
	}
	if err := g.checkRecords(ctx, db); err != nil && !(mayWait(from, step) && errors.Is(err, orchestrator.ErrNotReady)) {
		return err
	}
	return nil
}

// wayBack refuses to leave the last step when the old database was moved away:
// with an empty one in its place it would look as if there were nothing to send.
func wayBack(ctx context.Context, db app.Databases, from, to int) error {
	if from != lastStep || to >= from {
		return nil
	}
	if err := app.CheckOld(ctx, db); err != nil {
		return next(fmt.Errorf("%w: without the old database there is no way back from step %d: %w", orchestrator.ErrGate, from, err),
			"nothing was changed", bring(db, err)+", and repeat the command")
	}
	return nil
}

// bring says how an old database that can't be used is brought back.
func bring(db app.Databases, why error) string {
	if help := db.OldRemedy(why); help != "" {
		return help
	}
	if d, err := driver.OfOld(db.Old); err == nil {
		return d.Bring()
	}
	return "bring it back as it was last"
}

// checkOld refuses a step whose old database is not there or is another one.
// At steps 6 and 7 what is final needs none, so that an instance that serves
// can be started anew; but nothing goes on to the next step without it.
func checkOld(ctx context.Context, db app.Databases, from, to int) error {
	if !migration.Step(to).HasOld() {
		return nil
	}
	err := app.CheckOld(ctx, db)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, app.ErrNoFile):
		return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "put the right file back where it was, as it was last: what was written to it since is in no other one")
	case migration.Step(to).ReadsFence() && db.Migration == "":
		return noFile(err)
	case migration.Step(to).ReadsFence() || from > 0 && to > from:
		return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "put the file back where it was, and repeat the command")
	}
	return nil
}

// switchTo moves traffic to the instance on the port, 0: to the other one.
func (g *globals) switchTo(ctx context.Context, o *orchestrator.Orchestrator, opts orchestrator.SwitchOptions, a accepted) (orchestrator.SwitchResult, error) {
	kept, err := o.Databases()
	if err != nil {
		return orchestrator.SwitchResult{}, err
	}
	if kept != nil {
		opts.Check = func(ctx context.Context, from, to int) error {
			if err := a.to(to); err != nil {
				return err
			}
			db := app.Databases{Old: kept.Old, Migration: kept.Migration}
			if err := wayBack(ctx, db, from, to); err != nil {
				return err
			}
			return a.keep(ctx, db, opts.DryRun)
		}
	}
	return o.Switch(ctx, opts)
}

// reachNew refuses to begin what needs the new database while it is out of reach.
func reachNew(ctx context.Context, db app.Databases) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := app.CheckNew(ctx, db); err != nil {
		return unreachable(db, err)
	}
	return nil
}

// startNew says how to have the new database run: on this machine it may well
// be the embedded server.
func startNew(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost":
		return "see that it runs and that --new is right, then repeat the command"
	case u.Host == defaultMongo:
		return "migrate mongo start, then repeat the command"
	}
	return fmt.Sprintf("see that it runs; the embedded server is started by migrate mongo start --mongo-listen %s", u.Host)
}

// noFile names the ways on from an old database that is missing.
func noFile(err error) error {
	return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed",
		"say with --old where it is, or with --create that an empty one is to be made")
}

func (g *globals) printSpawn(w io.Writer, r orchestrator.SpawnResult) {
	fmt.Fprintf(w, "Step %d is ready on port %d (process %d, %.0f ms)", r.Instance.Step, r.Instance.Port, r.Instance.Process.PID, float64(r.Took))
	if len(r.Retired) > 0 {
		fmt.Fprintf(w, "; ended: port %s", strings.Trim(fmt.Sprint(r.Retired), "[]"))
	}
	fmt.Fprintln(w)
	if c := r.First; c != nil {
		fmt.Fprintf(w, "First contact: %d rows taken over, %d in quarantine (%s shows them).\nThe old database as it was: %s\n", c.Rows, c.Quarantined, g.hint("migrate quarantine list"), c.Copy)
	}
	g.printGates(w, r.Gates)
	if slices.ContainsFunc(r.Gates, func(gate orchestrator.Gate) bool { return !gate.OK }) {
		fmt.Fprintf(w, "Next: %s, until each holds; then %s\n", g.hint("migrate gates"), r.Next)
		return
	}
	fmt.Fprintln(w, "Next:", r.Next)
}

func (g *globals) printGates(w io.Writer, gates []orchestrator.Gate) {
	for _, gate := range gates {
		mark := g.paint(g.out, green, "holds  ")
		switch {
		case gate.Forced:
			mark = g.paint(g.out, yellow, "forced ")
		case !gate.OK:
			mark = g.paint(g.out, red, "REFUSES")
		case gate.Untried:
			mark = g.paint(g.out, yellow, "untried")
		}
		fmt.Fprintf(w, "  gate %-10s %s  %s\n", gate.Name, mark, fold(w, gate.Detail, 27))
		if !gate.OK && gate.Remedy != "" {
			fmt.Fprintf(w, "       remedy: %s\n", fold(w, g.hint(gate.Remedy), 15))
		}
	}
}
