package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/cmd/migrate/demo"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

// The exit codes, the same for every command.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotReady = 3
	exitGate     = 4
	exitLocked   = 5
	exitPutBack  = 6
	exitDiffers  = 7
)

// errDiffers: the data is not what it should be.
var errDiffers = errors.New("data differs")

// belongTogether is the remedy when one database is not of the other's migration.
const belongTogether = "leave the database flags out, or give the --old, --new and --dir that belong together"

// usageError is a command line that can't be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errInterrupted: a signal has ended the command.
var errInterrupted = errors.New("interrupted")

// unlessInterrupted is the error of a command: once a signal has ended it,
// that is what happened, and whatever that made fail on its way is noise. What
// the command had found out before stays.
func unlessInterrupted(ctx context.Context, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	switch exitCode(err) {
	case exitUsage, exitDiffers, exitPutBack:
		return err
	}
	if strings.HasPrefix(err.Error(), errInterrupted.Error()) { // it says so itself, and what it left
		return err
	}
	state := "what was done stays, and the next command settles what is half done"
	var p *orchestrator.Problem
	if errors.As(err, &p) && p.State != "" {
		state = p.State
	}
	return next(errInterrupted, state, "migrate status; the same command again goes on from there")
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.Is(err, orchestrator.ErrUsage), errors.Is(err, nginx.ErrAddressTaken):
		return exitUsage
	case errors.Is(err, errDiffers), errors.Is(err, demo.ErrDiffers), errors.Is(err, load.ErrDiffers):
		return exitDiffers
	case errors.Is(err, orchestrator.ErrPutBack):
		return exitPutBack
	case errors.Is(err, orchestrator.ErrLocked):
		return exitLocked
	case errors.Is(err, orchestrator.ErrGate):
		return exitGate
	case errors.Is(err, orchestrator.ErrNotReady):
		return exitNotReady
	}
	return exitFailed
}

// inHints matches a command of ours in a hint, in two parts: the state
// folder belongs between them. An instance is never started by hand.
func inHints(root *cobra.Command) *regexp.Regexp {
	var names []string
	for _, cmd := range root.Commands() {
		if cmd.Name() != "serve" {
			names = append(names, regexp.QuoteMeta(cmd.Name()))
		}
	}
	return regexp.MustCompile(`((?:^|[\s(])migrate)( (?:` + strings.Join(names, "|") + `)\b)`)
}

// hint has the commands in a hint name the state folder, if its flag named it:
// pasted without it they would act on another one.
func (g *globals) hint(text string) string {
	if g.offered == nil {
		return text
	}
	return g.offered.ReplaceAllString(text, "$1 --dir "+strings.ReplaceAll(orchestrator.Quoted(g.Dir), "$", "$$")+"$2")
}

// report says what happened, what state things are in and what comes next.
func (g *globals) report(err error) {
	var state, next string
	var p *orchestrator.Problem
	if errors.As(err, &p) {
		state, next = p.State, p.Next
	}
	if next == "" && errors.Is(err, store.ErrUnsuited) {
		next = "give an SQLite file with a table tasks(id text, assignee text, description text, done boolean) in UTF-8"
	}
	if next == "" && errors.Is(err, store.ErrStranger) {
		next = belongTogether
	}
	if next == "" && exitCode(err) == exitFailed {
		next = "migrate status shows what runs, migrate doctor looks for the cause"
	}
	message := g.hint(g.secrets.Text(err.Error()))
	state, next = g.secrets.Text(state), g.hint(g.secrets.Text(next))
	if g.JSON {
		_ = json.NewEncoder(g.err).Encode(map[string]any{"error": map[string]any{
			"code": exitCode(err), "message": message, "state": state, "next": next,
		}})
		return
	}
	fmt.Fprintf(g.err, "%s %s\n", g.paint(g.err, red, "migrate:"), fold(g.err, message, 9))
	if state != "" {
		fmt.Fprintf(g.err, "  now:  %s\n", fold(g.err, state, 8))
	}
	if next != "" {
		fmt.Fprintf(g.err, "  next: %s\n", fold(g.err, next, 8))
	}
}
