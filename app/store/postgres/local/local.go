// Package local runs a PostgreSQL server of one's own in a folder, on loopback
// alone: for the demonstration and for tests.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing: the server's programs are not on this machine.
var ErrMissing = errors.New("PostgreSQL's server is not installed (Debian and Ubuntu: apt-get install postgresql; its own cluster need not run)")

// superuser is the one of a server that is made here.
const superuser = "migrate"

// Config says what server to run.
type Config struct {
	Dir string // of all that the server keeps; it is made
	// Settings are those of postgresql.conf.
	Settings map[string]string
}

// Server is a server that runs as a child of this process, and ends with it.
type Server struct {
	dir, programs, password string
	port                    int
	settings                map[string]string
	owner                   *syscall.Credential // nil: of this process
	cmd                     *exec.Cmd
	ended                   <-chan error
}

// programs finds the folder of the server's programs, the greatest version first.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	return filepath.Dir(found[0]), nil
}

// Start makes a server in an empty folder, and returns once it takes connections.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.initialize(ctx); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

func prepare(cfg Config) (*Server, error) {
	s := &Server{dir: cfg.Dir, settings: maps.Clone(cfg.Settings), password: rand.Text()}
	var err error
	if s.programs, err = programs(); err != nil {
		return nil, err
	}
	if s.owner, err = ordinary(); err != nil {
		return nil, err
	}
	if err := ownedDir(s.dir, s.owner); err != nil {
		return nil, err
	}
	s.port, err = freePort()
	return s, err
}

// ownedDir makes a folder that is the owner's alone.
func ownedDir(path string, owner *syscall.Credential) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return give(path, owner)
}

// ownedFile writes a file that is the owner's alone.
func ownedFile(path, text string, owner *syscall.Credential) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return give(path, owner)
}

func give(path string, owner *syscall.Credential) error {
	if owner == nil {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// initialize makes the cluster. Its user's password is asked for over TCP.
func (s *Server) initialize(ctx context.Context) error {
	if _, err := os.Stat(s.data()); err == nil {
		return fmt.Errorf("%s holds a server already", s.dir)
	}
	secret := filepath.Join(s.dir, "password")
	if err := ownedFile(secret, s.password, s.owner); err != nil {
		return err
	}
	return errors.Join(s.run(ctx, "initdb", "-D", s.data(), "-U", superuser, "--pwfile", secret, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"), os.Remove(secret))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run runs one of the server's programs to its end.
func (s *Server) run(ctx context.Context, name string, args ...string) error {
	cmd := s.command(ctx, name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PGPASSWORD="+s.password)
	cmd.SysProcAttr = attributes(s.owner)
	return cmd
}

// start runs the server. It ends when this process does.
func (s *Server) start(ctx context.Context) error {
	args := []string{"-D", s.data()}
	settings := map[string]string{
		"port": strconv.Itoa(s.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
		"shared_buffers": "32MB", "log_line_prefix": "%m [%p] ", "cluster_name": "migrate",
	}
	maps.Copy(settings, s.settings)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	log, err := os.OpenFile(s.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	ended, err := launch(cmd)
	if err != nil {
		return err
	}
	s.cmd, s.ended = cmd, ended
	return s.await(ctx)
}

// launch starts a program that ends when this process does, and returns what tells
// of its end.
func launch(cmd *exec.Cmd) (<-chan error, error) {
	ended := make(chan error, 1)
	began := make(chan error)
	go func() { // the thread that starts it lives as long as it does: see attributes
		locked()
		err := cmd.Start()
		began <- err
		if err == nil {
			ended <- cmd.Wait()
			close(ended)
		}
	}()
	return ended, <-began
}

// await returns once the server takes connections.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URI("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(s.LogPath())
			return fmt.Errorf("the server has ended: %s", tail(string(text)))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the server takes no connection: %w", err), s.Stop("immediate"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail is the end of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// LogPath is that of the server's log.
func (s *Server) LogPath() string { return filepath.Join(s.dir, "log") }

// Put writes a file into the server's own folder, as pg_hba.conf.
func (s *Server) Put(name, text string) error {
	return ownedFile(filepath.Join(s.data(), name), text, s.owner)
}

// PID is that of the server's first process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// URI is the connection string of a database on the server, with its superuser.
func (s *Server) URI(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, s.password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Exec runs SQL in a database of the server.
func (s *Server) Exec(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, s.URI(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// Create makes an empty database.
func (s *Server) Create(ctx context.Context, database string) error {
	return s.Exec(ctx, "postgres", "create database "+pgx.Identifier{database}.Sanitize())
}

// Drop removes a database, and ends who uses it.
func (s *Server) Drop(ctx context.Context, database string) error {
	return s.Exec(ctx, "postgres", "drop database if exists "+pgx.Identifier{database}.Sanitize()+" with (force)")
}

// Stop ends the server: "fast" rolls back what is under way, and "immediate" is
// as if it had crashed.
func (s *Server) Stop(mode string) error {
	signal := map[string]os.Signal{"fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if signal == nil {
		return fmt.Errorf("local: no mode %q", mode)
	}
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = s.Continue() // one that is paused takes no other signal; an error: it has ended
	select {
	case <-s.ended:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the server did not end in 30 s and was killed"), s.cmd.Process.Kill())
	}
}

// Restart stops the server and starts it again on its port.
func (s *Server) Restart(ctx context.Context, mode string) error {
	if err := s.Stop(mode); err != nil {
		return err
	}
	return s.start(ctx)
}

// Pause stops each process of the server where it is, until [Server.Continue].
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Continue is the end of Pause.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT) }

// signal reaches the first process before its children, of which it makes no more
// then. Each of them is in a group of its own.
func (s *Server) signal(signal syscall.Signal) error {
	if err := s.cmd.Process.Signal(signal); err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.PID()))
	if err != nil {
		return err
	}
	for _, text := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// Standby makes a standby of the server in an empty folder and starts it. Where it
// is synchronous, the server acknowledges nothing from now on that the standby has
// not.
func (s *Server) Standby(ctx context.Context, dir string, synchronous bool) (*Server, error) {
	standby, err := prepare(Config{Dir: dir, Settings: s.settings})
	if err != nil {
		return nil, err
	}
	standby.password = s.password
	name := fmt.Sprintf("standby%d", standby.port)
	source := fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s application_name=%s", s.port, superuser, s.password, name)
	if err := s.run(ctx, "pg_basebackup", "-D", filepath.Join(dir, "data"), "-d", source, "-R", "-C", "-S", name, "-X", "stream", "--no-sync", "-c", "fast"); err != nil {
		return nil, err
	}
	if err := standby.start(ctx); err != nil || !synchronous {
		return standby, err
	}
	if err := s.Exec(ctx, "postgres", "alter system set synchronous_standby_names = '"+name+"'"); err != nil {
		return standby, err
	}
	if err := s.Exec(ctx, "postgres", "select pg_reload_conf()"); err != nil {
		return standby, err
	}
	return standby, s.synchronized(ctx, name)
}

// synchronized waits until the server waits for the standby.
func (s *Server) synchronized(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, s.URI("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		var there bool
		if err := conn.QueryRow(ctx, `select exists (select from pg_stat_replication where application_name = $1 and sync_state = 'sync')`, name).Scan(&there); err != nil || there {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Promote has a standby take writes. It waits for no standby of its own.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.Exec(ctx, "postgres", "select pg_promote(true, 60)"); err != nil {
		return err
	}
	if err := s.Exec(ctx, "postgres", "alter system set synchronous_standby_names = ''"); err != nil {
		return err
	}
	return s.Exec(ctx, "postgres", "select pg_reload_conf()")
}

// Port is that on which the server listens. TakePort has it listen on another one
// once it is started again.
func (s *Server) Port() int { return s.port }

// TakePort has the server listen on this port once it is started again.
func (s *Server) TakePort(port int) { s.port = port }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
