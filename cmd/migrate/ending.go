package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

// walked is what advance and rollback say in JSON.
type walked struct {
	Returned *migration.ReturnResult     `json:"returned,omitempty"` // the primary, to the old database
	Step     int                         `json:"step"`               // where the service is now
	Moves    []orchestrator.SwitchResult `json:"moves"`
	Done     bool                        `json:"done"`                  // step 8 is reached
	Left     string                      `json:"left_behind,omitempty"` // why records may be in the old database alone
	Next     string                      `json:"next,omitempty"`
}

// whatNext says how to go on; after the last step, how to end.
func (wk *walker) whatNext(ctx context.Context, w *walked) error {
	defer func() { w.Next = wk.g.hint(w.Next) }()
	st, err := wk.orch.Status(ctx)
	if err != nil {
		return err
	}
	own, err := wk.orch.Own(st.Live)
	if err != nil {
		return err
	}
	if w.Done = w.Step == lastStep; !w.Done {
		w.Next = orchestrator.Again("migrate advance", own)
		return nil
	}
	return w.end(wk.orch, st, own)
}

// afterSwitch is whatNext for who goes by single steps.
func (w *walked) afterSwitch(ctx context.Context, o *orchestrator.Orchestrator, r orchestrator.SwitchResult) error {
	own, err := o.Own(r.Port)
	if err != nil {
		return err
	}
	if r.Fallback != 0 && r.From > r.Step {
		w.Next = "migrate switch, which moves on to step " + strconv.Itoa(r.From) + " again"
		return nil
	}
	if w.Done = r.Step == lastStep; !w.Done {
		w.Next = orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", r.Step+1), own)
		return nil
	}
	st, err := o.Status(ctx)
	if err != nil {
		return err
	}
	return w.end(o, st, own)
}

// end says what may be done at the last step: first of all to go back, if
// records were left behind.
func (w *walked) end(o *orchestrator.Orchestrator, st orchestrator.Status, own []string) (err error) {
	if w.Left = leftBehind(st); w.Left != "" {
		w.Next = backBelow(st, own) + ", then " + orchestrator.Again("migrate advance --backfill", own)
		return nil
	}
	w.Next, err = ending(o, st, own)
	return err
}

// backBelow leads from the last step to the one before: not to an instance at
// the last step that stands by.
func backBelow(st orchestrator.Status, own []string) string {
	for _, i := range st.Instances {
		if i.Running && i.Role != orchestrator.RoleActive && i.Step == lastStep {
			return orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", lastStep-1), own) + ", then migrate switch"
		}
	}
	return orchestrator.Again("migrate rollback", own)
}

// dataGates are those that stand for records of the old database.
var dataGates = [...]string{migration.GateComplete, migration.GateVerified, migration.GateQuarantine}

// leftBehind says why the old database may have records that the new one lacks
// although the service is at the last step; empty if it has none.
func leftBehind(st orchestrator.Status) string {
	a := activeOf(st)
	if a == nil || a.Step != lastStep {
		return ""
	}
	var open []string
	if s := st.LastSwitch; s != nil && s.Step == lastStep {
		for _, gate := range s.Forced {
			if slices.Contains(dataGates[:], gate) {
				open = append(open, gate)
			}
		}
	}
	if p := progress(*a); len(open) == 0 && p != nil { // the instance may have been started anew since
		if !p.Complete {
			open = append(open, migration.GateComplete)
		}
		if p.Verify == nil || !p.Verify.Clean {
			open = append(open, migration.GateVerified)
		}
		if p.Verify != nil && p.Verify.Quarantine > 0 {
			open = append(open, migration.GateQuarantine)
		}
	}
	if len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("the move to step %d was forced past what it asks for (%s): records may be in the old database alone, don't archive it", lastStep, strings.Join(open, ", "))
}

// ending says what may be done once the last step has the traffic; nothing,
// when it is done. Without the old database's file there is no way back.
func ending(o *orchestrator.Orchestrator, st orchestrator.Status, own []string) (string, error) {
	kept, err := o.Databases()
	if err != nil {
		return "", err
	}
	var steps []string
	for _, i := range st.Instances {
		if i.Running && i.Role != orchestrator.RoleActive {
			steps = append(steps, fmt.Sprintf("migrate stop %d", i.Port))
		}
	}
	if kept != nil && oldMissing(kept) {
		return strings.Join(steps, ", then "), nil
	}
	if kept != nil {
		steps = append(steps, "archive "+oldPlace(*kept).String())
	}
	if len(steps) == 0 {
		return "", nil
	}
	return "once no way back is wanted: " + strings.Join(steps, ", then ") + "; until then " + backBelow(st, own) + " goes back", nil
}

func (w walked) printNext(out io.Writer) {
	if w.Left != "" {
		fmt.Fprintf(out, "! %s\n", fold(out, w.Left, 2))
	} else if w.Done {
		fmt.Fprintln(out, "The walk is done: the service needs the old database no more.")
	}
	if w.Next != "" {
		fmt.Fprintln(out, fold(out, "Next: "+w.Next, 6))
	}
}
