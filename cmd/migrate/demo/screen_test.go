package demo

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// terminal is as much of one as a Screen uses. It keeps what has scrolled away,
// and wraps its lines anew when its width changes, as most do.
type terminal struct {
	t             *testing.T
	columns, rows int
	lines         [][]rune // rows, the ones that have scrolled away too
	goesOn        []bool   // the row goes on in the next
	row, column   int
	hidden, whole bool // the cursor; lines are cut instead of wrapped
}

func newTerminal(t *testing.T, columns, rows int) *terminal {
	return &terminal{t: t, columns: columns, rows: rows, lines: [][]rune{nil}, goesOn: []bool{false}}
}

func (v *terminal) size() (int, int) { return v.columns, v.rows }

var sequence = regexp.MustCompile(`^\x1b\[(\?25|\?7)?([0-9]*)([A-Za-z])`)

func (v *terminal) Write(p []byte) (int, error) {
	for s := string(p); s != ""; {
		if found := sequence.FindStringSubmatch(s); found != nil {
			v.control(found[1], found[2], found[3])
			s = s[len(found[0]):]
			continue
		}
		for _, r := range s {
			v.put(r)
			s = s[len(string(r)):]
			break
		}
	}
	return len(p), nil
}

func (v *terminal) control(mode, n, do string) {
	switch mode + do {
	case "?25l", "?25h":
		v.hidden = do == "l"
	case "?7l", "?7h":
		v.whole = do == "l"
	case "A":
		up, _ := strconv.Atoi(n)
		v.row = max(v.row-up, len(v.lines)-v.rows, 0) // no further than the first row that shows
	case "J":
		v.lines, v.goesOn = v.lines[:v.row+1], v.goesOn[:v.row+1]
		v.lines[v.row], v.goesOn[v.row] = v.lines[v.row][:v.column], false
	default:
		v.t.Errorf("not known to every terminal: %q", mode+n+do)
	}
}

func (v *terminal) put(r rune) {
	switch {
	case r == '\r':
		v.column = 0
	case r == '\n':
		v.next(false)
	case v.column == v.columns && v.whole:
		v.t.Errorf("%q is beyond the right margin", r)
	default:
		if v.column == v.columns {
			v.next(true)
		}
		v.lines[v.row] = append(v.lines[v.row][:v.column], r)
		v.column++
	}
}

func (v *terminal) next(goesOn bool) {
	v.goesOn[v.row] = goesOn
	if v.row, v.column = v.row+1, 0; v.row == len(v.lines) {
		v.lines, v.goesOn = append(v.lines, nil), append(v.goesOn, false)
	}
}

// resize wraps all lines anew. The cursor is in the last row, as a Screen leaves it.
func (v *terminal) resize(columns int) {
	text := v.text()
	v.columns, v.row, v.column, v.lines, v.goesOn = columns, 0, 0, [][]rune{nil}, []bool{false}
	for n, line := range text {
		for _, r := range line {
			v.put(r)
		}
		if n < len(text)-1 {
			v.put('\n')
		}
	}
}

// text is every line, however many rows it takes.
func (v *terminal) text() []string {
	lines := []string{""}
	for n, row := range v.lines {
		lines[len(lines)-1] += string(row)
		if !v.goesOn[n] && n < len(v.lines)-1 {
			lines = append(lines, "")
		}
	}
	return lines
}

func (v *terminal) shows(when string, want ...string) {
	v.t.Helper()
	if diff := cmp.Diff(append(slices.Clone(want), ""), v.text()); diff != "" {
		v.t.Errorf("%s: %s", when, diff)
	}
	if v.hidden || v.whole {
		v.t.Errorf("%s: the cursor is hidden (%v), or lines are not wrapped (%v)", when, v.hidden, v.whole)
	}
}

func TestScreen(t *testing.T) {
	v := newTerminal(t, 20, 10)
	fmt.Fprintln(v, "$ migrate demo")
	s := NewScreen(v, v.size, false)
	v.shows("at first", "$ migrate demo")
	s.Draw([]string{"", "a0", "b0"})
	v.shows("drawn", "$ migrate demo", "", "a0", "b0")
	fmt.Fprintln(s, "row 1")
	v.shows("written", "$ migrate demo", "row 1", "", "a0", "b0")
	s.Draw([]string{"", "a1"})
	v.shows("fewer", "$ migrate demo", "row 1", "", "a1")
	s.Draw([]string{"", strings.Repeat("x", 20), "b", "c"})
	fmt.Fprintln(s, "row 2 is wider than the terminal")
	v.shows("more", "$ migrate demo", "row 1", "row 2 is wider than the terminal", "", strings.Repeat("x", 20), "b", "c")

	v.resize(7)
	s.Draw([]string{"", "narrow"})
	v.shows("narrower", "$ migrate demo", "row 1", "row 2 is wider than the terminal", "", "narrow")
	v.resize(40)
	s.Draw([]string{"", "wide again"})
	v.shows("wider", "$ migrate demo", "row 1", "row 2 is wider than the terminal", "", "wide again")

	fmt.Fprint(v, "^C") // as a terminal echoes it
	s.Draw([]string{"", "cleaning up"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	v.shows("closed", "$ migrate demo", "row 1", "row 2 is wider than the terminal")
	fmt.Fprintln(s, "row 3")
	v.shows("after that", "$ migrate demo", "row 1", "row 2 is wider than the terminal", "row 3")
}

// With Ctrl-C a terminal throws away what it was about to show. No finished row
// may be drawn over for that.
func TestScreenInterrupted(t *testing.T) {
	v := newTerminal(t, 20, 10)
	var out io.Writer = v
	ctx, interrupt := context.WithCancel(t.Context())
	s := NewScreen(writer(func(p []byte) (int, error) { return out.Write(p) }), v.size, false)
	s.until(ctx)
	fmt.Fprintln(s, "row 1")
	fmt.Fprintln(s, "row 2")
	out = io.Discard
	s.Draw([]string{"", "a", "b"})
	fmt.Fprint(v, "^C")
	out = v
	interrupt()
	s.Draw([]string{"", "cleaning up"})
	v.shows("interrupted", "row 1", "row 2", "^C", "", "cleaning up")
	s.Draw([]string{"", "cleaned up"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	v.shows("closed", "row 1", "row 2", "^C")
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// On a terminal that is too low for all of them, the first lines are drawn.
func TestScreenLow(t *testing.T) {
	v := newTerminal(t, 20, 4)
	s := NewScreen(v, v.size, false)
	for n := range 3 {
		fmt.Fprintln(s, "row", n)
		s.Draw([]string{"", "a", "b", "c", "d"})
	}
	v.shows("low", "row 0", "row 1", "row 2", "", "a", "b")
}

// A frame takes the terminal's width as it is now.
func TestScreenShowsFrames(t *testing.T) {
	v := newTerminal(t, 80, 24)
	s := NewScreen(v, v.size, false)
	s.Show(walking())
	v.resize(30)
	f := walking()
	f.Beats = nil
	s.Show(f)
	v.shows("a narrow frame", "", "  4 read from both: backfill 4", "  1 ━ 2 ━ [3] ─ 4 ─ 5 ─ 6 ─ 7 ", "  requests 1,234,567   acknowl")
}
