// Package doctor looks at a machine, a state folder and its databases, and
// says of each thing whether it is as it should be and, if not, what helps. It
// changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

// Verdict is what a check found.
type Verdict string

// The verdicts. Only Fail makes a bad answer of the whole.
const (
	OK   Verdict = "ok"
	Note Verdict = "note" // not there yet, or worth knowing
	Fail Verdict = "fail"
)

// Check is one thing that was looked at.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Remedy  string  `json:"remedy,omitempty"`
}

// Config is what to look at.
type Config struct {
	Orchestrator *orchestrator.Orchestrator
	Proxy        *nginx.Server
	Databases    app.Databases
	Remembered   bool   // the databases are those of the first spawn
	Named        bool   // a flag or a variable names one
	Embedded     string // address of the embedded server; empty: it is not used
	MongoDaemon  string // its name

	Remedy func(text string) string // of an error of the new database; empty if none is known
}

// Failed reports whether anything is not as it should be.
func Failed(checks []Check) bool {
	for _, c := range checks {
		if c.Verdict == Fail {
			return true
		}
	}
	return false
}

// Run makes every check, also past one that fails.
func Run(ctx context.Context, cfg Config) ([]Check, error) {
	st, err := cfg.Orchestrator.Status(ctx)
	if err != nil {
		return nil, err
	}
	x := &examination{Config: cfg, status: st}
	x.folder()
	x.space()
	x.operation()
	x.nginx(ctx)
	x.ports()
	x.instances()
	x.idle(ctx)
	x.databases(ctx)
	return x.checks, nil
}

// examination is a run at work.
type examination struct {
	Config
	status orchestrator.Status
	checks []Check
}

func (x *examination) ok(name, format string, args ...any) {
	x.checks = append(x.checks, Check{Name: name, Verdict: OK, Detail: fmt.Sprintf(format, args...)})
}

func (x *examination) note(name, remedy, format string, args ...any) {
	x.checks = append(x.checks, Check{Name: name, Verdict: Note, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (x *examination) fail(name, remedy, format string, args ...any) {
	x.checks = append(x.checks, Check{Name: name, Verdict: Fail, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
}

// folder: nobody else may read what is in the state folder, or write to it.
func (x *examination) folder() {
	const name = "state folder"
	dir := x.status.Dir
	if !there(dir) {
		x.note(name, "nothing: the first command that starts something makes it", "%s is not there yet", dir)
		return
	}
	if err := nginx.Writable(dir); errors.Is(err, fs.ErrPermission) {
		x.note(name, "run migrate as the folder's owner to change anything", "this user may only look at %s", dir)
		return
	} else if err != nil {
		x.fail(name, "make it writable, or choose another --dir", "nothing can be written: %v", err)
		return
	}
	private := map[string]os.FileMode{
		dir: 0o077, filepath.Join(dir, "state.json"): 0o077, filepath.Join(dir, "journal.jsonl"): 0o077,
		filepath.Join(dir, "lock"): 0o077, filepath.Join(dir, "instances"): 0o077,
	}
	for _, path := range []string{dir, "state.json", "journal.jsonl", "lock", "instances"} {
		if path != dir {
			path = filepath.Join(dir, path)
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			x.fail(name, "make it readable for this user", "%v", err)
			return
		}
		if open := info.Mode().Perm() & private[path]; open != 0 {
			x.fail(name, fmt.Sprintf("chmod go= %q", path), "others may use %s (mode %04o)", path, info.Mode().Perm())
			return
		}
	}
	x.ok(name, "%s is ours alone", dir)
}

// operation: nothing that was begun is left for the next command to settle.
func (x *examination) operation() {
	const name = "operation"
	switch h, u := x.status.Holder, x.status.Unfinished; {
	case h != nil:
		x.note(name, "wait for it with --lock-wait 1m", "%q of %s is at work since %s", h.Command, h.Who, h.Since.Local().Format("15:04:05"))
	case u != nil:
		x.fail(name, "run migrate status; the next command that moves anything settles it first",
			"%q of %s was cut off in phase %q", u.Command, u.Who, u.Last.Phase)
	default:
		x.ok(name, "none is unfinished")
	}
}

// ports: those that the next instances will want are not somebody else's.
func (x *examination) ports() {
	const name = "ports"
	cfg := x.Proxy.Config()
	ours := map[int]bool{}
	for _, i := range x.status.Instances {
		ours[i.Port] = i.Running
	}
	var taken []int
	free := 0
	for port := cfg.FirstPort; port < cfg.FirstPort+cfg.Ports; port++ {
		switch {
		case ours[port]:
		case bindable(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))):
			free++
		default:
			taken = append(taken, port)
		}
	}
	last := cfg.FirstPort + cfg.Ports - 1
	switch {
	case free < 2:
		x.fail(name, "end the programs that have them, or choose others with --first-port", "of %d to %d only %d are free", cfg.FirstPort, last, free)
	case len(taken) > 0:
		x.note(name, "nothing: spawn leaves them out", "of %d to %d other programs have %v", cfg.FirstPort, last, taken)
	default:
		x.ok(name, "%d to %d are free or ours", cfg.FirstPort, last)
	}
}

func bindable(address string) bool {
	l, err := net.Listen("tcp", address)
	return err == nil && l.Close() == nil
}

// instances: what should run does, and is ready.
func (x *examination) instances() {
	const name = "instances"
	bad := false
	for _, i := range x.status.Instances {
		again := fmt.Sprintf("see %s; %s starts another, migrate switch moves to it", i.Log,
			orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", i.Step), i.Own))
		switch {
		case !i.Running && i.Role == orchestrator.RoleDead:
			continue
		case !i.Running:
			x.fail(name, again, "the %s one, step %d on port %d, has ended", i.Role, i.Step, i.Port)
		case !i.Ready:
			x.fail(name, again, "the %s one, step %d on port %d, is not ready: %s", i.Role, i.Step, i.Port, i.Reason)
		case i.Told != nil && i.Told.Degraded != "":
			x.note(name, "mend what it names; what is pending is sent after that", "step %d on port %d: %s", i.Step, i.Port, i.Told.Degraded)
		default:
			continue
		}
		bad = true
	}
	switch {
	case bad:
	case len(x.status.Instances) == 0:
		next := "migrate spawn --step 1, or migrate advance"
		if own, err := x.Orchestrator.Own(0); err == nil && len(own) > 0 {
			next = orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", max(1, x.step())), own)
		}
		x.note(name, next, "none runs")
	default:
		x.ok(name, "all are ready")
	}
}
