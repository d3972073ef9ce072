package demo

import (
	"fmt"
	"time"
)

const columns = "%-5s %-33s %-5s %-9s %8s %6s %8s %8s %8s %9s %9s\n"

func (d *demo) header() {
	fmt.Fprintf(d.Out, columns, "STEP", "", "PORT", "PRIMARY", "REQUESTS", "FAILED", "P50 MS", "P99 MS", "WORST MS", "DRAIN MS", "MOVE MS")
}

func (d *demo) row(m Move) {
	drained := "-"
	if m.Drained {
		drained = fmt.Sprintf("%.0f", m.Drain)
	}
	primary := m.Primary
	if m.Epoch > 0 {
		primary += fmt.Sprintf(" (%d)", m.Epoch)
	}
	fmt.Fprintf(d.Out, columns, fmt.Sprint(m.Step), m.Name, fmt.Sprint(m.Port), primary,
		fmt.Sprint(m.Load.Requests), fmt.Sprint(m.Load.Failed), ms(m.Load.P50), ms(m.Load.P99), ms(m.Load.Worst), drained, fmt.Sprintf("%.0f", m.Duration))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func (d *demo) note(text string) { fmt.Fprintf(d.Out, "      %s\n", text) }

// last is the line that it is all about.
func (d *demo) last() {
	for _, p := range d.res.Problems {
		d.note(p)
	}
	fmt.Fprintf(d.Out, "\n%d writes read back in %d tasks, after %d requests across %d moves\n",
		d.res.Check.Checked, d.res.Check.Tasks, d.res.Requests, len(d.res.Moves))
	if d.res.Cut > 0 {
		fmt.Fprintf(d.Out, "reloads of nginx cut %d connections\n", d.res.Cut)
	}
	fmt.Fprintf(d.Out, "acknowledged %d, lost %d, stale %d, failed %d\n", d.res.Acknowledged, d.res.Lost, d.res.Stale, d.res.Failed)
}
