package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/embeddedmongo"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

const mongoDaemon = "mongo"

func newMongoCmd(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "mongo",
		Short: "The embedded MongoDB-compatible server, to try things out",
		Long: `The embedded MongoDB-compatible server, for trying things out: FerretDB over
SQLite files, one command at a time. It outlives the command that starts it. For
anything else use a real MongoDB and say where it is with --new.`,
	})
	var listen, serveOn string
	var dryRun, yes bool
	start := &cobra.Command{
		Use: "start", Short: "Start the embedded server, detached", Example: "  migrate mongo start\n  migrate mongo start --mongo-listen 127.0.0.1:27018", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMongoStart(cmd.Context(), g, listen, dryRun) },
	}
	start.Flags().StringVar(&listen, "mongo-listen", "", "`address` to listen on (default: where it was before, at first "+defaultMongo+")")
	serve := &cobra.Command{
		Use: "serve", Example: "  migrate mongo serve", Short: "Run the embedded server in the foreground", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMongoServe(cmd.Context(), g, serveOn) },
	}
	serve.Flags().StringVar(&serveOn, "mongo-listen", defaultMongo, "`address` to listen on")
	stop := &cobra.Command{
		Use: "stop", Example: "  migrate mongo stop", Short: "Stop the embedded server; its data stays", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMongoStop(cmd.Context(), g, dryRun, yes) },
	}
	stop.Flags().BoolVarP(&yes, "yes", "y", false, "even while the active instance can't do without it")
	for _, cmd := range []*cobra.Command{start, stop} {
		cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list each action, and do nothing")
	}
	cmd.AddCommand(start, ends(serve, endsTerminal), stop,
		&cobra.Command{
			Use: "status", Example: "  migrate mongo status", Short: "Say whether the embedded server answers; exits 3 if not", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return runMongoStatus(cmd.Context(), g) },
		})
	return cmd
}

// mongoAnswer says where the embedded server is.
type mongoAnswer struct {
	Running bool   `json:"running"`
	URI     string `json:"uri,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Log     string `json:"log,omitempty"`
}

func (g *globals) answerMongo(a mongoAnswer) error {
	return g.answer(a, func(w io.Writer) {
		if !a.Running {
			fmt.Fprintln(w, g.hint("The embedded server does not run. Next: migrate mongo start"))
			return
		}
		fmt.Fprintf(w, "The embedded server runs at %s (process %d, log %s)\n", a.URI, a.PID, a.Log)
	})
}

func mongoDir(g *globals) (string, error) {
	dir, err := nginx.RealPath(g.Dir)
	return filepath.Join(dir, "data", "mongo"), err
}

// listenOf is the address that the daemon was started with.
func listenOf(d orchestrator.Daemon) string {
	if i := slices.Index(d.Args, "--mongo-listen"); i >= 0 && i+1 < len(d.Args) {
		return d.Args[i+1]
	}
	return defaultMongo
}

// embeddedURI is where the embedded server is, was last, or would be.
func embeddedURI(o *orchestrator.Orchestrator) (string, error) {
	address, err := embeddedAddress(o)
	return "mongodb://" + address + "/", err
}

func embeddedAddress(o *orchestrator.Orchestrator) (string, error) {
	d, _, err := o.DaemonStatus(mongoDaemon)
	if err != nil || d.Name != "" {
		return listenOf(d), err
	}
	b, err := os.ReadFile(listenFile(o))
	if errors.Is(err, fs.ErrNotExist) {
		return defaultMongo, nil
	}
	return strings.TrimSpace(string(b)), err
}

// listenFile keeps the embedded server's address while it is stopped.
func listenFile(o *orchestrator.Orchestrator) string {
	return filepath.Join(o.Dir(), "data", mongoDaemon, "listen")
}

func runMongoStart(ctx context.Context, g *globals, listen string, dry bool) error {
	o, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	if listen == "" {
		if listen, err = rememberedListen(o); err != nil {
			return err
		}
	}
	if dry {
		return g.planMongoStart(o, listen)
	}
	a, err := g.startMongo(ctx, o, listen)
	if err != nil {
		return err
	}
	g.keepLogs(ctx, o)
	return g.answerMongo(a)
}

func (g *globals) planMongoStart(o *orchestrator.Orchestrator, listen string) error {
	d, running, err := o.DaemonStatus(mongoDaemon)
	if err != nil {
		return err
	}
	var p plan
	if running {
		p.Actions.add("keep the embedded server that runs at mongodb://%s/ (process %d)", listenOf(d), d.Process.PID)
		return g.answerPlan(p)
	}
	if err = checkFree(listen, "--mongo-listen"); err == nil {
		p.Actions.add("start the embedded server at mongodb://%s/", listen)
	}
	return errors.Join(g.answerPlan(p), err)
}

// rememberedListen is where the state folder's new database is, if that may be
// the embedded server: it must come back where the instances look for it.
func rememberedListen(o *orchestrator.Orchestrator) (string, error) {
	kept, err := o.Databases()
	if err != nil || kept == nil {
		return embeddedAddress(o)
	}
	if address, ok := localAddress(kept.New); ok {
		return address, nil
	}
	return embeddedAddress(o)
}

// localAddress is that of a URI that may be the embedded server's, which knows
// neither users nor TLS: one host on this machine, by number.
func localAddress(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "mongodb" || u.User != nil || u.Port() == "" || !net.ParseIP(u.Hostname()).IsLoopback() {
		return "", false
	}
	for _, option := range []string{"tls", "ssl"} {
		if secure, err := strconv.ParseBool(u.Query().Get(option)); err == nil && secure {
			return "", false
		}
	}
	return u.Host, true
}

func (g *globals) startMongo(ctx context.Context, o *orchestrator.Orchestrator, listen string) (mongoAnswer, error) {
	d, running, err := o.DaemonStatus(mongoDaemon)
	if err == nil && running {
		err = mustAnswer(ctx, d)
	} else if err == nil {
		err = checkFree(listen, "--mongo-listen")
	}
	if err != nil {
		return mongoAnswer{}, err
	}
	d, err = o.StartDaemon(ctx, orchestrator.DaemonOptions{
		Name:    mongoDaemon,
		Command: []string{g.self, "mongo", "serve", "--dir", o.Dir(), "--mongo-listen", listen},
		Timeout: 30 * time.Second,
		Ready: func(ctx context.Context) error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", listen)
			if err == nil {
				err = c.Close()
			}
			return err
		},
	})
	if err == nil {
		err = renameio.WriteFile(listenFile(o), []byte(listenOf(d)+"\n"), 0o600)
	}
	if err != nil {
		return mongoAnswer{}, err
	}
	return mongoAnswer{Running: true, URI: "mongodb://" + listenOf(d) + "/", PID: d.Process.PID, Log: d.Log}, nil
}

// mustAnswer refuses to call an embedded server running that answers nobody: one that
// was stopped by a signal still takes connections.
func mustAnswer(ctx context.Context, d orchestrator.Daemon) error {
	err := app.CheckNew(ctx, app.Databases{New: "mongodb://" + listenOf(d) + "/", Name: defaultDatabase})
	if err == nil {
		return nil
	}
	pid := d.Process.PID
	return next(fmt.Errorf("%w: the embedded server at %s (process %d) runs, but does not answer: %w", orchestrator.ErrNotReady, listenOf(d), pid, err),
		"it was left as it is", fmt.Sprintf("kill -CONT %d, if it was stopped by a signal; else migrate mongo stop --yes, then migrate mongo start", pid))
}

// checkFree names a port that is taken, and the flag that changes it.
func checkFree(address, flag string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return next(fmt.Errorf("%w: %s can't be used: %w", orchestrator.ErrUsage, address, err), "nothing was started", "the same with "+flag+" "+freeBeside(address))
	}
	return l.Close()
}

// freeBeside is an address on the same host with the next port that is free.
func freeBeside(address string) string {
	const tries = 100
	host, text, err := net.SplitHostPort(address)
	port, numErr := strconv.Atoi(text)
	if errors.Join(err, numErr) == nil {
		for k := 1; k < tries; k++ {
			beside := net.JoinHostPort(host, strconv.Itoa(port+k))
			if l, err := net.Listen("tcp", beside); err == nil {
				_ = l.Close()
				return beside
			}
		}
	}
	return "HOST:PORT"
}

func runMongoServe(ctx context.Context, g *globals, listen string) error {
	syscall.Umask(ownersOnly)
	dir, err := mongoDir(g)
	if err != nil {
		return err
	}
	s, err := embeddedmongo.Start(ctx, embeddedmongo.Config{Dir: filepath.Join(dir, "files"), Listen: listen, Logger: g.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return s.Close()
	case <-s.Done():
		return errors.Join(errors.New("the embedded server ended by itself"), s.Close())
	}
}

func runMongoStop(ctx context.Context, g *globals, dry, yes bool) error {
	o, _, err := g.begunFolder()
	if err != nil {
		return err
	}
	d, running, err := o.DaemonStatus(mongoDaemon)
	if err != nil {
		return err
	}
	check := func(ctx context.Context) error {
		if yes || !running {
			return nil
		}
		return dispensable(ctx, o, listenOf(d))
	}
	if dry {
		var p plan
		if err := check(ctx); err != nil {
			return err
		}
		if running {
			p.Actions.add("stop the embedded server (process %d)", d.Process.PID)
		}
		return g.answerPlan(p)
	}
	if err := o.StopDaemon(ctx, mongoDaemon, check); err != nil {
		return err
	}
	return g.answer(mongoAnswer{}, func(w io.Writer) {
		if !running {
			fmt.Fprintln(w, "The embedded server did not run.")
			return
		}
		fmt.Fprintln(w, "The embedded server is stopped; its data stays.")
	})
}

// dispensable refuses to stop the embedded server while it is the primary of
// the instance that clients reach. Under the old one requests go on without it.
func dispensable(ctx context.Context, o *orchestrator.Orchestrator, listen string) error {
	served, err := serving(ctx, o)
	if err != nil || served == nil {
		return err
	}
	kept, err := o.Databases()
	if err != nil {
		return err
	}
	const either = 4 // the step that works under either primary
	switch {
	case kept == nil: // a service of one's own, which may have any
		return nil
	case !mayBe(kept.New, listen):
		return nil
	case served.Step < either, served.Step == either && served.Told != nil && served.Told.Primary == string(store.PrimaryOld):
		return nil
	}
	return next(fmt.Errorf("%w: the instance on port %d (step %d) takes traffic and reads and writes in the embedded server: its requests would fail",
		orchestrator.ErrUsage, served.Port, served.Step), "nothing was changed", "migrate mongo stop --yes")
}

// mayBe says whether a URI may be that of a server on this machine: a host has
// many names, so the port decides.
func mayBe(uri, listen string) bool {
	_, port, _ := net.SplitHostPort(listen)
	rest, plain := strings.CutPrefix(uri, "mongodb://") // a service record names no port
	hosts, _, _ := strings.Cut(rest, "/")
	hosts = hosts[strings.LastIndex(hosts, "@")+1:]
	return plain && slices.ContainsFunc(strings.Split(hosts, ","), func(host string) bool { return strings.HasSuffix(host, ":"+port) })
}

func runMongoStatus(ctx context.Context, g *globals) error {
	o, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	d, running, err := o.DaemonStatus(mongoDaemon)
	if err != nil {
		return err
	}
	a := mongoAnswer{Running: running}
	if running {
		a = mongoAnswer{Running: true, URI: "mongodb://" + listenOf(d) + "/", PID: d.Process.PID, Log: d.Log}
	}
	if err := g.answerMongo(a); err != nil {
		return err
	}
	if running {
		return mustAnswer(ctx, d)
	}
	return next(fmt.Errorf("%w: the embedded server", orchestrator.ErrNotReady), "its data is in place if it ran before", "migrate mongo start")
}
