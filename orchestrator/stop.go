package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

const (
	kindStop      = "stop"
	phaseStopping = "stopping"
)

// StopOptions says what to end.
type StopOptions struct {
	Port   int
	Yes    bool // the active one too
	DryRun bool
	Grace  time.Duration // from SIGTERM to SIGKILL; 0: as remembered
}

// StopResult says what was ended.
type StopResult struct {
	Op       string   `json:"op,omitempty"`
	Stopped  []int    `json:"stopped"`       // ports, in this order
	Cut      int      `json:"cut,omitempty"` // clients' connections that reloads of the proxy cut
	Took     Millis   `json:"ms"`
	Warnings []string `json:"warnings,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
}

// Stop ends one instance: SIGTERM, a bounded grace, SIGKILL. Links that name
// it go first. The active one is refused unless Yes.
func (o *Orchestrator) Stop(ctx context.Context, opts StopOptions) (StopResult, error) {
	return o.stop(ctx, fmt.Sprintf("stop %d", opts.Port), opts, func(op *operation) ([]Instance, error) {
		i, known := op.state.Instances[opts.Port]
		if !known {
			return nil, usage("migrate status", nothingChanged, "no instance of ours is on port %d", opts.Port)
		}
		return []Instance{i}, nil
	})
}

// StopAll ends every instance, the active one last; it is refused while one is
// active, unless Yes. opts.Port is not looked at.
func (o *Orchestrator) StopAll(ctx context.Context, opts StopOptions) (StopResult, error) {
	return o.stop(ctx, "stop --all", opts, func(op *operation) ([]Instance, error) {
		live, err := o.cfg.Traffic.Live()
		if err != nil {
			return nil, err
		}
		var order []Instance
		for _, i := range op.state.sorted() {
			if i.Port != live {
				order = append(order, i)
			}
		}
		if i, known := op.state.Instances[live]; known {
			order = append(order, i)
		} else if live != 0 && bindable(live) != nil {
			return nil, usage("migrate status", nothingChanged,
				"traffic is sent to port %d, where no instance of ours is known: end what listens there first", live)
		}
		return order, nil
	})
}

func (o *Orchestrator) stop(ctx context.Context, command string, opts StopOptions, choose func(*operation) ([]Instance, error)) (StopResult, error) {
	r := StopResult{DryRun: opts.DryRun, Stopped: []int{}}
	err := o.exclusive(ctx, command, opts.DryRun, func(ctx context.Context, op *operation) error {
		defer func() {
			r.Op, r.Cut, r.Warnings, r.Took = op.entry.Op, op.cut, op.warnings, millis(time.Since(op.began))
		}()
		op.entry.Kind, op.entry.Port = kindStop, opts.Port
		op.limits.Grace = Duration(opts.Grace)
		if op.settled != nil && op.settled.Stopped != 0 && opts.Port == op.settled.Stopped {
			r.Stopped, op.ended = append(r.Stopped, opts.Port), true // in the journal under the command that it was
			return nil
		}
		chosen, err := choose(op)
		if err != nil {
			return err
		}
		live, err := o.cfg.Traffic.Live()
		if err != nil {
			return err
		}
		reached, how, first := live, "is the active one", "migrate switch first"
		if live != 0 && !op.state.Instances[live].Process.Runs() {
			how, first = "serves alone, since the active one has ended", "migrate status"
			if reached, err = o.cfg.Traffic.Fallback(); err != nil {
				return err
			}
		}
		for _, i := range chosen {
			if i.Port == reached && i.Process.Runs() && !opts.Yes {
				next := fmt.Sprintf("migrate %s --yes", command)
				if opts.Port != 0 { // else it ends all the same
					next = first + ", or " + next
				}
				return usage(next, nothingChanged, "the instance on port %d %s: clients would get 503", i.Port, how)
			}
		}
		return op.stopEach(ctx, chosen, &r)
	})
	return r, err
}

func (op *operation) stopEach(ctx context.Context, chosen []Instance, r *StopResult) error {
	for _, i := range chosen {
		if op.dry {
			r.Stopped = append(r.Stopped, i.Port)
			continue
		}
		op.entry.Port, op.entry.From = i.Port, i.Step
		if err := op.phase(phaseStopping, fmt.Sprintf("end step %d on port %d", i.Step, i.Port)); err != nil {
			return err
		}
		if err := op.retire(ctx, i); err != nil {
			return err
		}
		r.Stopped = append(r.Stopped, i.Port)
	}
	if op.dry {
		return nil
	}
	return op.end(op.success, fmt.Sprintf("ended %d", len(chosen)), nil)
}

// retire takes the links off an instance, ends it and forgets it.
func (op *operation) retire(ctx context.Context, i Instance) error {
	t := op.o.cfg.Traffic
	if port, err := t.Fallback(); err != nil {
		return err
	} else if port == i.Port {
		if err := op.setFallback(ctx, 0); err != nil {
			return err
		}
	}
	// A dead one that is replaced on its own port keeps the traffic it had.
	if port, err := t.Live(); err != nil {
		return err
	} else if port == i.Port && op.entry.Kind == kindStop {
		if err := op.moveTraffic(ctx, 0); err != nil {
			return err
		}
	}
	ran := i.Process.Runs()
	if err := process.Stop(ctx, i.Process, op.grace(i), func(what string) { op.report("%s", what) }); err != nil {
		return err
	}
	if err := op.checkLeft(ctx, i, ran); err != nil {
		return err
	}
	if err := op.o.forget(i.Port); err != nil {
		return err
	}
	delete(op.state.Instances, i.Port)
	if op.state.Active != nil && op.entry.Kind == kindStop { // a spawn that failed has served nobody
		if err := op.serve(i); err != nil {
			return err
		}
	}
	return op.save()
}

// grace is how long the instance has from SIGTERM to SIGKILL.
func (op *operation) grace(i Instance) time.Duration {
	return op.limits.Over(i.Settings).Grace.or(op.o.cfg.Timeouts.Grace)
}

// forget takes away what tells of an instance; its logs stay.
func (o *Orchestrator) forget(port int) error {
	for _, name := range []string{socketFile, recordFile} {
		if err := os.Remove(filepath.Join(o.instanceDir(port), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
