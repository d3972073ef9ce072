package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"migrate/app/migration"
	"migrate/orchestrator"
)

// walked is what advance and rollback say in JSON.
type walked struct {
	Returned *migration.ReturnResult     `json:"returned,omitempty"` // the primary, to the old database
	Step     int                         `json:"step"`               // where the service is now
	Moves    []orchestrator.SwitchResult `json:"moves"`
	Done     bool                        `json:"done"` // step 8 is reached
	Next     string                      `json:"next,omitempty"`
}

// whatNext says how to go on; after the last step, how to end.
func (wk *walker) whatNext(ctx context.Context, w *walked) error {
	w.Done = w.Step == lastStep
	if !w.Done {
		w.Next = orchestrator.Again("migrate advance", wk.command)
		return nil
	}
	p, err := wk.position(ctx)
	if err != nil {
		return err
	}
	var ports []int
	for _, i := range p.others {
		ports = append(ports, i.Port)
	}
	w.Next, err = ending(wk.orch, ports, wk.command)
	return err
}

// afterSwitch is whatNext for who goes by single steps.
func (w *walked) afterSwitch(o *orchestrator.Orchestrator, r orchestrator.SwitchResult) error {
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
	var standby []int
	if r.Fallback != 0 {
		standby = append(standby, r.Fallback)
	}
	w.Next, err = ending(o, standby, own)
	return err
}

// ending says what may be done once the last step has the traffic; nothing,
// when it is done.
func ending(o *orchestrator.Orchestrator, standby []int, own []string) (string, error) {
	kept, err := o.Databases()
	if err != nil {
		return "", err
	}
	var steps []string
	for _, port := range standby {
		steps = append(steps, fmt.Sprintf("migrate stop %d", port))
	}
	if kept != nil {
		if _, err := os.Stat(kept.SQLite); err == nil {
			steps = append(steps, "archive "+kept.SQLite)
		}
	}
	if len(steps) == 0 {
		return "", nil
	}
	return "once no way back is wanted: " + strings.Join(steps, ", then ") + "; until then " + orchestrator.Again("migrate rollback", own) + " goes back", nil
}

func (w walked) printNext(out io.Writer) {
	if w.Done {
		fmt.Fprintln(out, "The walk is done: the service needs the old database no more.")
	}
	if w.Next != "" {
		fmt.Fprintln(out, fold(out, "Next: "+w.Next, 6))
	}
}
