package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// column is one of the table; those with the least need go first where a
// terminal is narrow.
type column struct {
	title string
	width int // numbers are to the right of theirs
	left  bool
	need  int
	cell  func(Move) string
}

var columns = []column{
	{"STEP", 5, true, 10, func(m Move) string { return fmt.Sprint(m.Step) }},
	{"", 33, true, 5, func(m Move) string { return m.Name }},
	{"PORT", 5, true, 7, func(m Move) string { return fmt.Sprint(m.Port) }},
	{"PRIMARY", 9, true, 6, func(m Move) string { return primary(m.Primary, m.Epoch) }},
	{"REQUESTS", 8, false, 8, func(m Move) string { return fmt.Sprint(m.Load.Requests) }},
	{"FAILED", 6, false, 9, func(m Move) string { return fmt.Sprint(m.Load.Failed) }},
	{"P50 MS", 8, false, 0, func(m Move) string { return ms(m.Load.P50) }},
	{"P99 MS", 8, false, 4, func(m Move) string { return ms(m.Load.P99) }},
	{"WORST MS", 8, false, 1, func(m Move) string { return ms(m.Load.Worst) }},
	{"DRAIN MS", 9, false, 2, func(m Move) string {
		if !m.Drained {
			return "-"
		}
		return fmt.Sprintf("%.0f", m.Drain)
	}},
	{"MOVE MS", 9, false, 3, func(m Move) string { return fmt.Sprintf("%.0f", m.Duration) }},
}

// fitting are the columns that a terminal has room for.
func fitting(width int) []column {
	fit := slices.Clone(columns)
	for len(fit) > 1 && wide(fit) > width {
		least := slices.MinFunc(fit, func(a, b column) int { return a.need - b.need })
		fit = slices.DeleteFunc(fit, func(c column) bool { return c.need == least.need })
	}
	return fit
}

func wide(columns []column) int {
	sum := len(columns) - 1
	for _, c := range columns {
		sum += c.width
	}
	return sum
}

func (d *demo) line(cell func(column) string) {
	cells := make([]string, len(d.columns))
	for n, c := range d.columns {
		width := c.width
		if c.left {
			width = -width
		}
		cells[n] = fmt.Sprintf("%*s", width, cell(c))
	}
	fmt.Fprintln(d.Out, strings.Join(cells, " "))
}

func (d *demo) header() { d.line(func(c column) string { return c.title }) }

func (d *demo) row(m Move) { d.line(func(c column) string { return c.cell(m) }) }

func primary(name string, epoch int64) string {
	if epoch > 0 {
		return fmt.Sprintf("%s (%d)", name, epoch)
	}
	return name
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// note belongs to the row above.
func (d *demo) note(note string) {
	const indent = "      "
	if d.Screen != nil {
		width, _ := d.Screen.size()
		note = text.WrapSoft(note, max(20, width-len(indent)))
	}
	for line := range strings.Lines(note) {
		fmt.Fprintf(d.Out, "%s%s\n", indent, strings.TrimRight(line, " \n"))
	}
}

// last is the line that it is all about. On a terminal the load in time stays
// to be seen.
func (d *demo) last(final Frame) {
	for _, p := range d.res.Problems {
		d.note(p)
	}
	fmt.Fprintln(d.Out)
	if d.Screen != nil {
		for _, line := range d.Screen.strip(final) {
			fmt.Fprintln(d.Out, line)
		}
		fmt.Fprintln(d.Out)
	}
	fmt.Fprintf(d.Out, "%d writes read back in %d tasks, after %d requests across %d moves\n",
		d.res.Check.Checked, d.res.Check.Tasks, d.res.Requests, len(d.res.Moves))
	if d.res.Cut > 0 {
		fmt.Fprintf(d.Out, "reloads of nginx cut %d connections\n", d.res.Cut)
	}
	fmt.Fprintf(d.Out, "acknowledged %d, lost %d, stale %d, failed %d\n", d.res.Acknowledged, d.res.Lost, d.res.Stale, d.res.Failed)
}

// faults says what went wrong, at which step and when.
func (d *demo) faults() {
	for _, what := range []string{"lost", "stale", "failed"} {
		var sum int64
		var parts []string
		for _, f := range d.res.Faults {
			if f.What == what {
				sum, parts = sum+f.Count, append(parts, f.String())
			}
		}
		if sum > 0 {
			fmt.Fprintf(d.Out, "%s %d: %s\n", what, sum, strings.Join(parts, ", "))
		}
	}
}

// String leaves out what it is that was done Count times.
func (f Fault) String() string {
	when := "when all was read back"
	if f.Step != 0 {
		when = fmt.Sprintf("step %d, %.1f s", f.Step, f.Seconds)
	}
	return strings.TrimSpace(fmt.Sprintf("%s ×%d (%s)", f.Kind, f.Count, when))
}
