package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

	"migrate.invalid/migrate/app/load"
)

// walking is a frame in the middle of a walk, with a cut-over that stopped the
// requests for a beat.
func walking() Frame {
	f := Frame{
		Elapsed: 14230 * time.Millisecond, Step: 4, Doing: "backfill", Far: " 400 of 1,249", For: 400 * time.Millisecond,
		Serving: 3, Port: 8002, Primary: "old (1)", Load: load.Figures{Requests: 1234567, Acknowledged: 890},
	}
	for _, requests := range []float64{10, 20, 30, 40, 50, 60, 70, 0, 10, 20, 30, 40} {
		f.Beats = append(f.Beats, Beat{Requests: requests})
	}
	f.Beats[1].CutOver, f.Beats[6].CutOver = 2, 3
	return f
}

func TestFrame(t *testing.T) {
	failed := walking()
	failed.Load.Failed, failed.Load.Lost, failed.Load.Stale = 3, 1, 1
	failed.Beats[6].Failed, failed.Beats[7].Failed, failed.Beats[8].Failed = true, true, true // at a cut-over, too
	idle := walking()
	idle.Beats = []Beat{{}, {}}
	for name, c := range map[string]struct {
		Frame
		width int
		want  []string
	}{
		"before the walk": {Frame{Doing: "starting nginx", For: 1260 * time.Millisecond}, 80, []string{
			"",
			"  starting nginx · 1.3 s",
		}},
		"in it": {walking(), 80, []string{
			"",
			"  4 read from both: backfill 400 of 1,249 · 0.4 s",
			"  1 ━ 2 ━ [3] ─ 4 ─ 5 ─ 6 ─ 7 ─ 8   nginx → 8002   primary old (1)",
			"  requests 1,234,567   acknowledged 890   failed 0   14.2 s",
			"  50/s        ▂▃▄▅▆▇█ ▂▃▄▅",
			"  cut-overs    ▲2   ▲3",
		}},
		"narrow: the latest beats": {walking(), 20, []string{
			"",
			"  4 read from both: ",
			"  1 ━ 2 ━ [3] ─ 4 ─ ",
			"  requests 1,234,567",
			"  50/s        █ ▂▃▄▅",
			"  cut-overs   ▲3",
		}},
		"failures": {failed, 80, []string{
			"",
			"  4 read from both: backfill 400 of 1,249 · 0.4 s",
			"  1 ━ 2 ━ [3] ─ 4 ─ 5 ─ 6 ─ 7 ─ 8   nginx → 8002   primary old (1)",
			"  requests 1,234,567   acknowledged 890   failed 3   lost or stale 2   14.2 s",
			"  50/s        ▂▃▄▅▆▇█ ▂▃▄▅",
			"  cut-overs    ▲2   ▲3×",
		}},
		"nothing answers": {idle, 80, []string{
			"",
			"  4 read from both: backfill 400 of 1,249 · 0.4 s",
			"  1 ━ 2 ━ [3] ─ 4 ─ 5 ─ 6 ─ 7 ─ 8   nginx → 8002   primary old (1)",
			"  requests 1,234,567   acknowledged 890   failed 0   14.2 s",
			"  0/s           ",
			"  cut-overs   ",
		}},
	} {
		if diff := cmp.Diff(c.want, c.Lines(c.width, false)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Colour changes no text and no width, and red is for failures.
func TestFrameColours(t *testing.T) {
	f := walking()
	for width := range 100 {
		coloured, plain := f.Lines(width, true), f.Lines(width, false)
		for n, line := range coloured {
			if got := text.StringWidthWithoutEscSequences(line); got > width {
				t.Errorf("%d columns in %d: %q", got, width, line)
			}
			if text.StripEscape(line) != plain[n] {
				t.Errorf("%q is not %q in colour", line, plain[n])
			}
		}
	}
	red := func(f Frame) bool {
		return slices.ContainsFunc(f.Lines(80, true), func(line string) bool { return strings.Contains(line, "\x1b[31m") })
	}
	if red(f) {
		t.Error("red without a failure")
	}
	if f.Load.Failed = 1; !red(f) {
		t.Error("a failure is not red")
	}
}
