package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"migrate.invalid/migrate/orchestrator"
	"migrate.invalid/migrate/orchestrator/process"
)

// marker tells a demonstration's folder from one that somebody uses, and what
// has become of the demonstration: while its process lives, it runs.
type marker struct {
	Demo        bool             `json:"demo"`
	Found       bool             `json:"found,omitempty"`  // the folder, empty: it stays, empty
	Kept        bool             `json:"kept,omitempty"`   // everything goes on, as it was asked to
	Failed      bool             `json:"failed,omitempty"` // nothing runs any more; the rest is to be looked at
	AsPublished bool             `json:"as_published,omitempty"`
	Process     process.Identity `json:"process"`
	Since       time.Time        `json:"since"`
}

const markerName = "demo.json"

func (d *demo) markerPath() string { return filepath.Join(d.dir, markerName) }

func (d *demo) readMarker() (m marker, err error) {
	b, err := os.ReadFile(d.markerPath())
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil || !m.Demo {
		return m, problem(fmt.Errorf("%w: %s is damaged", orchestrator.ErrUsage, d.markerPath()),
			"nothing was changed", d.endAll()+"; or choose another folder with --dir")
	}
	return m, nil
}

// endAll is what ends and removes a demonstration by hand.
func (d *demo) endAll() string {
	dir := orchestrator.Quoted(d.dir)
	return fmt.Sprintf("migrate stop --all --yes --dir %s && rm -r %[1]s", dir)
}

// claim takes the folder. What an earlier demonstration left there because it
// failed or was killed is ended and removed; what it was asked to keep is not
// touched, nor is one that runs.
func (d *demo) claim(ctx context.Context) error {
	if err := d.hold(); err != nil {
		return err
	}
	err := d.follow(ctx)
	if err == nil {
		err = d.Free()
	}
	if err == nil {
		err = d.begin()
	}
	if err != nil {
		d.leave()
	}
	return err
}

// hold keeps other demonstrations out of the folder until this process lets go
// of it or dies. The folder itself is locked, not a file in it: those go.
func (d *demo) hold() error {
	if err := os.MkdirAll(filepath.Dir(d.dir), 0o700); err != nil {
		return err
	}
	err := os.Mkdir(d.dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d.marker.Found = err != nil
	d.held = flock.New(d.dir, flock.SetFlag(os.O_RDONLY))
	held, err := d.held.TryLock()
	if held && !d.still() { // the one that held it has removed it meanwhile
		held, err = false, d.held.Close()
	}
	if held || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m, err := d.readMarker(); err == nil && m.Process.Alive() && !m.Kept {
		return d.runs(m)
	}
	return problem(fmt.Errorf("%w: another demonstration begins or ends in %s just now", orchestrator.ErrUsage, d.dir),
		"it goes on as it is", "repeat the command, or choose another folder with --dir, and other ports")
}

// still tells whether what is held is what has the folder's name now.
func (d *demo) still() bool {
	locked, err := d.held.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(d.dir)
	return err == nil && os.SameFile(locked, named)
}

// leave lets go of the folder, which must be empty to be removed, and never is
// if it was there before.
func (d *demo) leave() {
	if !d.marker.Found {
		_ = os.Remove(d.dir) // nothing, unless it is empty
	}
	_ = d.held.Close()
}

// follow looks at what is in the folder, and makes it empty where that is right.
func (d *demo) follow(ctx context.Context) error {
	m, err := d.readMarker()
	if errors.Is(err, fs.ErrNotExist) {
		return d.unused(ctx)
	}
	if err != nil {
		return err
	}
	return d.succeed(ctx, m)
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
	found = slices.DeleteFunc(found, func(e fs.DirEntry) bool { // of one killed while it wrote its marker
		return strings.HasPrefix(e.Name(), "."+markerName)
	})
	if len(found) > 0 {
		return refuse("is not empty, and a demonstration removes what is in its folder in the end")
	}
	return err
}

// succeed follows an earlier demonstration in its folder.
func (d *demo) succeed(ctx context.Context, m marker) error {
	switch {
	case m.Failed:
		d.say("an earlier demonstration failed: removing what it left to be looked at")
	case m.Kept:
		return d.wasKept(ctx)
	case m.Process.Alive():
		return d.runs(m)
	case m.AsPublished != d.AsPublished: // with another nginx
		return problem(fmt.Errorf("%w: an earlier demonstration of the other kind was cut off in %s", orchestrator.ErrUsage, d.dir),
			"what it left goes on as it is", "repeat that one, which ends it, or choose another folder with --dir")
	default:
		d.say("an earlier demonstration was cut off: ending what it left")
	}
	d.marker.Found = m.Found
	return d.cleanUp(ctx)
}

func (d *demo) runs(m marker) error {
	return problem(fmt.Errorf("%w: a demonstration is running in %s: process %d, since %s (%v ago)", orchestrator.ErrUsage,
		d.dir, m.Process.PID, m.Since.Format(time.TimeOnly), time.Since(m.Since).Round(time.Second)),
		"it goes on as it is", "wait for it, or choose another folder with --dir, and other ports")
}

// wasKept refuses the folder of one that was to be kept, even if it was
// stopped since: nobody but who kept it knows what it is still good for.
func (d *demo) wasKept(ctx context.Context) error {
	st, err := d.Orchestrator.Status(ctx)
	if err != nil {
		return err
	}
	state, remedy := "it is stopped", "rm -r "+orchestrator.Quoted(d.dir)
	if st.Served != nil && st.Served.Live != 0 ||
		slices.ContainsFunc(st.Instances, func(i orchestrator.InstanceStatus) bool { return i.Running }) ||
		slices.ContainsFunc(st.Daemons, func(v orchestrator.DaemonView) bool { return v.Running }) {
		state, remedy = "it goes on as it is", d.endAll()
	}
	return problem(fmt.Errorf("%w: an earlier demonstration was kept in %s", orchestrator.ErrUsage, d.dir), state, remedy)
}

// begin marks the folder as this demonstration's, before anything else is in it.
func (d *demo) begin() error {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return err
	}
	err = d.mark(func(m *marker) {
		m.Demo, m.AsPublished, m.Process, m.Since = true, d.AsPublished, self, d.Scene.start
	})
	if err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(d.dir, "data"), 0o700)
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
