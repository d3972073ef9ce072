package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"migrate.invalid/migrate/orchestrator"
	"migrate.invalid/migrate/orchestrator/process"
)

// each visits a command and all below it.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		each(c, visit)
	}
}

// tooWide returns the lines that don't fit in a page of help.
func tooWide(text string) []string {
	var wide []string
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > helpWidth {
			wide = append(wide, line)
		}
	}
	return wide
}

func TestHelpIsWhole(t *testing.T) {
	if len(tooWide("fits\n"+strings.Repeat("x", helpWidth+1)+"\n")) != 1 {
		t.Fatal("a line that is too wide is not noticed")
	}
	each(newRoot(&globals{}), func(cmd *cobra.Command) {
		var page bytes.Buffer
		cmd.SetOut(&page)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for _, line := range tooWide(page.String()) {
			t.Errorf("%s --help: wider than %d: %s", cmd.CommandPath(), helpWidth, line)
		}
		if cmd.Name() != "help" && cmd.Example == "" && (cmd.Runnable() && !cmd.HasSubCommands() || !cmd.HasParent()) {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		if cmd.HasParent() && !strings.Contains(page.String(), "--json") {
			t.Errorf("%s --help does not name the flags that every command has", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "migrate") {
				t.Errorf("%s: example %q", cmd.CommandPath(), line)
			}
		}
	})
}

// No two commands read one variable for flags of different kinds: who sets it
// for one would break the other.
func TestVariablesMeanOneThing(t *testing.T) {
	kinds := map[string]string{}
	each(newRoot(&globals{}), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name := envName(f)
			if was, known := kinds[name]; known && was != f.Value.Type() {
				t.Errorf("%s is a %s for %s, and a %s elsewhere", name, f.Value.Type(), cmd.CommandPath(), was)
			}
			kinds[name] = f.Value.Type()
		})
	})
	if kinds["MIGRATE_HISTORY_PORT"] != "int" || kinds["MIGRATE_MONGO_LISTEN"] != "string" {
		t.Errorf("variables that were looked at: %v", kinds)
	}
}

func TestHistoryFilters(t *testing.T) {
	began := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	op := orchestrator.Operation{Command: "switch --to 8001", Outcome: "refused", Began: began, Phases: []orchestrator.Entry{
		{Port: 8001, Previous: 8000, From: 3, To: 4},
	}}
	for _, c := range []struct {
		name string
		o    historyOptions
		want bool
	}{
		{"none", historyOptions{}, true},
		{"its port", historyOptions{port: 8001}, true},
		{"the port that traffic leaves", historyOptions{port: 8000}, true},
		{"another port", historyOptions{port: 8002}, false},
		{"to its step", historyOptions{step: 4}, true},
		{"from its step", historyOptions{step: 3}, true},
		{"another step", historyOptions{step: 5}, false},
		{"its outcome", historyOptions{outcome: "refused"}, true},
		{"another outcome", historyOptions{outcome: "done"}, false},
		{"its command", historyOptions{command: "switch"}, true},
		{"all words of it", historyOptions{command: "switch --to 8001"}, true},
		{"part of a word", historyOptions{command: "swi"}, false},
		{"since then", historyOptions{from: began}, true},
		{"since later", historyOptions{from: began.Add(1)}, false},
		{"all match but one", historyOptions{port: 8001, step: 4, outcome: "done"}, false},
	} {
		if got := c.o.match(op); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"2025-02-28":           time.Date(2025, 2, 28, 0, 0, 0, 0, time.UTC),
		"2025-02-28T10:00:00Z": time.Date(2025, 2, 28, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := moment("yesterday", now); err == nil {
		t.Error("yesterday is understood")
	}
}

func running(port, step, pid int, role string, requests int64) orchestrator.InstanceStatus {
	return orchestrator.InstanceStatus{
		Instance: orchestrator.Instance{Port: port, Step: step, Process: process.Identity{PID: pid}},
		Role:     role, Running: true, Ready: true, Told: &orchestrator.AdminStatus{Requests: requests},
	}
}

func TestFramesShowTrafficMove(t *testing.T) {
	var m meter
	at := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	look := func(i ...orchestrator.InstanceStatus) frame {
		at = at.Add(2 * time.Second)
		return m.frame(orchestrator.Status{Instances: i}, at)
	}
	if f := look(running(8000, 1, 10, "active", 500)); f.Paces != nil {
		t.Errorf("the first frame knows paces: %v", f.Paces)
	}
	f := look(running(8000, 1, 10, "fallback", 530), running(8001, 2, 11, "active", 90))
	if f.pace(8000) != "15.0" || f.pace(8001) != "45.0" {
		t.Errorf("paces %v, want 15 and 45", f.Paces)
	}
	if a, b := f.share(8000), f.share(8001); a != " 25 % ███░░░░░░░" || b != " 75 % ████████░░" {
		t.Errorf("shares %q and %q", a, b)
	}
	// Another process on the same port has its own count.
	if f := look(running(8000, 3, 12, "next", 8)); f.pace(8000) != "4.0" {
		t.Errorf("pace of a new process %q, want 4.0", f.pace(8000))
	}
	silent := running(8000, 3, 12, "next", 0)
	silent.Told = nil
	if f := look(silent); f.pace(8000) != "" || f.share(8000) != "" {
		t.Errorf("one that tells nothing has pace %q", f.pace(8000))
	}
}

func TestWatchEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	drawn := 0
	look := func(context.Context) (orchestrator.Status, error) { return orchestrator.Status{}, ctx.Err() }
	_, err := frames(ctx, look, time.Millisecond, func(frame) error {
		if drawn++; drawn == 3 {
			cancel()
		}
		return nil
	})
	if err != nil || drawn != 3 {
		t.Errorf("%d frames, %v; want 3 and no error", drawn, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cutShort := func(ctx context.Context) (orchestrator.Status, error) {
		cancel() // while it looks
		return orchestrator.Status{}, ctx.Err()
	}
	if _, err := frames(ctx, cutShort, time.Millisecond, func(frame) error { t.Error("a look that was cut short is drawn"); return nil }); err != nil {
		t.Errorf("told to end while it looked: %v", err)
	}
	broken := errors.New("broken")
	if _, err := frames(t.Context(), look, time.Millisecond, func(frame) error { return broken }); err == nil {
		t.Error("an output that can't be written to is no error")
	}
}

func TestScreenIsOverwrittenLineByLine(t *testing.T) {
	var out bytes.Buffer
	g := &globals{out: &out, err: io.Discard}
	if err := g.drawScreen(frame{At: time.Now(), Status: orchestrator.Status{Instances: []orchestrator.InstanceStatus{running(8000, 1, 10, "active", 1)}}}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if !strings.HasPrefix(text, home) || !strings.HasSuffix(text, clearLine+clearRest) {
		t.Errorf("a frame is %q", text)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, clearRest), "\r\n") {
		if !strings.HasSuffix(line, clearLine) {
			t.Errorf("what was there before stays beside %q", line)
		}
	}
}

func TestWhereARollbackLeads(t *testing.T) {
	for _, c := range []struct {
		name       string
		p          position
		step, port int
	}{
		{"to the one below that stands by", position{step: 5, back: 8003, others: []orchestrator.InstanceStatus{running(8003, 4, 1, "fallback", 0)}}, 4, 8003},
		{"to another build of the same step", position{step: 5, back: 8003, others: []orchestrator.InstanceStatus{running(8003, 5, 1, "fallback", 0)}}, 5, 8003},
		{"never ahead", position{step: 5, back: 8005, others: []orchestrator.InstanceStatus{running(8005, 6, 1, "fallback", 0)}}, 4, 0},
		{"to one that was spawned for it", position{step: 5, others: []orchestrator.InstanceStatus{running(8006, 4, 1, "next", 0)}}, 4, 8006},
		{"to one that has to be started", position{step: 5}, 4, 0},
		{"nowhere", position{step: 1}, 0, 0},
	} {
		if step, port := c.p.below(); step != c.step || port != c.port {
			t.Errorf("%s: step %d on port %d, want %d on %d", c.name, step, port, c.step, c.port)
		}
	}
}

// What is wrong with data is never answered by anything but data.
func TestOnlyDataAnswersDataGates(t *testing.T) {
	refusal := func(names ...string) error {
		e := &orchestrator.GateError{To: 5}
		for _, name := range names {
			e.Failed = append(e.Failed, orchestrator.Gate{Name: name})
		}
		return next(e, "", "")
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("compared"), false},
		{refusal("compared"), true},
		{refusal("complete", "verified"), true},
		{refusal("triggers"), false},
		{refusal("compared", "triggers"), false},
		{refusal("quarantine"), false},
	} {
		if got := wantsData(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestPlainColumnsInAPipe(t *testing.T) {
	var out bytes.Buffer
	g := &globals{out: &out}
	g.columns(&out, []string{"A", "B"}, [][]string{{"1", "two\nlines\tand a tab"}, {"", "x"}})
	if want := "A\tB\n1\ttwo lines and a tab\n\tx\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// A flag that a variable has set counts as given: demo keeps out of a folder
// that nobody named.
func TestVariablesCountAsGiven(t *testing.T) {
	t.Setenv("MIGRATE_DIR", "/somewhere")
	g := &globals{}
	demo, _, err := newRoot(g).Find([]string{"demo"})
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(demo); err != nil {
		t.Fatal(err)
	}
	if g.Dir != "/somewhere" || !demo.Flags().Changed("dir") || demo.Flags().Changed("quiet") {
		t.Errorf("dir %q, given %v; quiet given %v", g.Dir, demo.Flags().Changed("dir"), demo.Flags().Changed("quiet"))
	}
}

// What this program's processes tell one another is not for the environment.
func TestHiddenFlagsHaveNoVariable(t *testing.T) {
	t.Setenv("MIGRATE_AS_PUBLISHED", "nonsense")
	serve, _, err := newRoot(&globals{}).Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	if f := serve.Flags().Lookup("as-published"); f == nil || !f.Hidden {
		t.Fatal("serve has no hidden flag to try")
	}
	if err := fromEnvironment(serve); err != nil {
		t.Error(err)
	}
}

// A command that is killed while the primary returns leaves the writes waiting
// for a moment, which only the fence knows.
func TestClosingIsSeen(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"primary":"new","epoch":2,"closing":true}`: true,
		`{"primary":"new","epoch":2}`:                false,
		``:                                           false,
	} {
		if got := closing(orchestrator.InstanceStatus{Raw: []byte(raw)}); got != want {
			t.Errorf("%q: %v, want %v", raw, got, want)
		}
	}
}

func TestMayBeOnThisMachine(t *testing.T) {
	for uri, want := range map[string]bool{
		"mongodb://127.0.0.1:27117/":                   true,
		"mongodb://localhost:27117/":                   true,
		"mongodb://me:a%40b@host:1,other:27117/db?x=y": true,
		"mongodb://127.0.0.1:2711/":                    false,
		"mongodb://127.0.0.1/27117":                    false,
		"mongodb+srv://cluster.example/":               false,
	} {
		if got := mayBe(uri, "127.0.0.1:27117"); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
}
