// Package scripts holds the tests of what the scripts share.
package scripts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs a script that has lib.sh and parts.sh.
func run(t *testing.T, script string) (out string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail; . ./lib.sh; . ./parts.sh\n"+script)
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("it did not end:\n%s", b)
	}
	return string(b), err == nil
}

// A part that takes longer than its budget is warned of; one that fails, fails
// the whole, which goes on to its end.
func TestParts(t *testing.T) {
	for _, c := range []struct {
		name, script string
		ok           bool
		says, not    []string
	}{
		{"all is well", "part one 1 echo hello\nconclude", true, []string{"== one: begins", "hello", "== one: ok, ", "all passed"}, []string{"warning"}},
		{"over the budget", "part slow 0 sleep 1.1\nconclude", true, []string{"longer than its budget of 0 s", "warning", "slow (", "all passed"}, nil},
		{"a failure", "part bad 1 false\npart good 1 echo after\nconclude", false, []string{"== bad: FAILED", "after", "failed: bad"}, []string{"all passed"}},
		{"a failure over the budget", "slowly() { sleep 1.1; false; }\npart bad 0 slowly\nconclude", false, []string{"failed: bad"}, []string{"all passed", "warning"}},
		{"lanes", "a() { part one 1 echo first; part two 1 false; }\nb() { part three 1 echo third; }\nlane a\nlane b\ntogether\nconclude", false,
			[]string{"first", "third", "== three: ok", "failed: two"}, []string{"all passed"}},
		{"a lane that is broken off", "a() { part one 1 echo first; exit 3; }\nlane a\ntogether\nconclude", false, []string{"a lane of parts was broken off"}, []string{"all passed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, ok := run(t, c.script)
			if ok != c.ok {
				t.Errorf("passed: %v, want %v", ok, c.ok)
			}
			for _, text := range c.says {
				if !strings.Contains(out, text) {
					t.Errorf("lacks %q:\n%s", text, out)
				}
			}
			for _, text := range c.not {
				if strings.Contains(out, text) {
					t.Errorf("says %q:\n%s", text, out)
				}
			}
		})
	}
}

// Lanes run beside one another, each in its order: one waits for what the other
// does.
func TestLanesRunBesideOneAnother(t *testing.T) {
	t.Parallel()
	out, ok := run(t, `
gate=$(mktemp -u); mkfifo "$gate"
a() { part waits 1 cat "$gate"; }
b() { part opens 1 bash -c "echo opened >$gate"; }
lane a
lane b
together
rm "$gate"
conclude`)
	if !ok || !strings.Contains(out, "opened") {
		t.Errorf("%s", out)
	}
}

// A script that is told to end ends what runs in its lanes.
func TestLanesEndWithTheScript(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ended")
	out, ok := run(t, `
runs() { trap 'echo ended >"'"$1"'"; exit' TERM; kill -TERM $$; while :; do sleep 0.1; done; }
a() { part long 1 runs '`+file+`'; }
lane a
together
conclude`)
	if ok || strings.Contains(out, "all passed") {
		t.Errorf("%s", out)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what ran in the lane was not told to end: %v\n%s", err, out)
	}
}
