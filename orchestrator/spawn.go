package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/orchestrator/process"
)

const (
	kindSpawn = "spawn"

	phaseRetire   = "retire"   // end the one that stood by
	phaseAdopt    = "adopt"    // take the old database over
	phaseStarting = "starting" // the process
	phaseStarted  = "started"
	phaseReady    = "ready"

	logKeep  = 3
	lastStep = 8

	envSocket   = "MIGRATE_ADMIN_SOCKET"
	envEpoch    = "MIGRATE_FROM_EPOCH"
	envInstance = "MIGRATE_INSTANCE" // how a later command finds one that nobody wrote down

	// forceStep overrides the rule that the first instance ever is at step 1.
	forceStep = "step"
)

// SpawnOptions says what to start.
type SpawnOptions struct {
	Port      int        // 0: the next free one
	Step      int        // 1 to 8
	Command   []string   // program and arguments; {port} and {step} are replaced
	Own       bool       // Command is the user's own, which hints repeat and the next spawn must name again
	Env       []string   // NAME=value, beside this process's own; PORT, MIGRATION_STEP and MIGRATE_ADMIN_SOCKET are set
	Unset     []string   // names of variables of this process's own that the instance doesn't get
	WorkDir   string     // of the instance; empty: this process's
	Settings  Settings   // how it is waited for, asked and ended; zero ones are as remembered
	told      Settings   // those that were given
	Build     string     // the version that /config must show; empty: any
	Databases *Databases // to be remembered; nil: none given
	// Same is asked when databases are named otherwise than those that are in use:
	// nil proves that they are the same ones. Without it they are refused.
	Same func(context.Context, Difference) error
	// Check is asked before anything is ended or started; its error refuses the
	// spawn. from is the step that the service is at, 0 before the first.
	Check func(ctx context.Context, from int) error
	// Adopt takes the old database over before anything is started; nil: there is
	// no need. Its result says what it has done, nil for nothing.
	Adopt func(context.Context) (*FirstContact, error)
	// Epoch returns the epoch that the instance is started under, for one that
	// must not act under another; nil: it doesn't matter. A restart of the same
	// step gets the epoch of the first start again.
	Epoch  func(context.Context) (int64, error)
	Force  []string // "step": let the first instance be at another step than 1
	DryRun bool     // only check
}

// SpawnResult says what runs now.
type SpawnResult struct {
	Op       string        `json:"op,omitempty"`
	Instance Instance      `json:"instance"`
	Retired  []int         `json:"retired,omitempty"`       // ports of those that were ended to make room
	Gates    []Gate        `json:"gates,omitempty"`         // of the switch to it, as they stand
	First    *FirstContact `json:"first_contact,omitempty"` // made by it
	Next     string        `json:"next,omitempty"`          // command that moves traffic to it
	Phases   []Phase       `json:"phases,omitempty"`
	Cut      int           `json:"cut,omitempty"` // clients' connections that reloads of the proxy cut
	Took     Millis        `json:"ms"`
	Warnings []string      `json:"warnings,omitempty"`
	DryRun   bool          `json:"dry_run,omitempty"`
}

// Spawn starts an instance detached from this process, waits until it is
// ready, and proves its port, step and build. When a previous instance stands
// by, that one is ended first: at most two live. What does not become ready is
// ended, with ErrNotReady.
func (o *Orchestrator) Spawn(ctx context.Context, opts SpawnOptions) (SpawnResult, error) {
	r := SpawnResult{DryRun: opts.DryRun}
	if opts.Step < 1 || opts.Step > lastStep {
		return r, usage("migrate status, then migrate spawn --step STEP", nothingChanged, "step %d does not exist: there are steps 1 to %d", opts.Step, lastStep)
	}
	if len(opts.Command) == 0 {
		return r, usage("migrate spawn --help", nothingChanged, "no command to start")
	}
	command := fmt.Sprintf("spawn --step %d", opts.Step)
	if opts.Port != 0 {
		command += fmt.Sprintf(" --port %d", opts.Port)
	}
	err := o.exclusive(ctx, command, opts.DryRun, func(ctx context.Context, op *operation) error {
		return op.spawn(ctx, opts, &r)
	})
	return r, err
}

func (op *operation) spawn(ctx context.Context, opts SpawnOptions, r *SpawnResult) error {
	op.entry.Kind, op.entry.Port, op.entry.To = kindSpawn, opts.Port, opts.Step
	defer func() {
		r.Op, r.Cut, r.Warnings, r.Phases, r.Took = op.entry.Op, op.cut, op.warnings, op.phases, millis(time.Since(op.began))
	}()
	v, err := op.view(ctx)
	if err != nil {
		return err
	}
	opts.told = opts.Settings
	opts.Settings = opts.told.Over(op.remembered(v, opts.Own))
	if kept := op.kept(opts); kept != nil {
		if _, err := op.agree(ctx, v, opts); err != nil {
			return err
		}
		op.ended = true // in the journal under the command that it was
		r.Instance, r.Gates, r.Next = *kept, op.outlook(ctx, v, *kept), switchTo(v, kept.Port)
		return nil
	}
	retire, err := op.place(ctx, v, &opts)
	if err != nil {
		return err
	}
	op.entry.Port, op.entry.From = opts.Port, op.step(v)
	if op.entry.Databases, err = op.agree(ctx, v, opts); err != nil {
		return err
	}
	i := op.o.plan(opts)
	r.Instance = i
	for _, old := range retire {
		r.Retired = append(r.Retired, old.Port)
	}
	if err := op.feasible(ctx, v, opts); err != nil || opts.DryRun {
		return err
	}
	if err := op.phase(phaseIntent, fmt.Sprintf("start step %d on port %d", i.Step, i.Port)); err != nil {
		return err
	}
	if err := op.makeRoom(ctx, v, retire, i.Port); err != nil {
		return err
	}
	first, err := op.adopt(ctx, opts)
	if err != nil {
		return v.placed(err)
	}
	if i.FromEpoch, err = op.fromEpoch(ctx, v, opts); err != nil {
		return v.placed(err)
	}
	i, err = op.start(i, opts)
	if err != nil && i.Process.PID == 0 {
		return err
	}
	if err == nil {
		i, err = op.await(ctx, i)
	}
	if err != nil {
		return op.abandon(ctx, v, i, opts.told, err)
	}
	r.Instance = i
	op.state.remember(op.entry.Databases) // not before: a failed spawn must not pin a mistyped one
	if err := op.keep(i); err != nil {
		return op.abandon(ctx, v, i, opts.told, err)
	}
	if err := op.phase(phaseReady, strings.TrimSpace(named("instance", i.ID)+named("build", i.Build))); err != nil {
		return err
	}
	r.Gates, r.First, r.Next = op.outlook(ctx, v, i), op.firstContact(ctx, i), switchTo(v, i.Port)
	if r.First == nil {
		r.First = first
	}
	return op.end(op.success, "", nil)
}

// adopt takes the old database over, where there is need to.
func (op *operation) adopt(ctx context.Context, opts SpawnOptions) (*FirstContact, error) {
	if opts.Adopt == nil {
		return nil, nil
	}
	if err := op.phase(phaseAdopt, "take the old database over"); err != nil {
		return nil, err
	}
	return opts.Adopt(ctx)
}

// fromEpoch is the epoch that an instance is told that it starts under. One that
// is started anew in the place of the active one, which has died, keeps its epoch.
func (op *operation) fromEpoch(ctx context.Context, v view, opts SpawnOptions) (int64, error) {
	if opts.Epoch == nil {
		return 0, nil
	}
	if v.active != nil && !v.running && v.active.Step == opts.Step && v.active.FromEpoch != 0 {
		return v.active.FromEpoch, nil
	}
	return opts.Epoch(ctx)
}

// switchTo is the command that moves traffic to a new instance, by its port
// where another one waits beside it.
func switchTo(v view, port int) string {
	for _, other := range v.others {
		if !v.running && other.Port != port { // else it was ended to make room
			return fmt.Sprintf("migrate switch --to %d", port)
		}
	}
	return "migrate switch"
}

// named is a word and what it names; nothing without that.
func named(word, value string) string {
	if value == "" {
		return ""
	}
	return word + " " + value + " "
}

// plan says what will be started, without passwords.
func (o *Orchestrator) plan(opts SpawnOptions) Instance {
	dir := o.instanceDir(opts.Port)
	return Instance{
		Port: opts.Port, Step: opts.Step, Build: opts.Build, Args: redact.Words(expand(opts)), Own: opts.own(), Settings: opts.Settings,
		Socket: filepath.Join(dir, socketFile), Log: filepath.Join(dir, logFile),
	}
}

func expand(opts SpawnOptions) []string {
	replace := strings.NewReplacer("{port}", strconv.Itoa(opts.Port), "{step}", strconv.Itoa(opts.Step))
	args := make([]string, len(opts.Command))
	for n, arg := range opts.Command {
		args[n] = replace.Replace(arg)
	}
	return args
}

// makeRoom ends what stands by, and forgets what has died.
func (op *operation) makeRoom(ctx context.Context, v view, retire []Instance, port int) error {
	for _, old := range retire {
		if err := op.phase(phaseRetire, fmt.Sprintf("end step %d on port %d, at most two are live", old.Step, old.Port)); err != nil {
			return err
		}
		if err := op.retire(ctx, old); err != nil {
			return err
		}
	}
	if v.fallback == port { // of a dead instance: traffic must not run ahead of the new one's gates
		if err := op.setFallback(ctx, 0); err != nil {
			return err
		}
	}
	if err := op.widen(ctx, port); err != nil {
		return err
	}
	for p, i := range op.state.Instances {
		if !i.Process.Runs() && (v.active == nil || v.active.Port != p) {
			delete(op.state.Instances, p)
			if err := op.o.forget(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// start starts the process and writes down which it is.
func (op *operation) start(i Instance, opts SpawnOptions) (Instance, error) {
	dir := op.o.instanceDir(i.Port)
	if err := op.o.withRoom(func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return i, fmt.Errorf("make the instance's folder: %w", err)
	}
	if err := op.describe(i); err != nil {
		return i, err
	}
	if err := process.Rotate(i.Log, logKeep); err != nil {
		return i, err
	}
	if err := os.Remove(i.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return i, fmt.Errorf("remove a stale admin socket: %w", err)
	}
	if err := op.phase(phaseStarting, strings.Join(i.Args, " ")); err != nil {
		return i, err
	}
	env := append(without(os.Environ(), opts.Unset), opts.Env...)
	env = append(env, "PORT="+strconv.Itoa(i.Port), "MIGRATION_STEP="+strconv.Itoa(i.Step), envSocket+"="+i.Socket, envInstance+"="+op.o.instanceMark(i.Port))
	if i.FromEpoch != 0 {
		env = append(env, fmt.Sprintf("%s=%d", envEpoch, i.FromEpoch))
	}
	if err := op.o.HandOver(); err != nil {
		return i, fmt.Errorf("hand over to the folder's owner: %w", err)
	}
	var id process.Identity
	err := op.o.withRoom(func() (err error) { // before there is a process, its log is made
		id, err = process.Start(op.o.as(process.Command{Args: expand(opts), Env: env, Dir: opts.WorkDir, Log: i.Log}))
		return err
	})
	if err != nil {
		return i, problem(err, "no instance was started", "migrate status")
	}
	i.Process, i.Spawned, op.entry.Process = id, time.Now(), id
	return i, errors.Join(op.phase(phaseStarted, fmt.Sprintf("process %d", id.PID)), op.keep(i))
}

// without returns an environment without some of its variables.
func without(env, names []string) []string {
	return slices.DeleteFunc(env, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}

// abandon ends what was started and did not become what it should be.
func (op *operation) abandon(ctx context.Context, v view, i Instance, told Settings, cause error) error {
	ctx = context.WithoutCancel(ctx) // bounded by the grace
	var left *Problem
	if err := op.retire(ctx, i); errors.Is(err, errDaemon) && errors.As(err, &left) {
		return problem(cause, left.State+"; "+v.where(), left.Next)
	} else if err != nil {
		return problem(errors.Join(cause, err), fmt.Sprintf("the new instance may still run; %s", v.where()), "migrate status")
	}
	again := Again(fmt.Sprintf("migrate spawn --port %d --step %d%s", i.Port, i.Step, told.Flags()), i.Own)
	if len(i.Own) == 0 && op.state.Databases == nil {
		again = "repeat the command as it was: its databases are not remembered yet"
	}
	return problem(cause, fmt.Sprintf("the new instance was ended; %s", v.where()), fmt.Sprintf("see %s, then %s", i.Log, again))
}
