package demo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// The colours of a frame.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

const (
	margin  = "  "
	label   = 12 // columns before the strip in time
	longest = 80 // beats that it shows
)

// Lines draws the frame: what goes on, the walk, the totals, and the load in
// time. None is wider than the terminal.
func (f Frame) Lines(width int, colour bool) []string {
	paint := painter(colour)
	doing := f.Doing + f.Far
	if f.Step != 0 {
		doing = fmt.Sprintf("%d %s: %s", f.Step, stepName(f.Step), doing)
	}
	lines := []string{"", paint(bold, doing) + paint(faint, " · "+seconds(f.For))}
	if f.Serving != 0 {
		lines = append(lines, f.walk(paint), f.totals(paint))
	}
	if f.Beats != nil {
		lines = append(lines, f.strip(width, paint)...)
	}
	for n, line := range lines[1:] {
		lines[n+1] = text.Trim(margin+line, width)
	}
	return lines
}

func painter(colour bool) func(code, s string) string {
	return func(code, s string) string {
		if !colour || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
}

// walk is the eight steps, with brackets around the one that is served.
func (f Frame) walk(paint func(code, s string) string) string {
	var b strings.Builder
	for step := 1; step <= 8; step++ {
		link, name := " ━ ", strconv.Itoa(step)
		switch {
		case step > f.Serving:
			link, name = " ─ ", paint(faint, name)
		case step == f.Serving:
			name = paint(green, "["+name+"]")
		}
		if step > 1 {
			b.WriteString(link)
		}
		b.WriteString(name)
	}
	fmt.Fprintf(&b, "   nginx → %d", f.Port)
	if f.Primary != "" {
		fmt.Fprintf(&b, "   primary %s", f.Primary)
	}
	return b.String()
}

func (f Frame) totals(paint func(code, s string) string) string {
	failed := fmt.Sprintf("failed %d", f.Load.Failed)
	if wrong := f.Load.Lost + f.Load.Stale; wrong > 0 {
		failed += fmt.Sprintf("   lost or stale %d", wrong)
	}
	if f.Load.Failed+f.Load.Lost+f.Load.Stale > 0 {
		failed = paint(red, failed)
	}
	return fmt.Sprintf("requests %s   acknowledged %s   %s   %s", count(f.Load.Requests), count(f.Load.Acknowledged), failed,
		paint(faint, seconds(f.Elapsed)))
}

// strip is a bar for each beat, as high as its requests are many, and beneath
// it a mark for each cut-over: one that has stopped the requests would show. So
// does one that made some fail.
func (f Frame) strip(width int, paint func(code, s string) string) []string {
	const heights = "▁▂▃▄▅▆▇█"
	beats := f.Beats[max(0, len(f.Beats)-min(longest, max(0, width-len(margin)-label))):]
	var most float64
	for _, b := range beats {
		most = max(most, b.Requests)
	}
	bars := make([]rune, len(beats))
	marks := slices.Repeat([]rune{' '}, len(beats)+1)
	for n, b := range beats {
		bars[n] = ' ' // no request is no bar
		if b.Requests > 0 {
			bars[n] = []rune(heights)[int(math.Ceil(8*b.Requests/most))-1]
		}
		switch {
		case b.CutOver != 0:
			marks[n], marks[n+1] = '▲', rune('0'+b.CutOver)
		case b.Failed && marks[n] == ' ':
			marks[n] = '×'
		}
	}
	lead := func(s string) string { return fmt.Sprintf("%-*s", label, s) }
	return []string{
		lead(fmt.Sprintf("%.0f/s", f.rate())) + paint(green, string(bars)),
		lead("cut-overs") + paint(yellow, strings.TrimRight(string(marks), " ")),
	}
}

// rate is the requests a second, of the last two.
func (f Frame) rate() float64 {
	last := f.Beats[max(0, len(f.Beats)-int(2*time.Second/beat)):]
	if len(last) == 0 {
		return 0
	}
	var sum float64
	for _, b := range last {
		sum += b.Requests
	}
	return sum / (time.Duration(len(last)) * beat).Seconds()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// count writes a number with a comma between its thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
