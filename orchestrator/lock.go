package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"migrate.invalid/migrate/orchestrator/process"
)

// Holder says who holds, or last held, the lock.
type Holder struct {
	Who     string           `json:"who"`
	Process process.Identity `json:"process"`
	Command string           `json:"command"`
	Since   time.Time        `json:"since"`
}

func (o *Orchestrator) lockPath() string { return filepath.Join(o.cfg.Dir, "lock") }

// lock takes the state folder's lock, which the system lets go of when its
// holder dies.
func (o *Orchestrator) lock(ctx context.Context, command string) (unlock func(), err error) {
	if err := os.MkdirAll(o.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	f := flock.New(o.lockPath(), flock.SetPermissions(0o600))
	if err := o.take(ctx, f); err != nil {
		return nil, err
	}
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// The lock is the file's, whatever is in it: this is only for whoever is refused.
	b, err := json.Marshal(Holder{Who: o.who, Process: self, Command: command, Since: time.Now()})
	if err == nil {
		err = o.withRoom(func() error { return os.WriteFile(o.lockPath(), append(b, '\n'), 0o600) })
	}
	if err == nil {
		err = handOver(o.lockPath())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write who holds the lock: %w", err), f.Close())
	}
	return func() {
		_ = os.Truncate(o.lockPath(), 0)
		_ = f.Close()
	}, nil
}

// take takes the lock, within the time that is allowed for that, or closes the file.
func (o *Orchestrator) take(ctx context.Context, f *flock.Flock) error {
	held, err := f.TryLock()
	if err == nil && !held && o.cfg.LockWait > 0 {
		wait, cancel := context.WithTimeout(ctx, o.cfg.LockWait)
		defer cancel()
		held, err = f.TryLockContext(wait, 50*time.Millisecond)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = nil
		}
	}
	if err == nil && !held {
		err = o.lockRefused()
	} else if err != nil {
		err = fmt.Errorf("lock %s: %w", o.lockPath(), err)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// lockDry keeps other commands out while a dry run looks, and writes nothing.
// Where no command has ever worked there is nobody to keep out.
func (o *Orchestrator) lockDry(ctx context.Context) (unlock func(), err error) {
	if !exists(o.lockPath()) {
		return func() {}, nil
	}
	f := flock.New(o.lockPath(), flock.SetFlag(os.O_RDONLY))
	if err := o.take(ctx, f); err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func (o *Orchestrator) lockRefused() error {
	h, ok := o.readHolder()
	if !ok {
		return problem(fmt.Errorf("%w by another command", ErrLocked), nothingChanged, "migrate status")
	}
	return problem(fmt.Errorf("%w by %s, process %d, %q, since %s (%v ago)", ErrLocked, h.Who, h.Process.PID, h.Command,
		h.Since.Format(time.RFC3339), time.Since(h.Since).Round(time.Second)),
		nothingChanged, "wait for it with --lock-wait 1m")
}

// readHolder reads who wrote itself down; it may be gone by now.
func (o *Orchestrator) readHolder() (h Holder, ok bool) {
	b, err := os.ReadFile(o.lockPath())
	if err != nil || json.Unmarshal(b, &h) != nil {
		return Holder{}, false
	}
	return h, true
}
