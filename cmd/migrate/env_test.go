package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// lineOf is the command line that leads to a command, with what it can't do without.
func lineOf(t *testing.T, cmd *cobra.Command) []string {
	t.Helper()
	path := strings.Fields(cmd.CommandPath())[1:]
	if len(cmd.ValidArgs) > 0 {
		path = append(path, cmd.ValidArgs[0])
	}
	return path
}

// refusal runs a command line in a folder of its own, and returns what it says
// and its exit code. The context has ended, so that nothing is begun.
func refusal(t *testing.T, args ...string) (string, int) {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, err bytes.Buffer
	code := run(ctx, args, &out, &err)
	return err.String(), code
}

// Every flag that is set and empty is refused, by name, and so is its variable:
// a script that forgot to set a name must not act on a default.
func TestEmptyIsRefused(t *testing.T) {
	seen := 0
	each(newRoot(&globals{}), func(cmd *cobra.Command) {
		cmd.InheritedFlags() // adds them to the command's own
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			seen++
			args := lineOf(t, cmd)
			for _, empty := range []string{"", " "} {
				text, code := refusal(t, append(args, "--"+f.Name+"="+empty)...)
				if code != exitUsage || !strings.Contains(text, "--"+f.Name+" is empty") || !strings.Contains(text, "leave --"+f.Name+" out") {
					t.Errorf("%s --%s=%q: exit code %d: %s", cmd.CommandPath(), f.Name, empty, code, text)
				}
			}
			name := envName(f)
			t.Run(name, func(t *testing.T) {
				t.Setenv(name, "")
				text, code := refusal(t, args...)
				refused := code == exitUsage && strings.Contains(text, name+" is set and empty") && strings.Contains(text, "unset "+name)
				if refused != hasVariable(f) {
					t.Errorf("%s with %s set and empty: exit code %d: %s", cmd.CommandPath(), name, code, text)
				}
			})
		})
	})
	if seen < 300 {
		t.Errorf("only %d flags were looked at", seen)
	}
	t.Setenv(nginxVariable, "")
	if text, code := refusal(t, "status"); code != exitUsage || !strings.Contains(text, nginxVariable+" is set and empty") {
		t.Errorf("%s set and empty: exit code %d: %s", nginxVariable, code, text)
	}
}

func TestEmptyInsideAList(t *testing.T) {
	for _, args := range [][]string{
		{"switch", "--force", "cleared,"}, {"verify", "--drop", "a", "--drop", ""}, {"rollback", "--gone-host", "a, ,b"},
	} {
		if text, code := refusal(t, args...); code != exitUsage || !strings.Contains(text, "is empty") {
			t.Errorf("%q: exit code %d: %s", args, code, text)
		}
	}
}

// What overrides or limits acts where it is typed, never from the environment.
func TestOverridesHaveNoVariable(t *testing.T) {
	typed := []string{"drop", "dry-run", "force", "gone-host", "yes"}
	var found []string
	each(newRoot(&globals{}), func(cmd *cobra.Command) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			cmd.InheritedFlags()
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				value := "1" // which every kind of flag takes
				if f.Value.Type() == "duration" {
					value = "1s"
				}
				if !limits(f) {
					t.Setenv(envName(f), value)
				}
			})
			if err := fromEnvironment(cmd); err != nil {
				t.Fatal(err)
			}
			said := strings.Join(withoutEffect(cmd), "\n")
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !slices.Contains(typed, f.Name) {
					if !f.Changed && hasVariable(f) {
						t.Errorf("--%s does not act from %s", f.Name, envName(f))
					}
					return
				}
				found = append(found, f.Name)
				if f.Changed {
					t.Errorf("--%s acts from %s", f.Name, envName(f))
				}
				if !limits(f) && !strings.Contains(said, envName(f)) {
					t.Errorf("nobody says that %s has no effect: %s", envName(f), said)
				}
			})
			if cmd.Flags().Lookup("dry-run") == nil {
				return
			}
			t.Setenv("MIGRATE_DRY_RUN", "true")
			if err := fromEnvironment(cmd); err == nil || !strings.Contains(err.Error(), "MIGRATE_DRY_RUN is set, and has no effect") {
				t.Errorf("MIGRATE_DRY_RUN, under which nothing is to be done: %v", err)
			}
		})
	})
	slices.Sort(found)
	if found = slices.Compact(found); !slices.Equal(found, typed) {
		t.Errorf("flags that override or limit: %q, want %q", found, typed)
	}
}

// A variable that says no is no override.
func TestVariableThatSaysNo(t *testing.T) {
	for _, name := range []string{"MIGRATE_YES", "MIGRATE_DRY_RUN"} {
		t.Setenv(name, "false")
	}
	g := &globals{LockWait: time.Second}
	stop, _, err := newRoot(g).Find([]string{"stop"})
	if err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(stop); err != nil {
		t.Error(err)
	}
	if said := withoutEffect(stop); len(said) > 0 {
		t.Errorf("said: %q", said)
	}
}
