package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrNoBouncer: PgBouncer is not on this machine.
var ErrNoBouncer = errors.New("PgBouncer is not installed (Debian and Ubuntu: apt-get install pgbouncer; its own service need not run)")

// Bouncer is a PgBouncer that runs as a child of this process, and ends with it.
type Bouncer struct {
	port  int
	cmd   *exec.Cmd
	ended <-chan error
}

// Bounce runs a PgBouncer before the server, in a folder that it makes. The mode is
// that of its pools: session, transaction or statement. It lets a client in under
// any name, and speaks to the server as the server's superuser.
func (s *Server) Bounce(ctx context.Context, dir, mode string) (*Bouncer, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it: not in every user's PATH
		if _, err := os.Stat(program); err != nil {
			return nil, ErrNoBouncer
		}
	}
	if err := ownedDir(dir, s.owner); err != nil {
		return nil, err
	}
	b := &Bouncer{}
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	// Few sessions, so that clients share them.
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = 12
max_client_conn = 500
logfile = %s
`, s.port, superuser, s.password, b.port, mode, filepath.Join(dir, "log"))
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := ownedFile(file, text, s.owner); err != nil {
		return nil, err
	}
	b.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, "-q", file)
	b.cmd.Dir = dir
	b.cmd.SysProcAttr = attributes(s.owner)
	if b.ended, err = launch(b.cmd); err != nil {
		return nil, err
	}
	return b, b.await(ctx, dir)
}

// await returns once it takes connections.
func (b *Bouncer) await(ctx context.Context, dir string) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.address())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-b.ended:
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("PgBouncer has ended: %s", tail(string(text)))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), b.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *Bouncer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// URI leads a connection string of the server through the pooler.
func (b *Bouncer) URI(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Host = b.address()
	return u.String(), nil
}

// Stop ends it at once.
func (b *Bouncer) Stop() error {
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.ended:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("PgBouncer did not end in 10 s and was killed"), b.cmd.Process.Kill())
	}
}
