package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// build is a built program.
type build struct {
	name   string // in tables
	path   string
	commit string
}

func (b build) usable() error {
	if b.path == "" {
		return errors.New("no build was given; run scripts/bench.sh, which makes both")
	}
	_, err := os.Stat(b.path)
	return err
}

const (
	perSite     = 40               // ports in a row: 32 instances, nginx, the embedded server
	commandTime = 4 * time.Minute  // that a command may take
	settleTime  = 90 * time.Second // that a site may take until all is well again
)

// site is one build at work: a state folder, nginx, the embedded server and
// instances, on free ports of 127.0.0.1.
type site struct {
	build
	bench *bench
	dir   string
	first int
	relay string // address of what stands before nginx; usually nothing
	turns int    // so far, of a measurement that begins them differently
}

// open makes a site with nginx and the embedded server running.
func (b *bench) open(ctx context.Context, of build) (*site, error) {
	first, err := freePorts(perSite)
	if err != nil {
		return nil, err
	}
	s := &site{build: of, bench: b, first: first, dir: filepath.Join(b.dir, fmt.Sprintf("%d-%s", len(b.sites), of.name))}
	b.sites = append(b.sites, s)
	for _, part := range []string{"mongo", "nginx"} {
		if _, err := s.must(ctx, part, "start"); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openBoth makes a site of each build, the baseline first.
func (b *bench) openBoth(ctx context.Context) (*pair, error) {
	base, err := b.open(ctx, b.baseline)
	if err != nil {
		return nil, err
	}
	now, err := b.open(ctx, b.present)
	if err != nil {
		return nil, err
	}
	return &pair{base, now}, nil
}

// pair is a site of each build.
type pair struct{ base, now *site }

// both does the same on each, the baseline first.
func (p *pair) both(do func(*site) error) error {
	for _, s := range []*site{p.base, p.now} {
		if err := do(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// close ends all sites, by their commands and then by process number, and
// removes their folders.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	for _, pid := range processesOf(b.dir) {
		_ = syscall.Kill(pid, syscall.SIGCONT) // one that a measurement has stopped
	}
	var failed []error
	for _, s := range b.sites {
		failed = append(failed, s.stop(ctx))
	}
	b.sites = nil
	endAll(b.dir)
	return errors.Join(append(failed, os.RemoveAll(b.dir))...)
}

// stop ends a site, if it was ever begun. Its data stays.
func (s *site) stop(ctx context.Context) error {
	if _, err := os.Stat(s.dir); err != nil {
		return nil
	}
	_, err := s.must(ctx, "stop", "--all", "--yes")
	return err
}

// outcome is what a command did.
type outcome struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// run runs the program. The error says that it could not be run, not that it
// failed.
func (s *site) run(ctx context.Context, args ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.path, args...)
	cmd.Env = s.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the harness, which cleans up
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	o := outcome{out.String(), errs.String(), -1, time.Since(began)}
	if cmd.ProcessState != nil {
		o.code = cmd.ProcessState.ExitCode()
	}
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return o, fmt.Errorf("migrate %s: %w after %v", strings.Join(args, " "), ctx.Err(), o.took.Round(time.Second))
	}
	if err != nil && !errors.As(err, &exit) {
		return o, fmt.Errorf("migrate %s: %w", strings.Join(args, " "), err)
	}
	return o, nil
}

// must runs the program and wants exit code 0.
func (s *site) must(ctx context.Context, args ...string) (outcome, error) {
	o, err := s.run(ctx, args...)
	if err == nil && o.code != 0 {
		err = fmt.Errorf("migrate %s of %s: exit %d\n%s%s", strings.Join(args, " "), s.name, o.code, o.stdout, o.stderr)
	}
	return o, err
}

// json runs the program with --json and decodes its answer.
func (s *site) json(ctx context.Context, into any, args ...string) error {
	o, err := s.must(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(o.stdout), into)
}

// environment is this program's, without what could lead a build elsewhere.
func (s *site) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MIGRATE_") || strings.HasPrefix(v, "MIGRATE_NGINX=") {
			env = append(env, v)
		}
	}
	return append(env,
		"MIGRATE_DIR="+s.dir,
		"MIGRATE_SQLITE="+s.old(),
		fmt.Sprintf("MIGRATE_FIRST_PORT=%d", s.first),
		fmt.Sprintf("MIGRATE_NGINX_LISTEN=%s", s.address()),
		fmt.Sprintf("MIGRATE_MONGO_LISTEN=127.0.0.1:%d", s.first+perSite-1))
}

// address is where nginx listens.
func (s *site) address() string { return fmt.Sprintf("127.0.0.1:%d", s.first+perSite-2) }

// entrance is where clients connect: to nginx, or to a relay before it.
func (s *site) entrance() string { return cmp.Or(s.relay, s.address()) }

// through is the same site behind a relay.
func (s *site) through(r *relaying) *site {
	other := *s
	other.relay = r.address()
	return &other
}

// old is the file of the old database.
func (s *site) old() string { return s.dir + ".sqlite" }

// advance walks to a step, with backfill and verify where a gate asks for them.
func (s *site) advance(ctx context.Context, step int) error {
	_, err := s.must(ctx, "advance", "--until", fmt.Sprint(step), "--backfill", "--create")
	return err
}

// status is what the command of that name says of a site.
type status struct {
	Live, Fallback int
	Instances      []struct {
		Port    int
		Step    int
		Running bool
		Ready   bool
		Status  struct {
			Primary  string
			Pending  int64
			Degraded string
		}
	}
}

// settled waits until both instances are ready and nothing is pending.
func (s *site) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		var st status
		if err := s.json(ctx, &st, "status"); err != nil {
			return err
		}
		well := len(st.Instances) > 0
		for _, i := range st.Instances {
			well = well && i.Ready && i.Status.Pending == 0 && i.Status.Degraded == ""
		}
		if well {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not settle: %+v", s.name, st)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// server is the process number of the embedded server.
func (s *site) server(ctx context.Context) (int, error) {
	var st struct{ PID int }
	err := s.json(ctx, &st, "mongo", "status")
	if err == nil && st.PID == 0 {
		err = errors.New("the embedded server does not run")
	}
	return st.PID, err
}

// freePorts finds n ports in a row that nobody listens on.
func freePorts(n int) (int, error) {
	for range 200 {
		if first := 10000 + rand.IntN(20000-n); free(first, n) {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", n)
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer listener.Close()
	}
	return true
}
