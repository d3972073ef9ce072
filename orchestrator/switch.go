package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	kindSwitch = "switch"

	phaseLevel    = "level" // before the gates are asked
	phaseProbe    = "probe"
	phaseMove     = "move"
	phaseConfirm  = "confirm"
	phasePutBack  = "put back"
	phaseMoved    = "moved"
	phaseAdvance  = "advance"
	phaseDrain    = "drain"
	phaseFallback = "fallback"

	confirmPoll = 25 * time.Millisecond
)

// SwitchOptions says where traffic should go.
type SwitchOptions struct {
	To     int           // port; 0: the other live instance
	Force  []string      // gates to override, by name
	DryRun bool          // gates and probe only
	Drain  time.Duration // for what the previous instance has begun; 0: as remembered
	// Check is asked before the gates; its error refuses the switch. from is the
	// step that the service is at, 0 before the first.
	Check func(ctx context.Context, from, to int) error
}

// SwitchResult says what a switch did.
type SwitchResult struct {
	Op       string    `json:"op,omitempty"`
	At       time.Time `json:"at"`
	Who      string    `json:"who"`
	Port     int       `json:"port"`
	Step     int       `json:"step"`
	Instance string    `json:"instance,omitempty"`
	Previous int       `json:"previous,omitempty"` // port; 0: there was none
	From     int       `json:"from,omitempty"`     // step
	Primary  string    `json:"primary,omitempty"`
	Epoch    int64     `json:"epoch,omitempty"`
	Gates    []Gate    `json:"gates,omitempty"`
	Forced   []string  `json:"forced,omitempty"` // gates that did not hold and were overridden

	Move          Millis `json:"move_ms"`        // the move itself
	Cut           int    `json:"cut"`            // clients' connections that reloads of the proxy cut
	InFlight      int64  `json:"in_flight"`      // requests on the previous instance at the move; -1 unknown
	Drained       bool   `json:"drained"`        // the previous one has neither requests nor unreplicated writes
	Drain         Millis `json:"drain_ms"`       // how long that took
	PendingBefore int64  `json:"pending_before"` // the previous one's when its drain began; -1 unknown
	Pending       int64  `json:"pending"`        // what of it was left when its drain ended
	Fallback      int    `json:"fallback"`       // port that stands by; 0 none

	Phases   []Phase  `json:"phases,omitempty"`
	Took     Millis   `json:"ms"`
	Warnings []string `json:"warnings,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
	Already  bool     `json:"already,omitempty"` // traffic was there, and nothing was done
}

// Switch moves traffic to the other live instance: gates, probe, move, confirm
// through the proxy, then the previous instance drains and stands by as the
// fallback. A move that can't be confirmed is put back, with ErrPutBack.
//
// When ctx ends after the move was confirmed, the rest is left to the next
// command. When that one asks for the same switch, finishing it is its answer:
// to repeat a command that was cut off never undoes it.
func (o *Orchestrator) Switch(ctx context.Context, opts SwitchOptions) (SwitchResult, error) {
	r := SwitchResult{DryRun: opts.DryRun, Who: o.who, InFlight: -1, PendingBefore: -1}
	command := "switch"
	if opts.To != 0 {
		command += fmt.Sprintf(" --to %d", opts.To)
	}
	for _, gate := range opts.Force {
		command += " --force " + gate
	}
	err := o.exclusive(ctx, command, opts.DryRun, func(ctx context.Context, op *operation) error {
		if done := op.finished(opts.To); done != nil {
			r, op.ended = *done, true
			return nil
		}
		op.limits.DrainTimeout = Duration(opts.Drain)
		s := &switching{operation: op, result: &r}
		defer func() {
			r.Op, r.Cut, r.Warnings, r.Phases, r.Took = op.entry.Op, op.cut, op.warnings, op.phases, millis(time.Since(op.began))
		}()
		return s.run(ctx, opts)
	})
	return r, err
}

// finished is the switch that was cut off, if settling has finished it and
// the one to this port (0: the other) is the same.
func (op *operation) finished(to int) *SwitchResult {
	if op.settled == nil || op.settled.Switch == nil || to != 0 && to != op.settled.Switch.Port {
		return nil
	}
	return op.settled.Switch
}

// switching is a switch at work.
type switching struct {
	*operation
	view   view
	next   Instance
	result *SwitchResult
}

func (s *switching) run(ctx context.Context, opts SwitchOptions) error {
	s.entry.Kind, s.entry.Port = kindSwitch, opts.To
	if err := s.choose(ctx, opts.To); err != nil || s.result.Already {
		return err
	}
	if opts.Check != nil {
		if err := opts.Check(ctx, s.step(s.view), s.next.Step); err != nil {
			return s.view.placed(err)
		}
	}
	if err := s.checkGates(ctx, opts); err != nil {
		return err
	}
	if s.dry {
		return s.probe(ctx)
	}
	s.entry.Forced = s.result.Forced
	if err := s.phase(phaseIntent, fmt.Sprintf("traffic to step %d on port %d", s.next.Step, s.next.Port)); err != nil {
		return err
	}
	if err := s.phase(phaseProbe, ""); err != nil {
		return err
	}
	if err := s.probe(ctx); err != nil {
		return err
	}
	if err := s.move(ctx); err != nil {
		return err
	}
	return s.complete(ctx)
}

// choose finds the next instance and the previous one.
func (s *switching) choose(ctx context.Context, to int) (err error) {
	if s.view, err = s.operation.view(ctx); err != nil {
		return err
	}
	v := s.view
	switch {
	case to != 0 && v.active != nil && v.active.Port == to && v.running:
		s.result.Already, s.ended = true, true // nothing to journal
		s.result.Port, s.result.Step, s.result.Instance, s.result.Fallback = to, v.active.Step, v.active.ID, v.fallback
		return nil
	case to != 0 && v.active != nil && v.active.Port == to:
		return usage(Again(fmt.Sprintf("migrate spawn --port %d --step %d", to, v.active.Step), v.active.Own), v.where(), "port %d is the active one already, and its instance has ended", to)
	case to != 0:
		n := slices.IndexFunc(v.others, func(i Instance) bool { return i.Port == to })
		if n < 0 {
			return usage(s.instead(to), v.where(), "no instance of ours runs on port %d", to)
		}
		s.next = v.others[n]
	case len(v.others) == 0:
		return usage(s.instead(0), v.where(), "there is no other live instance to switch to")
	case len(v.others) > 1:
		return usage(fmt.Sprintf("migrate switch --to %d", v.others[len(v.others)-1].Port), v.where(), "more than one instance could be meant")
	default:
		s.next = v.others[0]
	}
	s.result.Port, s.result.Step, s.result.Instance = s.next.Port, s.next.Step, s.next.ID
	s.entry.Port, s.entry.To = s.next.Port, s.next.Step
	if v.active != nil {
		s.result.Previous, s.result.From = v.active.Port, v.active.Step
		s.entry.Previous, s.entry.From = v.active.Port, v.active.Step
	}
	if from := s.step(v); from != 0 && distance(from, s.next.Step) > 1 {
		return usage(Again("migrate spawn --step "+fmt.Sprint(from+1), v.own()), v.where(), "step %d is more than one away from step %d", s.next.Step, from)
	}
	return s.checkReturn(ctx, v, s.next.Step)
}

// instead names what can be typed when there is nothing to switch to: to what
// runs, else a spawn, on the port if the proxy knows it.
func (s *switching) instead(port int) string {
	v, step := s.view, s.step(s.view)
	if n := len(v.others); n > 0 {
		return fmt.Sprintf("migrate switch --to %d", v.others[n-1].Port)
	}
	if v.running && step < lastStep || step == 0 { // else the same again
		step++
	}
	if port < s.o.cfg.FirstPort || port > s.o.lastPort() {
		return Again(fmt.Sprintf("migrate spawn --step %d", step), v.own())
	}
	return Again(fmt.Sprintf("migrate spawn --port %d --step %d", port, step), v.own())
}

// checkGates asks the next instance whether its step may be moved to. A move
// back, or to the same step, has none: neighbours are safe in both directions.
func (s *switching) checkGates(ctx context.Context, opts SwitchOptions) error {
	from, to := s.step(s.view), s.next.Step
	if to <= from || to == 1 {
		return nil
	}
	if !s.next.Admin {
		return nil // the probe tells
	}
	// These gates want a mirror that is level with the fence.
	if a := s.view.active; to >= 6 && s.view.running && a.Admin && a.Step >= 5 && a.Step <= 7 && !s.dry {
		if err := s.phase(phaseLevel, fmt.Sprintf("have port %d make the fence and its mirror level", a.Port)); err != nil {
			return err
		}
		s.intent = false // traffic does not move yet: a gate may still refuse
		if err := s.o.admin(*a).post(ctx, "/advance"); err != nil {
			s.warn("the instance on port %d could not advance: %v", a.Port, err)
		}
	}
	ask := s.o.admin(s.next).tryGates
	if s.dry {
		ask = s.o.admin(s.next).gates
	}
	gates, err := ask(ctx, to)
	if err != nil {
		return problem(fmt.Errorf("%w: the gates to step %d can't be asked: %w", ErrNotReady, to, err), s.view.where(), "migrate status")
	}
	return s.judge(gates, opts.Force)
}

func (s *switching) judge(gates []Gate, force []string) error {
	var failed []Gate
	for n := range gates {
		g := &gates[n]
		if g.OK {
			continue
		}
		if slices.Contains(force, g.Name) && g.Fixed {
			s.warn("gate %s can't be forced: the instance itself looks at it again before the primary moves", g.Name)
		} else if slices.Contains(force, g.Name) {
			g.Forced = true
			s.result.Forced = append(s.result.Forced, g.Name)
			s.warn("gate %s does not hold (%s) and is overridden", g.Name, g.Detail)
			continue
		}
		failed = append(failed, *g)
	}
	for _, name := range force {
		if !slices.ContainsFunc(gates, func(g Gate) bool { return g.Name == name }) {
			s.warn("there is no gate %q to step %d", name, s.next.Step)
		}
	}
	s.result.Gates = gates
	if len(failed) == 0 {
		return nil
	}
	// No hint offers --force: pasted, it would leave records behind.
	return problem(&GateError{To: s.next.Step, Failed: failed}, s.view.where(),
		fmt.Sprintf("migrate switch --to %d, once what refuses holds", s.next.Port))
}

// probe makes sure of the next instance and of the proxy.
func (s *switching) probe(ctx context.Context) error {
	if ok, reason := ready(ctx, s.next.Port, s.next.readyPath()); !ok {
		return problem(fmt.Errorf("%w: port %d: %s", ErrNotReady, s.next.Port, reason), s.view.where(), "migrate status; see "+s.next.Log)
	}
	_, doubts, err := s.o.prove(ctx, s.next)
	if err != nil {
		return problem(err, s.view.where(), "migrate status; see "+s.next.Log)
	}
	for _, d := range doubts {
		s.warn("%s", d)
	}
	live, _, err := s.o.cfg.Traffic.Served(ctx)
	if err != nil {
		return problem(fmt.Errorf("the proxy can't be asked what it serves: %w", err), s.view.where(), "migrate nginx start")
	}
	if live != s.result.Previous {
		return problem(fmt.Errorf("the proxy serves port %d, not port %d as it should", live, s.result.Previous), s.view.where(), "migrate nginx show")
	}
	return nil
}

// move moves traffic, makes sure that it has moved, or puts it back.
func (s *switching) move(ctx context.Context) error {
	if a := s.view.active; a != nil && s.view.running && a.Admin {
		if st, err := s.o.admin(*a).status(ctx); err == nil {
			s.result.InFlight = st.InFlight
		}
	}
	if err := s.phase(phaseMove, s.result.route()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // the last moment to turn round
		return err
	}
	// From here to the confirmation, an interruption must not leave it unknown.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.moveWait())
	defer cancel()
	began := time.Now()
	err := s.moveTraffic(whole, s.next.Port)
	s.result.Move = millis(time.Since(began))
	if err == nil {
		err = s.phase(phaseConfirm, "")
	}
	if err == nil {
		err = s.confirm(whole, s.next)
	}
	if err != nil {
		return s.putBack(ctx, err)
	}
	s.result.At = time.Now()
	s.state.Active = &Active{Port: s.next.Port, Step: s.next.Step, Since: s.result.At}
	if err := s.phase(phaseMoved, ""); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	return nil
}

// complete does what follows a move: the next one advances, the previous one
// drains and stands by. It can be repeated by a later command.
func (s *switching) complete(ctx context.Context) error {
	if d := s.state.Databases; d != nil && s.next.holdsNew() {
		d.Untouched = false // it takes traffic now
	}
	if err := s.save(); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	if err := s.advance(ctx); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	if err := s.standBy(ctx); err != nil {
		return problem(fmt.Errorf("%w: %w", errOpen, err), fmt.Sprintf("traffic is on port %d (step %d); the previous instance is not the fallback yet, the next command sees to it",
			s.next.Port, s.next.Step), "migrate status")
	}
	if st, err := s.o.admin(s.next).status(ctx); err == nil {
		s.result.Primary, s.result.Epoch = st.Primary, st.Epoch
		if d := s.state.Databases; d != nil && d.Migration == "" {
			d.Migration = st.Migration
		}
	}
	s.entry.Databases = s.state.Databases
	if err := s.serve(s.next); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	s.result.Op, s.result.Took, s.result.Warnings = s.entry.Op, millis(time.Since(s.began)), s.warnings
	last := *s.result
	last.Gates, last.Phases, last.Cut = nil, nil, s.cut
	s.state.LastSwitch = &last
	if err := s.save(); err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	return s.end(s.success, s.result.outcome(), nil)
}

func (r *SwitchResult) route() string {
	if r.Previous == 0 {
		return fmt.Sprintf("traffic to port %d", r.Port)
	}
	return fmt.Sprintf("traffic from port %d to %d", r.Previous, r.Port)
}

// outcome says in words what became of the previous instance.
func (r *SwitchResult) outcome() string {
	switch {
	case r.Previous == 0:
		return fmt.Sprintf("traffic is on port %d", r.Port)
	case r.Drained:
		return fmt.Sprintf("port %d drained in %.0f ms", r.Previous, float64(r.Drain))
	case r.Fallback != 0 && r.Pending != 0:
		return fmt.Sprintf("port %d stands by; %s", r.Previous, pendingText(r.Pending))
	case r.Fallback != 0:
		return fmt.Sprintf("port %d stands by; whether it has drained can't be seen", r.Previous)
	}
	return fmt.Sprintf("port %d does not stand by", r.Previous)
}

// advance asks the instance that has the traffic now to make new primary. If
// it can't, the first write does.
func (s *switching) advance(ctx context.Context) error {
	if s.next.Step < 5 || s.next.Step > 7 || !s.next.Admin {
		return nil
	}
	if err := s.phase(phaseAdvance, ""); err != nil {
		return err
	}
	if err := s.o.admin(s.next).post(ctx, "/advance"); err != nil {
		s.warn("the instance on port %d could not advance yet: %v", s.next.Port, err)
	}
	return nil
}
