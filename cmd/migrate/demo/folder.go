package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

// end leaves the folder as the outcome wants it, and says how to go on from
// there: running if it is to be kept, gone if there is nothing to look at, and
// else with everything stopped and the traces in place.
func (d *demo) end(ctx context.Context, err error) error {
	shown := errors.Is(err, ErrDiffers) || errors.Is(err, ErrFailed)
	interrupted := ctx.Err() != nil && err != nil && !shown
	shown = shown && d.AsPublished // what that is there for
	ctx = context.WithoutCancel(ctx)
	d.Scene.close()
	switch {
	case d.Keep && !interrupted && d.walking:
		return d.keep(err)
	case err == nil || interrupted || shown || d.unprepared(err):
		d.say("cleaning up")
		cleaned := d.cleanUp(ctx)
		switch {
		case err == nil || cleaned != nil:
		case interrupted: // whatever that has made fail
			err = problem(fmt.Errorf("interrupted: %v", err), "everything is stopped and removed", "migrate demo")
		case shown:
			err = problem(err, "this is what it was to show; everything is stopped and removed", "docs/as-published.md says why; migrate demo walks without a loss")
		}
		return errors.Join(err, cleaned)
	}
	d.say("stopping everything")
	if halted := errors.Join(d.halt(ctx), d.mark(func(m *marker) { m.Failed = true })); halted != nil {
		return errors.Join(err, halted)
	}
	return problem(err, "nothing runs any more; what it left stays in "+d.dir,
		strings.Join(append(d.look(), "the next migrate demo removes it"), "; "))
}

// unprepared: it could not begin for a reason that no log says more about.
func (d *demo) unprepared(err error) bool {
	return !d.walking && (errors.Is(err, nginx.ErrNotInstalled) || errors.Is(err, orchestrator.ErrUsage))
}

// keep leaves everything running.
func (d *demo) keep(err error) error {
	if marked := d.mark(func(m *marker) { m.Kept = true }); err == nil || marked != nil {
		return errors.Join(err, marked)
	}
	return problem(err, "everything that was started still runs; what it wrote is in "+d.dir,
		strings.Join(append(d.look(), "when you have seen enough: "+d.endAll()), "; "))
}

// look says where to look for what went wrong, as far as there is anything.
func (d *demo) look() (where []string) {
	dir := orchestrator.Quoted(d.dir)
	for _, at := range []struct{ files, command string }{
		{"journal.jsonl", "migrate history --dir " + dir},
		{"ledger.jsonl", `the writes that failed: grep '"why"' ` + orchestrator.Quoted(d.ledger)},
		{"instances/*/log", "what the service said: " + dir + "/instances/*/log"},
		{"data/*/log", "what the embedded server said: " + dir + "/data/*/log"},
		{"nginx*/logs/error.log", "what nginx said: " + dir + "/nginx*/logs/error.log"},
	} {
		if names, err := fs.Glob(os.DirFS(d.dir), at.files); err == nil && len(names) > 0 {
			where = append(where, at.command)
		}
	}
	return where
}

// halt ends everything that was started.
func (d *demo) halt(ctx context.Context) error {
	_, err := d.Orchestrator.StopAll(ctx, orchestrator.StopOptions{Yes: true})
	return errors.Join(err, d.Proxy.Stop(ctx), d.StopMongo(ctx))
}

// cleanUp ends everything that was started and makes the folder empty. The
// marker goes last: whatever is cut off, the next demonstration goes on with it.
func (d *demo) cleanUp(ctx context.Context) error {
	if err := d.halt(ctx); err != nil {
		return fmt.Errorf("clean up: %w", err) // the folder says what still runs
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != markerName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(d.markerPath())
}

func problem(err error, state, next string) error {
	return &orchestrator.Problem{Err: err, State: state, Next: next}
}
