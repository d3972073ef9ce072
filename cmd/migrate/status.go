package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

type statusOptions struct {
	watch    bool
	interval time.Duration
}

func newStatusCmd(g *globals) *cobra.Command {
	o := statusOptions{interval: time.Second}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Instances, step, primary and epoch, traffic, the last switch",
		Long: `Show what runs and where traffic goes, without taking the lock.

With --watch it is drawn again and again, with the requests a second that each
instance gets, until Ctrl-C. In a pipe every frame is one line; with --json,
one line of JSON.`,
		Example: "  migrate status\n  migrate status --watch\n  migrate status --json | jq .live",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.interval < 100*time.Millisecond {
				return badUsage(cmd, "--interval must be at least 100ms, not %v", o.interval)
			}
			return runStatus(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.watch, "watch", "w", false, "draw it again and again, until Ctrl-C")
	f.DurationVar(&o.interval, "interval", o.interval, "between two frames of --watch")
	return ends(cmd, endsUnread)
}

func runStatus(ctx context.Context, g *globals, o statusOptions) error {
	orch, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	look := func(ctx context.Context) (orchestrator.Status, error) {
		st, err := look(ctx, orch)
		if p, perr := proxy.Status(ctx); perr == nil && p.Low() != "" {
			st.Warnings = append(st.Warnings, p.Low())
		}
		return st, err
	}
	if o.watch {
		return g.watch(ctx, look, o.interval)
	}
	st, err := look(ctx)
	if err != nil {
		return err
	}
	return g.answer(st, func(w io.Writer) { g.printStatus(w, frame{Status: st}) })
}

// look is the status, with what only who knows the eight steps can tell of it.
func look(ctx context.Context, orch *orchestrator.Orchestrator) (orchestrator.Status, error) {
	st, err := orch.Status(ctx)
	if err != nil {
		return st, err
	}
	if text := leftBehind(st); text != "" {
		st.Warnings = append(st.Warnings, text+"; "+backBelow(st, activeOf(st).Own)+" goes back")
	}
	if slices.ContainsFunc(st.Instances, closing) {
		st.Warnings = append(st.Warnings, "writes wait while the old database becomes primary again. Should that command have ended, an instance at step 4 or 5 "+
			"lets them go on once 5 s are over, if the old database takes a write; where they still wait then: migrate rollback, once more")
	}
	st.Warnings = append(st.Warnings, forAPerson(st)...)
	missing, err := stoppedMongo(orch, st)
	if err == nil && missing {
		st.Daemons = append(st.Daemons, orchestrator.DaemonView{Daemon: orchestrator.Daemon{Name: mongoDaemon}})
	}
	return st, err
}

// forAPerson is what nothing but a person can resolve, as the instances know it.
func forAPerson(st orchestrator.Status) (all []string) {
	a := activeOf(st)
	if a == nil {
		return nil
	}
	var raw struct{ Compared map[string]store.Compared }
	_ = json.Unmarshal(a.Raw, &raw) // an instance of another kind says nothing of it
	for _, collection := range slices.Sorted(maps.Keys(raw.Compared)) {
		found := raw.Compared[collection]
		if found.Different == 0 {
			continue
		}
		all = append(all, fmt.Sprintf("reads have found %d times that a record of %s has other contents in the new database under the same revision: only a person can tell which is right; migrate verify names the records", found.Different, collection))
	}
	p := progress(*a)
	if p == nil || p.Verify == nil {
		return all
	}
	at := p.Verify.At.Local().Format("15:04:05")
	if n := p.Verify.Different; n > 0 {
		all = append(all, fmt.Sprintf("verify found %d records with other contents in the new database at %s: only a person can tell which are right; migrate verify names them", n, at))
	}
	if n := p.Verify.Quarantine; n > 0 {
		all = append(all, fmt.Sprintf("verify found %d rows of the old database in quarantine at %s: only a person can decide on them; migrate quarantine list shows them", n, at))
	}
	return all
}

// closing says whether an instance sees the fence closed to all writers, as it
// is while the primary returns.
func closing(i orchestrator.InstanceStatus) bool {
	var raw struct{ Closing bool }
	return json.Unmarshal(i.Raw, &raw) == nil && raw.Closing
}

// stoppedMongo says whether an instance that runs needs the embedded server,
// which was stopped: the state has forgotten it then.
func stoppedMongo(orch *orchestrator.Orchestrator, st orchestrator.Status) (bool, error) {
	needs := func(i orchestrator.InstanceStatus) bool {
		return i.Running && i.Step >= int(migration.AddDAO)
	}
	known := func(d orchestrator.DaemonView) bool { return d.Name == mongoDaemon }
	if st.Databases == nil || !slices.ContainsFunc(st.Instances, needs) || slices.ContainsFunc(st.Daemons, known) {
		return false, nil
	}
	if _, err := os.Stat(listenFile(orch)); err != nil { // it never ran
		return false, nil
	}
	uri, err := embeddedURI(orch)
	return uri == st.Databases.New, err
}

func (g *globals) printStatus(w io.Writer, f frame) {
	fmt.Fprintln(w, g.paint(g.out, bold, g.hint(whereWeAre(f.Status))))
	fmt.Fprintf(w, "traffic: %s\n", g.hint(served(f.Status)))
	if len(f.Instances) > 0 {
		fmt.Fprintln(w)
		g.printInstances(w, f)
	}
	fmt.Fprintln(w)
	if d := f.Databases; d != nil {
		fmt.Fprintf(w, "old database: %s\nnew database: %s\n", oldDatabase(d), newDatabase(d))
	}
	for _, d := range f.Daemons {
		state := g.hint(fmt.Sprintf("stopped; migrate %s start", d.Name))
		if d.Running {
			state = fmt.Sprintf("runs (process %d)", d.Process.PID)
		}
		fmt.Fprintf(w, "embedded %s: %s\n", d.Name, state)
	}
	if text := copied(f.Status); text != "" {
		fmt.Fprintf(w, "backfill: %s\n", text)
	}
	if s := f.LastSwitch; s != nil {
		fmt.Fprintf(w, "last switch: %s by %s, to step %d on port %d\n", s.At.Local().Format("2006-01-02 15:04:05"), s.Who, s.Step, s.Port)
	}
	if h := f.Holder; h != nil {
		fmt.Fprintf(w, "at work: %s, by %s since %s\n", h.Command, h.Who, h.Since.Local().Format("15:04:05"))
	}
	for _, warning := range f.Warnings {
		fmt.Fprintf(w, "%s %s\n", g.paint(g.out, yellow, "!"), g.hint(warning))
	}
}

// printInstances is a row an instance; a frame that knows paces shows them.
func (g *globals) printInstances(w io.Writer, f frame) {
	header := []string{"PORT", "ROLE", "STEP", "READY", "PRIMARY", "EPOCH", "IN FLIGHT", "REQUESTS", "PENDING", "PID"}
	if f.Paces != nil {
		header = []string{"PORT", "ROLE", "STEP", "READY", "IN FLIGHT", "PENDING", "REQ/S", "SHARE"}
	}
	var rows [][]string
	for _, i := range f.Instances {
		t := told(i)
		row := []string{strconv.Itoa(i.Port), g.role(i), strconv.Itoa(i.Step), t.ready}
		if f.Paces != nil {
			row = append(row, t.inFlight, t.pending, f.pace(i.Port), f.share(i.Port))
		} else {
			row = append(row, t.primary, t.epoch, t.inFlight, t.requests, t.pending, strconv.Itoa(i.Process.PID))
		}
		rows = append(rows, row)
	}
	g.columns(w, header, rows)
	if slices.ContainsFunc(f.Instances, kept) {
		fmt.Fprintln(w, "kept: the old database lacks these, as it should; a way back would send them")
	}
	for _, i := range f.Instances {
		if i.Reason != "" {
			fmt.Fprintf(w, "port %d: %s\n", i.Port, i.Reason)
		}
		if i.Told != nil && i.Told.Degraded != "" {
			fmt.Fprintf(w, "port %d serves, but: %s\n", i.Port, i.Told.Degraded)
			for _, help := range remediesOf(i.Told.Degraded, f.Databases) {
				fmt.Fprintf(w, "  remedy: %s\n", fold(w, help, 10))
			}
		}
		if i.Told != nil && i.Told.Relay != "" && !strings.Contains(i.Told.Degraded, i.Told.Relay) {
			fmt.Fprintf(w, "port %d: the relay could not send what is pending: %s\n", i.Port, i.Told.Relay)
		}
	}
}

func (g *globals) role(i orchestrator.InstanceStatus) string {
	switch {
	case !i.Running:
		return g.paint(g.out, red, i.Role)
	case i.Role == orchestrator.RoleActive:
		return g.paint(g.out, green, i.Role)
	}
	return i.Role
}

// answers are what an instance told, as texts; empty where it told nothing.
type answers struct{ ready, primary, epoch, inFlight, requests, pending string }

func told(i orchestrator.InstanceStatus) answers {
	a := answers{ready: "no"}
	if i.Ready {
		a.ready = "yes"
	}
	t := i.Told
	if t == nil {
		return a
	}
	if strings.TrimSpace(t.Degraded) != "" {
		a.ready = "degraded"
	}
	a.primary, a.epoch = t.Primary, strconv.FormatInt(t.Epoch, 10)
	a.inFlight, a.requests, a.pending = strconv.FormatInt(t.InFlight, 10), strconv.FormatInt(t.Requests, 10), strconv.FormatInt(t.Pending, 10)
	switch {
	case t.Pending < 0:
		a.pending = "?"
	case kept(i):
		a.pending += " kept"
	}
	return a
}

// kept says whether what the old database lacks is no backlog: from step 6 on
// nobody sends it, until there is a way back.
func kept(i orchestrator.InstanceStatus) bool {
	return i.Told != nil && i.Told.Pending > 0 && i.Step >= int(migration.StopOldWrites)
}

// activeOf is the instance that has the traffic; nil if there is none.
func activeOf(st orchestrator.Status) *orchestrator.InstanceStatus {
	for n := range st.Instances {
		if st.Instances[n].Role == orchestrator.RoleActive {
			return &st.Instances[n]
		}
	}
	return nil
}

// whereWeAre is the state in a line.
func whereWeAre(st orchestrator.Status) string {
	a := activeOf(st)
	if a == nil {
		if waits := waiting(st); len(waits) > 0 {
			return "No instance has the traffic. Next: " + toTake(waits)
		}
		if st.Live != 0 {
			return fmt.Sprintf("Traffic goes to port %d, and no instance of ours is known. Next: migrate history", st.Live)
		}
		step := 1
		if st.LastSwitch != nil {
			step = st.LastSwitch.Step
		}
		return "No instance runs. Next: " + orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", step), st.Own)
	}
	text := fmt.Sprintf("Step %d of %d: %s", a.Step, lastStep, migration.Step(a.Step).Name())
	if a.Told != nil {
		text += fmt.Sprintf("; primary %s, epoch %d", a.Told.Primary, a.Told.Epoch)
	}
	return text
}

// waiting are the ports of the instances that run without the traffic.
func waiting(st orchestrator.Status) []int {
	var ports []int
	for _, i := range st.Instances {
		if i.Running && i.Role != orchestrator.RoleActive {
			ports = append(ports, i.Port)
		}
	}
	return ports
}

// toTake is the command that gives the traffic to an instance that waits. The
// switch takes no guess between two.
func toTake(ports []int) string {
	if len(ports) == 1 {
		return "migrate switch"
	}
	commands := make([]string, len(ports))
	for n, port := range ports {
		commands[n] = fmt.Sprintf("migrate switch --to %d", port)
	}
	return strings.Join(commands, ", or ")
}

func served(st orchestrator.Status) string {
	switch {
	case st.Served == nil:
		return "nginx does not answer (" + st.ServedError + "): migrate nginx start"
	case st.Served.Live == 0:
		return "nginx has no live instance"
	case st.Served.Fallback == 0:
		return fmt.Sprintf("nginx sends it to port %d", st.Served.Live)
	}
	return fmt.Sprintf("nginx sends it to port %d, port %d stands by", st.Served.Live, st.Served.Fallback)
}

// remembered is the URI of the new database that is remembered; "" for none.
func oldDatabase(d *orchestrator.Databases) string {
	if oldMissing(d) {
		return oldPlace(*d).String() + " (not there)"
	}
	return oldPlace(*d).String()
}

func newDatabase(d *orchestrator.Databases) string {
	switch text := newPlace(*d).String(); {
	case !d.Untouched:
		return text
	case text == "":
		return "not chosen yet; step 2 is the first to need it"
	default:
		return text + " (not in use yet; --new may still name another)"
	}
}

// copied says how far backfill and verify are under the present epoch, as the
// active instance knows it.
func copied(st orchestrator.Status) string {
	a := activeOf(st)
	if a == nil {
		return ""
	}
	p := progress(*a)
	if p == nil {
		return ""
	}
	text := fmt.Sprintf("%d records copied under epoch %d", p.Copied, p.Epoch)
	if p.Complete {
		text += ", complete"
	}
	switch v := p.Verify; {
	case v == nil:
		text += "; not verified"
	case v.Clean:
		text += "; verified clean at " + v.At.Local().Format("15:04:05")
	default:
		text += "; verify found differences at " + v.At.Local().Format("15:04:05")
	}
	return text
}

// progress is what an instance of the ToDo service says of backfill and
// verify; nil if it doesn't.
func progress(i orchestrator.InstanceStatus) *migration.ProgressView {
	var raw struct{ Progress *migration.ProgressView }
	if json.Unmarshal(i.Raw, &raw) != nil {
		return nil
	}
	return raw.Progress
}
