package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

// Listener is a process that listens on a port.
type Listener struct {
	PID  int
	Name string // of its program
}

// String names the process.
func (l Listener) String() string { return fmt.Sprintf("process %d (%s)", l.PID, l.Name) }

// listenerWait bounds the look at all sockets of the machine.
const listenerWait = 5 * time.Second

// FindListener returns the process that listens on a TCP port of this machine.
// There is none when the port is free, or this user may not see whose it is.
func FindListener(ctx context.Context, port int) (l Listener, found bool) {
	ctx, cancel := context.WithTimeout(ctx, listenerWait)
	defer cancel()
	all, err := net.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return l, false
	}
	for _, c := range all {
		if c.Status != "LISTEN" || int(c.Laddr.Port) != port || c.Pid == 0 || int(c.Pid) == os.Getpid() {
			continue
		}
		l = Listener{PID: int(c.Pid), Name: "unknown program"}
		if p, err := process.NewProcessWithContext(ctx, c.Pid); err == nil {
			if name, err := p.NameWithContext(ctx); err == nil && name != "" {
				l.Name = name
			}
		}
		return l, true
	}
	return l, false
}
