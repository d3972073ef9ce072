package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/orchestrator/process"
)

// A process may leave the session that it was started in: it has become a
// daemon. Nothing here can end it, or tell that it is the service; it is named,
// with its number, wherever it is in the way.

// errDaemon: the service has left the session that it was started in.
var errDaemon = errors.New("the service has turned itself into a daemon")

// leftWait bounds how long a port is watched for one after a good exit.
const leftWait = time.Second

// over says how an instance ended that should go on; nil while anything of it
// runs.
func (op *operation) over(ctx context.Context, i Instance) error {
	how, exited := process.Exited(i.Process)
	if how != "" { // told once, and others of it may go on
		op.exit = " (" + how + ")"
	}
	if !exited || i.Process.Runs() {
		return nil
	}
	how = op.exit
	if l, found := op.left(ctx, i, how); found {
		return fmt.Errorf("%w: %w: the command for port %d has ended%s, and %v, which is outside its session now, listens there",
			ErrNotReady, errDaemon, i.Port, how, l)
	}
	return fmt.Errorf("%w: the instance on port %d ended%s before it was ready; the last of %s:\n%s",
		ErrNotReady, i.Port, how, i.Log, redact.Text(process.Tail(i.Log, logLines)))
}

// left finds the daemon that an instance has left on its port, which was free
// before. One may need a moment.
func (op *operation) left(ctx context.Context, i Instance, how string) (l process.Listener, found bool) {
	ctx, cancel := context.WithTimeout(ctx, leftWait)
	defer cancel()
	for bindable(i.Port) == nil {
		if !strings.Contains(how, "exit status 0") || !sleep(ctx, readyPoll) {
			return l, false
		}
	}
	return process.FindListener(context.WithoutCancel(ctx), i.Port)
}

// checkLeft refuses to say that an instance was ended while a daemon of its
// service goes on to serve on its port.
func (op *operation) checkLeft(ctx context.Context, i Instance, ran bool) error {
	if bindable(i.Port) == nil {
		return nil
	}
	l, found := process.FindListener(ctx, i.Port)
	if !found {
		return nil
	}
	if process.Has(l.PID, envInstance+"="+op.o.instanceMark(i.Port)) {
		return problem(fmt.Errorf("%w: what was started for port %d has ended, but %v, which has left its session, goes on to serve there", errDaemon, i.Port, l),
			fmt.Sprintf("%v still runs", l), fmt.Sprintf("kill %d, then repeat the command; next time have the service stay in the foreground", l.PID))
	}
	if ran {
		op.warn("the instance on port %d has ended, but %v listens there: if it belongs to the service, end it with kill %d", i.Port, l, l.PID)
	}
	return nil
}
