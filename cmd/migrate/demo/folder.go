package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"migrate/orchestrator"
	"migrate/orchestrator/process"
)

// marker tells a demonstration's folder from one that somebody uses, and what
// has become of the demonstration: while its process lives, it runs.
type marker struct {
	Demo        bool             `json:"demo"`
	Kept        bool             `json:"kept,omitempty"`   // everything goes on, as it was asked to
	Failed      bool             `json:"failed,omitempty"` // nothing runs any more; the rest is to be looked at
	AsPublished bool             `json:"as_published,omitempty"`
	Process     process.Identity `json:"process"`
	Since       time.Time        `json:"since"`
}

func (d *demo) markerPath() string { return filepath.Join(d.dir, "demo.json") }

func (d *demo) readMarker() (m marker, err error) {
	b, err := os.ReadFile(d.markerPath())
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil || !m.Demo {
		return m, problem(fmt.Errorf("%w: %s is damaged, or another demonstration begins just now", orchestrator.ErrUsage, d.markerPath()),
			"nothing was changed", "repeat the command, or choose another folder with --dir")
	}
	return m, nil
}

// claim takes the folder. What an earlier demonstration left there because it
// failed or was killed is ended and removed; what it was asked to keep is not
// touched, nor is one that runs.
func (d *demo) claim(ctx context.Context) error {
	switch m, err := d.readMarker(); {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.unused(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := d.succeed(ctx, m); err != nil {
			return err
		}
	}
	if err := d.Free(); err != nil {
		_ = os.Remove(d.dir) // nothing, unless it is empty
		return err
	}
	if err := os.MkdirAll(filepath.Join(d.dir, "data"), 0o700); err != nil {
		return err
	}
	return d.begin()
}

// unused refuses a folder that holds anything: it is removed in the end.
func (d *demo) unused(ctx context.Context) error {
	st, err := d.Orchestrator.Status(ctx)
	if err != nil {
		return err
	}
	refuse := func(what string) error {
		return problem(fmt.Errorf("%w: %s %s", orchestrator.ErrUsage, d.dir, what), "nothing was changed", "choose another folder with --dir")
	}
	if st.Databases != nil || len(st.Instances)+len(st.Daemons) > 0 {
		return refuse("is the state folder of a real migration")
	}
	found, err := os.ReadDir(d.dir)
	if len(found) > 0 {
		return refuse("is not empty, and a demonstration removes its folder in the end")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// succeed follows an earlier demonstration in its folder.
func (d *demo) succeed(ctx context.Context, m marker) error {
	switch {
	case m.Failed:
		d.say("an earlier demonstration failed: removing what it left to be looked at")
	case m.Kept:
		return problem(fmt.Errorf("%w: an earlier demonstration was kept in %s", orchestrator.ErrUsage, d.dir),
			"it goes on as it is", "migrate stop --all --yes --dir "+d.dir+" && rm -r "+d.dir)
	case m.Process.Alive():
		return problem(fmt.Errorf("%w: a demonstration is running in %s: process %d, since %s (%v ago)", orchestrator.ErrUsage,
			d.dir, m.Process.PID, m.Since.Format(time.TimeOnly), time.Since(m.Since).Round(time.Second)),
			"it goes on as it is", "wait for it, or choose another folder with --dir, and other ports")
	case m.AsPublished != d.AsPublished: // with another nginx
		return problem(fmt.Errorf("%w: an earlier demonstration of the other kind was cut off in %s", orchestrator.ErrUsage, d.dir),
			"what it left goes on as it is", "repeat that one, which ends it, or choose another folder with --dir")
	default:
		d.say("an earlier demonstration was cut off: ending what it left")
	}
	return d.cleanUp(ctx)
}

// begin marks the folder as this demonstration's; of two that begin at once,
// one is refused.
func (d *demo) begin() error {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return err
	}
	d.marker = marker{Demo: true, AsPublished: d.AsPublished, Process: self, Since: d.Scene.start}
	b, err := json.Marshal(d.marker)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.markerPath(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return problem(fmt.Errorf("%w: another demonstration has just begun in %s", orchestrator.ErrUsage, d.dir),
			"it goes on as it is", "choose another folder with --dir, and other ports")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// mark says for the next demonstration what has become of this one.
func (d *demo) mark(set func(*marker)) error {
	set(&d.marker)
	b, err := json.Marshal(d.marker)
	if err != nil {
		return err
	}
	return renameio.WriteFile(d.markerPath(), b, 0o600, renameio.WithTempDir(d.dir))
}

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
	case err == nil || interrupted || shown || !d.walking:
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
	return problem(err, "nothing runs any more; ledger, journal and logs stay in "+d.dir,
		d.look()+"; the next migrate demo removes the folder")
}

// keep leaves everything running.
func (d *demo) keep(err error) error {
	if marked := d.mark(func(m *marker) { m.Kept = true }); err == nil || marked != nil {
		return errors.Join(err, marked)
	}
	return problem(err, "everything that was started still runs; ledger, journal and logs are in "+d.dir,
		d.look()+fmt.Sprintf("; when you have seen enough: migrate stop --all --yes --dir %[1]s && rm -r %[1]s", d.dir))
}

// look says where to look for what went wrong.
func (d *demo) look() string {
	return fmt.Sprintf(`migrate history --dir %s; the writes that failed: grep '"why"' %s; what the service said: %s`,
		d.dir, d.ledger, filepath.Join(d.dir, "instances", "*", "log"))
}

// halt ends everything that was started.
func (d *demo) halt(ctx context.Context) error {
	_, err := d.Orchestrator.StopAll(ctx, orchestrator.StopOptions{Yes: true})
	err = errors.Join(err, d.Proxy.Stop(ctx))
	if d.StopMongo != nil {
		err = errors.Join(err, d.StopMongo(ctx))
	}
	return err
}

// cleanUp ends everything that was started and removes the folder.
func (d *demo) cleanUp(ctx context.Context) error {
	if err := d.halt(ctx); err != nil {
		return fmt.Errorf("clean up: %w", err) // the folder says what still runs
	}
	return os.RemoveAll(d.dir)
}

func problem(err error, state, next string) error {
	return &orchestrator.Problem{Err: err, State: state, Next: next}
}
