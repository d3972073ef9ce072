package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

type adoptOptions struct {
	accept []string
	undo   bool
	yes    bool
	dryRun bool
	sql    bool
}

// command is what the journal calls it.
func (o adoptOptions) command() string {
	text := "adopt"
	for _, rule := range o.accept {
		text += " --accept " + rule
	}
	if o.undo {
		text += " --undo"
	}
	return text
}

func newAdoptCmd(g *globals) *cobra.Command {
	var o adoptOptions
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Take the tables of the old database over",
		Long: `Take the tables of the old database over, while other programs go on writing to
them: a copy first, then what holds those programs inside the protocol, then
what the protocol keeps of each row. It goes on where it was cut off. The first
spawn does the same.

Rules of a table that the new database does not have are listed first. One that
is "open" must be accepted by its name; one that is refused has its remedy.
--dry-run shows all of that, some rows both ways, and how long other programs
would wait; above one second the take-over wants --yes.

--undo takes out what was put in, at step 1 with every instance stopped: the
rows and the journal mode are as before, and the copy stays.

--sql prints what would be put in, where the service's role lacks the rights,
for somebody who has them to run once; migrate adopt goes on from there.`,
		Example: `  migrate adopt --dry-run
  migrate adopt --accept unique:tasks_email
  migrate adopt --undo
  migrate adopt --sql > adopt.sql`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.undo && len(o.accept) > 0 {
				return badUsage(cmd, "--undo takes out what was put in: there is no rule to accept")
			}
			if o.sql && (o.undo || o.dryRun) {
				return badUsage(cmd, "--sql prints what would be put in, and does nothing: leave out --undo and --dry-run")
			}
			return runAdopt(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.accept, "accept", nil, "go on without this `rule` of a table, by its name")
	f.BoolVar(&o.undo, "undo", false, "take out what the take-over has put in")
	f.BoolVar(&o.yes, "yes", false, "let other programs wait for longer than a second")
	f.BoolVar(&o.dryRun, "dry-run", false, "look at the tables, list what would be done, and do nothing")
	f.BoolVar(&o.sql, "sql", false, "print what would be put in, for somebody with more rights to run")
	g.mayCreate(cmd)
	return cmd
}

func runAdopt(ctx context.Context, g *globals, o adoptOptions) error {
	orch, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	db, err := g.databases(orch)
	if err != nil {
		return err
	}
	switch {
	case o.sql:
		return g.script(ctx, db, o)
	case o.undo:
		return g.release(ctx, orch, db, o)
	case o.dryRun:
		return g.survey(ctx, db, o)
	}
	var adopted store.Adopted
	err = orch.Exclusive(ctx, o.command(), func(ctx context.Context) (err error) {
		adopted, err = g.adopt(ctx, db, o)
		return err
	})
	if err != nil {
		return err
	}
	return g.answer(adopted, func(w io.Writer) { g.printAdopted(w, db, adopted) })
}

// errNoAdopter: there is nothing to take over in a database of this kind.
var errNoAdopter = errors.New("databases of this kind need no take-over")

// adopter opens the old database for a take-over.
func (g *globals) adopter(ctx context.Context, db app.Databases) (store.Old, store.Adopter, error) {
	if db.OldMissing() && !db.Create {
		return nil, nil, noFile(fmt.Errorf("the old database %s: %w", db.OldPlace(), app.ErrNoFile))
	}
	if err := app.CheckOld(ctx, db); err != nil {
		return nil, nil, next(usageError{err}, "nothing was changed", belongTogether)
	}
	old, err := app.OpenOld(ctx, db, nil)
	if err != nil {
		return nil, nil, err
	}
	a, ok := store.As[store.Adopter](old)
	if !ok {
		return nil, nil, errors.Join(usageError{fmt.Errorf("%w: scheme %s", errNoAdopter, db.OldPlace().Scheme)}, old.Close())
	}
	return old, a, nil
}

// survey shows what the take-over would meet and do.
func (g *globals) survey(ctx context.Context, db app.Databases, o adoptOptions) error {
	if db.OldMissing() && db.Create {
		var p plan
		p.Actions.add("make the old database %s, which is empty then", db.OldPlace())
		return g.answerPlan(p)
	}
	old, a, err := g.adopter(ctx, db)
	if err != nil {
		return err
	}
	defer old.Close()
	s, err := a.Survey(ctx, o.accept...)
	if err != nil {
		return notAdopted(db, err)
	}
	if err := g.answer(s, func(w io.Writer) { g.printSurvey(w, s) }); err != nil {
		return err
	}
	if !s.Suits() {
		return notAdopted(db, fmt.Errorf("%w: see what is open or refused", store.ErrUnsuited))
	}
	return nil
}

// script prints what the take-over would put in.
func (g *globals) script(ctx context.Context, db app.Databases, o adoptOptions) error {
	old, _, err := g.adopter(ctx, db)
	if err != nil {
		return err
	}
	defer old.Close()
	s, ok := store.As[store.Scripted](old)
	if !ok {
		return next(usageError{fmt.Errorf("who may write to a database of scheme %s may take it over: there is nothing to print", db.OldPlace().Scheme)}, "nothing was changed", "migrate adopt --dry-run")
	}
	text, err := s.Script(ctx, o.accept...)
	if err != nil {
		return notAdopted(db, err)
	}
	return g.answer(map[string]string{"sql": text}, func(w io.Writer) { fmt.Fprint(w, text) })
}

// adopt takes the old database over and tells how far it is.
func (g *globals) adopt(ctx context.Context, db app.Databases, o adoptOptions) (store.Adopted, error) {
	defer syscall.Umask(syscall.Umask(ownersOnly)) // of the copy, and of a database that is made
	if d, err := driver.OfOld(db.Old); err == nil && db.Create && db.OldMissing() {
		if err := d.Prepare(db.Old); err != nil {
			return store.Adopted{}, fmt.Errorf("make the old database's folder: %w", err)
		}
	}
	old, a, err := g.adopter(ctx, db)
	if err != nil {
		return store.Adopted{}, err
	}
	defer old.Close()
	phase := ""
	bar := g.bar("adopt", "rows", defaultBatch)
	done, err := a.Adopt(ctx, store.AdoptOptions{Accept: o.accept, Wait: o.yes, Progress: func(p store.AdoptProgress) {
		if p.Phase != phase {
			phase = p.Phase
			bar.end()
			g.progress(orchestrator.Event{Time: time.Now(), Command: "adopt", Detail: adoptPhase(p)})
			bar = g.bar("adopt: "+phase, "rows", defaultBatch)
		}
		bar.at(p.Done, p.Total)
	}})
	bar.end()
	return done, notAdopted(db, err)
}

// adoptPhase says what a take-over does now.
func adoptPhase(p store.AdoptProgress) string {
	text := map[string]string{"copy": "copy the database beside itself", "guard": "hold other programs inside the protocol", "index": "make the indexes of pages and lists, which holds up no writer", "fill": "note what the protocol keeps of each row"}[p.Phase]
	if text == "" {
		text = p.Phase
	}
	if p.Total > 0 {
		text += fmt.Sprintf(" (%d)", p.Total)
	}
	return "take over: " + text
}

// notAdopted says what a take-over has left, and what helps.
func notAdopted(db app.Databases, err error) error {
	const again = "migrate adopt --dry-run, which shows each rule and what could be done; accept one by --accept NAME"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnsuited):
		return next(fmt.Errorf("%w: %w", orchestrator.ErrGate, err), "nothing was changed", again)
	case errors.Is(err, store.ErrTooLong):
		return next(fmt.Errorf("%w: %w", orchestrator.ErrGate, err), "nothing was changed", "migrate adopt --yes at a quiet time; or make the id unique by an index of your own first")
	case errors.Is(err, store.ErrStranger):
		return next(usageError{err}, "nothing was changed", belongTogether)
	case errors.Is(err, store.ErrUnavailable):
		return next(fmt.Errorf("%w: %w", orchestrator.ErrNotReady, err), "what was done before that stays",
			cmp.Or(db.OldRemedy(err), "see that it is a database that this user may read and write, and that no program keeps it locked")+"; then repeat the command, which goes on where it stopped")
	}
	return next(err, "what was done stays; other programs are held inside the protocol or not at all", "migrate adopt, which goes on where this one stopped; or migrate adopt --undo")
}

// release undoes a take-over.
func (g *globals) release(ctx context.Context, orch *orchestrator.Orchestrator, db app.Databases, o adoptOptions) error {
	if o.dryRun {
		if err := orch.MayForget(ctx); err != nil {
			return err
		}
		var p plan
		p.Actions.add("take out of %s what the take-over has put in; the rows and the journal mode are as before then", db.OldPlace())
		p.Actions.add("forget the databases and the migration in the state folder")
		return g.answerPlan(p)
	}
	var path string
	err := orch.Forget(ctx, o.command(), func(ctx context.Context) error {
		old, a, err := g.adopter(ctx, db)
		if err != nil {
			return err
		}
		defer old.Close()
		path, err = a.Release(ctx)
		switch {
		case errors.Is(err, store.ErrFenceMoved):
			return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "migrate rollback until the old database is primary and step 1 has the traffic, then migrate stop --all --yes, then repeat the command")
		case errors.Is(err, store.ErrStranger):
			return next(usageError{err}, "nothing was changed", "migrate adopt --dry-run shows whether this database was taken over")
		}
		return err
	})
	if err != nil {
		return err
	}
	return g.answer(map[string]string{"copy": path}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is as it was before the take-over.\n", db.OldPlace())
		if path != "" {
			fmt.Fprintf(w, "The copy that was made then stays: %s\n", path)
		}
		fmt.Fprintf(w, "A new database that was prepared keeps its migration id: before another walk name another one, or drop it.\nNext: %s\n", g.hint("migrate adopt --dry-run"))
	})
}

func (g *globals) printAdopted(w io.Writer, db app.Databases, a store.Adopted) {
	if !a.Fresh {
		fmt.Fprintf(w, "%s was taken over already. Next: %s\n", db.OldPlace(), g.hint("migrate status"))
		return
	}
	fmt.Fprintf(w, "Taken over: %d rows, %d in quarantine (%s shows them). Other programs waited for at most %v.\n",
		a.Rows, a.Quarantined, g.hint("migrate quarantine list"), a.Waited.Round(time.Millisecond))
	if a.Copy != "" {
		fmt.Fprintf(w, "The old database as it was: %s\n", a.Copy)
	}
	for _, rule := range a.Accepted {
		fmt.Fprintf(w, "Accepted: %s\n", rule)
	}
	fmt.Fprintf(w, "Next: %s; %s goes back\n", g.hint("migrate spawn --step 1"), g.hint("migrate adopt --undo"))
}

func (g *globals) printSurvey(w io.Writer, s store.Survey) {
	switch {
	case s.Adopted:
		fmt.Fprintln(w, "The old database was taken over already.")
	case s.Begun:
		fmt.Fprintln(w, "The take-over was begun: migrate adopt goes on where it stopped.")
	}
	for _, t := range s.Tables {
		g.printTable(w, t)
	}
	colours := map[store.Verdict]string{store.Carried: green, store.Accepted: yellow, store.Open: red, store.Refused: red}
	for _, r := range s.Rules {
		fmt.Fprintf(w, "%s %s %s: %s\n", g.paint(g.out, colours[r.Verdict], fmt.Sprintf("%-8s", r.Verdict)), r.Collection, r.Name, fold(w, r.Detail, 9))
		if r.Meaning != "" {
			fmt.Fprintf(w, "         %s\n", fold(w, r.Meaning, 9))
		}
		if r.Remedy != "" {
			fmt.Fprintf(w, "         remedy: %s\n", fold(w, g.hint(r.Remedy), 17))
		}
	}
	if s.Adopted {
		return
	}
	fmt.Fprintf(w, "Other programs would wait for about %v.\n", s.Wait.Round(time.Millisecond))
	fmt.Fprintln(w, "Nothing was changed.")
}

// printTable is one table: what would become of it, and some of its rows.
func (g *globals) printTable(w io.Writer, t store.TableFound) {
	id := "its id is not unique by a rule of the table"
	if t.Unique {
		id = "its id is unique"
	}
	fmt.Fprintf(w, "%s: table %s, %d rows, %s", t.Collection, t.Table, t.Rows, id)
	if t.Unfit > 0 {
		fmt.Fprintf(w, ", %d for the quarantine", t.Unfit)
	}
	fmt.Fprintln(w)
	if len(t.Unadopted) > 0 {
		fmt.Fprintf(w, "  not declared, and left as they are: %s\n", strings.Join(t.Unadopted, ", "))
	}
	for _, field := range slices.Sorted(maps.Keys(t.Lost)) {
		fmt.Fprintf(w, "  field %s: %d values would not survive\n", field, t.Lost[field])
	}
	for _, sample := range t.Samples {
		becomes := sample.Record
		if becomes == "" {
			becomes = sample.Reason
		}
		fmt.Fprintf(w, "  %s\n    → %s\n", g.shortened(sample.Row), g.shortened(becomes))
	}
}

// firstContact is the take-over as a spawn does it, before anything is started.
func (g *globals) firstContact(db app.Databases, rules []string) func(context.Context) (*orchestrator.FirstContact, error) {
	return func(ctx context.Context) (*orchestrator.FirstContact, error) {
		a, err := g.adopt(ctx, db, adoptOptions{accept: rules})
		if errors.Is(err, store.ErrFenceMoved) || errors.Is(err, errNoAdopter) {
			return nil, nil // new is primary: it was taken over long ago
		}
		if err != nil || !a.Fresh || a.Copy == "" {
			return nil, err
		}
		return &orchestrator.FirstContact{Copy: a.Copy, Rows: a.Rows, Quarantined: a.Quarantined}, nil
	}
}
