// Package orchestrator runs the instances of a service on this machine and
// moves traffic between them: spawn, switch, stop, and what is known of them.
//
// It knows an instance by its port, its readiness URL, its /config and its
// admin socket, never by its code, so it can run anyone's service; one without
// an admin socket is switched without gates, and the caller is told so.
//
// It promises: one operator at a time; at most two live instances, at the same
// step or at neighbouring ones; traffic moves only to an instance that is
// ready and whose gates hold, and moves back when the move can't be confirmed
// through the proxy; every phase is in the journal before it acts, so that a
// command that follows a killed one looks at what really runs and is served,
// and finishes what was begun or puts it back.
//
// It never prints: progress goes to a callback, refusals are a [Problem].
package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator/process"
)

// Traffic moves requests to an instance. A port of 0 means none.
type Traffic interface {
	// Live and Fallback say where traffic is meant to go.
	Live() (port int, err error)
	Fallback() (port int, err error)
	// Move sends requests to the port from now on, at once and durably.
	Move(ctx context.Context, port int) error
	// SetFallback names the instance that is asked when the live one doesn't answer.
	SetFallback(ctx context.Context, port int) error
	// Served says where the proxy itself sends requests, asked through its own port.
	Served(ctx context.Context) (live, fallback int, err error)
	// URL is where clients reach the proxy, such as http://127.0.0.1:5000.
	URL() string
}

// Config is what an Orchestrator needs to know. Zero values of numbers and
// durations mean the defaults.
type Config struct {
	Dir       string // the state folder; the first command that changes something makes it
	Traffic   Traffic
	FirstPort int // of the range that the proxy knows; 8000
	Ports     int // how many; 32
	LockWait  time.Duration
	Timeouts  Timeouts
	Progress  func(Event) // may be nil; called from the caller's goroutine
	// Earlier reads the databases that an earlier version has written to a state
	// file; nil: there was none.
	Earlier func([]byte) (Databases, error)
}

// Timeouts bound what a command waits for.
type Timeouts struct {
	Ready   time.Duration // a spawned instance's readiness; 5 min
	Confirm time.Duration // a move, through the proxy; 5 s
	Drain   time.Duration // requests and pending writes of the previous instance; 30 s
	Quiet   time.Duration // how long it must have had no request; 150 ms
	Grace   time.Duration // from SIGTERM to SIGKILL; 15 s
	Admin   time.Duration // one answer of an admin socket; 60 s, since a gate may wait for the relay
}

func (t Timeouts) orDefaults() Timeouts {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&t.Ready, 5 * time.Minute}, {&t.Confirm, 5 * time.Second}, {&t.Drain, 30 * time.Second},
		{&t.Quiet, 150 * time.Millisecond}, {&t.Grace, 15 * time.Second}, {&t.Admin, 60 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return t
}

// Event is one thing that a command does or notices, for people to read.
type Event struct {
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Phase   string    `json:"phase,omitempty"` // as in the journal; empty within a phase
	Port    int       `json:"port,omitempty"`
	Detail  string    `json:"detail"`
	Warning bool      `json:"warning,omitempty"`
}

// Orchestrator works on one state folder. Its methods may be called from
// several goroutines and processes: those that change something wait for, or
// are refused by, the lock.
type Orchestrator struct {
	cfg     Config
	journal *journal
	who     string // user@host

	// hook runs just before and after each journal entry; tests die there.
	hook func(point string)
}

// Open prepares to work on a state folder. To look at one that is missing makes none.
func Open(cfg Config) (*Orchestrator, error) {
	dir, err := nginx.RealPath(cfg.Dir)
	if err != nil || cfg.Dir == "" {
		return nil, fmt.Errorf("state folder %q: %w", cfg.Dir, errors.Join(err, ErrUsage))
	}
	if cfg.Traffic == nil {
		return nil, fmt.Errorf("nothing to move traffic with: %w", ErrUsage)
	}
	cfg.Dir = dir
	if cfg.FirstPort == 0 {
		cfg.FirstPort = 8000
	}
	if cfg.Ports == 0 {
		cfg.Ports = 32
	}
	cfg.Timeouts = cfg.Timeouts.orDefaults()
	if cfg.Progress == nil {
		cfg.Progress = func(Event) {}
	}
	return &Orchestrator{
		cfg:     cfg,
		journal: &journal{path: filepath.Join(dir, "journal.jsonl"), most: journalSize},
		who:     operator(),
		hook:    func(string) {},
	}, nil
}

// Dir is the absolute path of the state folder, without links.
func (o *Orchestrator) Dir() string { return o.cfg.Dir }

func operator() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return name + "@" + host
}

// operation is one command at work, under the lock.
type operation struct {
	o        *Orchestrator
	entry    Entry // what every entry of it carries
	state    *State
	began    time.Time
	phases   []Phase
	lapped   time.Time // when the last of them began
	warnings []string
	cut      int      // connections of clients, by reloads of the proxy
	settled  *Settled // what a command that was cut off came to; nil without one
	intent   bool     // it is in the journal
	ended    bool
	dry      bool
	limits   Settings // for this operation, before those that are remembered
	success  string   // the phase that ends it well
	exit     string   // how the first process of what it has started ended
}

// Phase is how long one part of an operation took.
type Phase struct {
	Name string `json:"name"`
	Took Millis `json:"ms"`
}

// Millis is a duration in milliseconds.
type Millis float64

func millis(d time.Duration) Millis { return Millis(d.Round(time.Microsecond).Seconds() * 1000) }

func (o *Orchestrator) operation(state *State, e Entry) *operation {
	now := time.Now()
	return &operation{o: o, state: state, entry: e, success: phaseDone,
		began: now, lapped: now, phases: []Phase{{Name: "checks"}}}
}

// exclusive takes the lock, settles what a killed command left, and works. An
// error is journalled, unless work has left the operation open on purpose, by
// returning errOpen, for the next command to settle.
func (o *Orchestrator) exclusive(ctx context.Context, command string, dry bool, work func(context.Context, *operation) error) (err error) {
	lock := func() (func(), error) { return o.lock(ctx, command) }
	if dry {
		lock = func() (func(), error) { return o.lockDry(ctx) }
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !dry {
		defer func() {
			if handErr := o.HandOver(); handErr != nil {
				err = errors.Join(err, fmt.Errorf("hand over to the folder's owner: %w", handErr))
			}
		}()
	}
	state, lost, err := o.load()
	if err != nil {
		return err
	}
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id for the journal: %w", err)
	}
	op := o.operation(state, Entry{Op: id.String(), Who: o.who, PID: self.PID, Tool: self, Command: command})
	op.dry = dry
	if lost != "" {
		op.warn("%s", lost)
		if err := op.save(); err != nil {
			return err
		}
	}
	if err := op.settle(ctx); err != nil {
		return err
	}
	if !dry {
		if err := o.journal.rotate(); err != nil {
			return err
		}
		o.fillReserve()
	}
	err = work(ctx, op)
	if errors.Is(err, errOpen) {
		op.leave()
		return err
	}
	if err == nil || dry || op.ended {
		return err
	}
	phase, cause := phaseFailed, err
	if !op.intent {
		phase = phaseRefused
	}
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, ErrPutBack) {
		cause = errInterrupted // whatever that has made fail
	}
	return errors.Join(err, op.end(phase, "", cause))
}

// A Check is asked under the lock, before anything is done: its error refuses.
type Check func(context.Context) error

func ask(ctx context.Context, checks []Check) error {
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Exclusive does work that must not run beside another command, such as
// starting the proxy, and keeps it in the journal.
func (o *Orchestrator) Exclusive(ctx context.Context, command string, work func(context.Context) error, checks ...Check) error {
	return o.exclusive(ctx, command, false, func(ctx context.Context, op *operation) error {
		if err := ask(ctx, checks); err != nil {
			return err
		}
		if err := op.phase(phaseIntent, ""); err != nil {
			return err
		}
		if err := work(ctx); err != nil {
			return err
		}
		return op.end(op.success, "", nil)
	})
}

// Note keeps in the journal that a pass over the databases has ended, without
// the lock: whoever must go back meanwhile need not wait for it.
func (o *Orchestrator) Note(command string, began time.Time, detail string, cause error) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id for the journal: %w", err)
	}
	e := Entry{Op: id.String(), Time: began, Who: o.who, PID: os.Getpid(), Command: command, Kind: kindPass,
		Phase: phaseDone, Took: millis(time.Since(began)), Detail: detail}
	if cause != nil {
		e.Phase, e.Error = phaseFailed, cause.Error()
	}
	return o.withRoom(func() error { return o.journal.append(e) })
}

// phase writes down what is about to be done.
func (op *operation) phase(name, detail string) error {
	op.o.hook("before " + name)
	now := time.Now()
	op.lap(name, now)
	e := op.entry
	e.Time, e.Phase, e.Detail, e.Took = now, name, detail, millis(now.Sub(op.began))
	if err := op.o.withRoom(func() error { return op.o.journal.append(e) }); err != nil {
		return err
	}
	op.intent = true
	op.o.cfg.Progress(Event{Time: now, Command: e.Command, Phase: name, Port: e.Port, Detail: redact.Text(detail)})
	op.o.hook("after " + name)
	return nil
}

// lap ends the phase before and begins the named one.
func (op *operation) lap(name string, now time.Time) {
	op.phases[len(op.phases)-1].Took = millis(now.Sub(op.lapped))
	op.phases, op.lapped = append(op.phases, Phase{Name: name}), now
}

// leave says in the journal that this process is no longer at it. If even that
// can't be written, the next command waits for the process to end.
func (op *operation) leave() {
	op.entry.Tool = process.Identity{}
	if !op.dry {
		_ = op.phase(phaseLeft, "")
	}
}

// end writes down how the operation ended.
func (op *operation) end(phase, detail string, cause error) error {
	if cause != nil {
		op.entry.Error, detail = cause.Error(), ""
	}
	if err := op.phase(phase, detail); err != nil {
		return err
	}
	op.ended = true
	return nil
}

func (op *operation) report(format string, args ...any) {
	op.o.cfg.Progress(Event{Time: time.Now(), Command: op.entry.Command, Port: op.entry.Port, Detail: redact.Text(fmt.Sprintf(format, args...))})
}

func (op *operation) warn(format string, args ...any) {
	text := redact.Text(fmt.Sprintf(format, args...))
	if slices.Contains(op.warnings, text) {
		return // once is enough
	}
	op.warnings = append(op.warnings, text)
	op.o.cfg.Progress(Event{Time: time.Now(), Command: op.entry.Command, Port: op.entry.Port, Detail: text, Warning: true})
}

func (op *operation) save() error {
	if op.dry {
		return nil
	}
	return op.o.withRoom(func() error { return saveState(op.o.statePath(), op.state) })
}
