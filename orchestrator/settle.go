package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

// Settled is what a command that was cut off has come to, by the work of the
// next one: at most one of the three, and none when it was put back.
type Settled struct {
	Command  string        `json:"command"`
	Switch   *SwitchResult `json:"switch,omitempty"`  // finished
	Spawned  *Instance     `json:"spawned,omitempty"` // ready, and kept
	Stopped  int           `json:"stopped,omitempty"` // port whose instance has ended
	Warnings []string      `json:"warnings,omitempty"`
}

// Settle finishes or puts back what a command that was cut off has left; nil
// when there is nothing. Other commands do the same by the way: this is for
// those that decide by where the service stands.
func (o *Orchestrator) Settle(ctx context.Context) (*Settled, error) {
	if open, err := o.unfinished(); err != nil || open == nil {
		return nil, err
	}
	var settled *Settled
	err := o.exclusive(ctx, "settle", false, func(_ context.Context, op *operation) error {
		settled, op.ended = op.settled, true // the journal has it under the command that it was
		return nil
	})
	return settled, err
}

// settle looks at what a command that was killed has left: what really runs
// and what is really served decide whether it is finished or put back.
func (op *operation) settle(ctx context.Context) error {
	last, err := op.o.unfinished()
	if err != nil || last == nil {
		return err
	}
	found := fmt.Sprintf("%q (%s, process %d, %s) was cut off in phase %q",
		last.Command, last.Who, last.PID, last.Began.Format(time.RFC3339), last.Last.Phase)
	if tool := last.Last.Tool; tool.PID != os.Getpid() && tool.Alive() { // its lock file was removed
		return problem(fmt.Errorf("%w by %s, process %d, %q, since %s, though the lock file is not its own any more",
			ErrLocked, last.Who, tool.PID, last.Command, last.Began.Format(time.RFC3339)), nothingChanged, "wait until that process has ended")
	}
	if op.dry {
		op.warn("%s; the next command that is not a dry run settles it", found)
		return nil
	}
	entry := last.Last
	entry.Who, entry.PID, entry.Tool, entry.Error = op.entry.Who, op.entry.PID, op.entry.Tool, ""
	left := op.o.operation(op.state, entry)
	left.intent, left.success, left.settled = true, phaseFinished, &Settled{Command: last.Command}
	left.warn("%s", found)
	if t, ok := op.reloading(); ok {
		if err := t.Recover(ctx); err != nil {
			left.warn("%v", err)
		}
	}
	switch entry.Kind {
	case kindSpawn:
		err = left.settleSpawn(ctx)
	case kindSwitch:
		err = left.settleSwitch(ctx, last)
	case kindStop:
		err = left.settleStop(ctx)
	case kindDaemon:
		err = left.settleDaemon(ctx)
	default:
		err = left.undone("nothing of it needs to be put right")
	}
	op.warnings = append(op.warnings, left.warnings...)
	op.settled = left.settled
	op.settled.Warnings = left.warnings
	op.cut += left.cut
	if err != nil {
		left.leave()
		return problem(fmt.Errorf("%s and could not be settled: %w", found, err), "as the interrupted command left it", "migrate status")
	}
	return nil
}

// undone ends an operation of which nothing is left.
func (op *operation) undone(detail string) error {
	op.warn("%s", detail)
	return op.end(phaseUndone, detail, nil)
}

// settleSpawn keeps what has become ready and ends anything else.
func (op *operation) settleSpawn(ctx context.Context) error {
	port := op.entry.Port
	i, known := op.state.Instances[port]
	if known && i.Process.Runs() {
		if ok, _ := ready(ctx, port, i.readyPath()); ok {
			if proven, _, err := op.o.prove(ctx, i); err == nil {
				op.settled.Spawned = &proven
				op.state.remember(op.entry.Databases)
				op.warn("its instance on port %d is ready, and is kept", port)
				return errors.Join(op.keep(proven), op.end(op.success, "the instance is ready", nil))
			}
		}
		op.warn("its instance on port %d is not ready, and is ended", port)
		if err := op.retire(ctx, i); err != nil {
			return err
		}
		return op.end(phaseUndone, "the instance was ended", nil)
	}
	// It may have died between the start of a process and writing down which.
	strays := process.Find(envInstance + "=" + op.o.instanceMark(port))
	if id := op.entry.Process; len(strays) == 0 && id.Runs() {
		strays = append(strays, id)
	}
	for _, id := range strays {
		op.warn("process %d, which it had started for port %d, is ended", id.PID, port)
		if err := process.Stop(ctx, id, op.o.cfg.Timeouts.Grace, func(what string) { op.report("%s", what) }); err != nil {
			return err
		}
	}
	return op.undone("nothing of it runs")
}

// settleSwitch finishes a switch whose move has happened, when the instance
// that is served answers; else traffic returns to the previous one.
func (op *operation) settleSwitch(ctx context.Context, last *Operation) error {
	served, asked, err := op.served(ctx)
	if err != nil {
		return err
	}
	e := op.entry
	if served != e.Port {
		return op.undone(fmt.Sprintf("traffic is on port %d: it had not moved, or is back", served))
	}
	s := &switching{operation: op, next: op.state.Instances[e.Port], result: &SwitchResult{
		At: e.Time, Who: e.Who, Port: e.Port, Step: e.To, Previous: e.Previous, From: e.From,
		Forced: e.Forced, InFlight: -1, PendingBefore: -1,
	}}
	if prev, known := op.state.Instances[e.Previous]; known {
		s.view = view{active: &prev, running: prev.Process.Runs()}
	}
	// What the command had decided is carried out, unless that would leave nobody
	// to serve: it may have told why, and the instance may fail again.
	returning := last.reached(phasePutBack) && s.view.running
	if _, _, err := op.o.prove(ctx, s.next); err == nil && s.next.Port != 0 && !returning {
		s.result.Instance = s.next.ID
		op.warn("traffic is on port %d, which answers: the switch is finished", e.Port)
		op.state.Active = &Active{Port: e.Port, Step: e.To, Since: e.Time}
		if !last.reached(phaseMoved) {
			if err := op.phase(phaseMoved, "found by a later command"); err != nil {
				return err
			}
		}
		op.settled.Switch = s.result
		return s.complete(ctx)
	}
	if !s.view.running {
		return op.undone(fmt.Sprintf("traffic is on port %d, but neither that instance nor the previous one answers", e.Port))
	}
	why := "which does not answer: it is put back"
	if returning {
		why = "and was being put back: that is finished,"
	}
	op.warn("traffic is on port %d, %s on port %d", e.Port, why, e.Previous)
	if err := op.phase(phasePutBack, "found by a later command"); err != nil {
		return err
	}
	if err := op.moveTraffic(ctx, e.Previous); err != nil {
		return err
	}
	if asked { // a proxy that does not run must not keep the next command from starting it
		confirm, cancel := context.WithTimeout(ctx, op.o.cfg.Timeouts.Confirm)
		defer cancel()
		if err := s.confirm(confirm, *s.view.active); err != nil {
			op.warn("%v", err)
		}
	}
	op.state.Active = &Active{Port: e.Previous, Step: e.From, Since: time.Now()}
	return errors.Join(op.save(), op.end(phaseUndone, fmt.Sprintf("put back on port %d", e.Previous), nil))
}

// served is where traffic goes: what the proxy says or, when it can't be
// asked, what it would serve.
func (op *operation) served(ctx context.Context) (port int, asked bool, err error) {
	live, _, err := op.o.cfg.Traffic.Served(ctx)
	if err == nil {
		return live, true, nil
	}
	op.warn("the proxy can't be asked (%v): going by its links", err)
	live, err = op.o.cfg.Traffic.Live()
	return live, false, err
}

// settleStop ends what was being ended.
func (op *operation) settleStop(ctx context.Context) error {
	if i, known := op.state.Instances[op.entry.Port]; known {
		op.warn("the instance on port %d was being ended: that is finished", i.Port)
		if err := op.retire(ctx, i); err != nil {
			return err
		}
	}
	op.settled.Stopped = op.entry.Port
	return op.end(op.success, "", nil)
}
