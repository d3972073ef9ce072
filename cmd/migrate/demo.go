package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/cmd/migrate/demo"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

const demoDir = ".migrate-demo"

type demoOptions struct {
	keep        bool
	asPublished bool
	clients     int
	mongoListen string

	beforeCheck func(ledger string) error // a test's chance to tamper
}

func newDemoCmd(g *globals) *cobra.Command {
	o := demoOptions{mongoListen: defaultMongo}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it: a legacy database, two busy users, eight steps",
		Long: `A legacy SQLite file with 1,000 tasks, nginx, and Bill and Jane who never pause;
the service walks from step 1 to step 8 under their load, the old file is moved
away, and every acknowledged write is read back. One row a move, and the last
line says it all; on a terminal, the lines at the end show the requests go on,
and a mark at each cut-over.

If a request fails or a write is lost, everything is stopped, and what there is
to look at stays in the folder until the next demo: ledger, journal, logs.

With --old postgres or --new postgres a PostgreSQL server of its own, in a
temporary folder, takes the place of the file or of the embedded server.

With --as-published it is the same walk under the same load, with the pattern as
it is usually built: no fence, no order among copies, no tombstones, nginx
reloaded. See what that loses: docs/as-published.md.

Exits 7 if a write was lost or hidden, or if fewer than 3,000 were checked.`,
		Example: "  migrate demo\n  migrate demo --keep\n  migrate demo --new postgres\n  migrate demo --old postgres\n  migrate demo --as-published",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir := cmd.Flag("dir"); !dir.Changed && os.Getenv(envName(dir)) == "" {
				g.Dir = demoDir // never somebody's real state folder
				if o.asPublished {
					g.Dir += "-as-published"
				}
			}
			if o.keep && o.asPublished {
				return usageError{errors.New("--as-published can't be kept running: migrate stop does not know its nginx")}
			}
			if err := g.ownServersFit(o); err != nil {
				return err
			}
			return runDemo(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	g.cutoverFlag(cmd)
	f.BoolVar(&o.keep, "keep", false, "leave everything running at the end, and say how to look")
	f.BoolVar(&o.asPublished, "as-published", false, "the pattern as it is usually built, to see what it loses")
	f.IntVar(&o.clients, "clients", 0, "how many connections Bill and Jane have (default: 12)")
	f.StringVar(&o.mongoListen, "mongo-listen", o.mongoListen, "address of the embedded server")
	return ends(cmd, endsUnread)
}

func runDemo(ctx context.Context, g *globals, o demoOptions) error {
	quiet := *g
	quiet.Quiet = true // the rows tell it
	cfg := demo.Config{Clients: o.clients, Keep: o.keep, Out: g.out, Progress: g.say, Scene: demo.NewScene(), BeforeCheck: o.beforeCheck}
	switch {
	case g.JSON:
		cfg.Out = io.Discard
	case !g.Quiet && isTerminal(g.out) && os.Getenv("TERM") != "dumb":
		cfg.Screen = demo.NewScreen(g.out, func() (columns, rows int) { return size(g.out) }, !g.NoColor)
		if isTerminal(g.err) { // most likely the same one
			quiet.err = cfg.Screen
			cfg.Progress = func(what string) { fmt.Fprintf(cfg.Screen, "· %s\n", fold(g.out, what, 2)) }
		}
	}
	proxy, err := g.proxy()
	if err != nil {
		return err
	}
	if err := quiet.stage(&cfg, proxy, o.asPublished); err != nil {
		return err
	}
	stop, err := g.startOwnServers(ctx)
	if err != nil {
		return err
	}
	defer stop()
	orch := cfg.Orchestrator
	mongo := o.mongoListen
	if g.New != "" {
		mongo = ""
	} else {
		g.New = "mongodb://" + mongo + "/"
		cfg.StartMongo = func(ctx context.Context) error {
			_, err := g.startMongo(ctx, orch, mongo)
			return err
		}
	}
	cfg.StopMongo = func(ctx context.Context) error { return orch.StopDaemon(ctx, mongoDaemon) } // or an earlier demonstration's
	cfg.Free = func() error { return demoPorts(proxy.Config().Listen, mongo, cfg.FirstPort) }
	cfg.Databases = func() (app.Databases, error) { return g.databases(orch) }
	cfg.Instance = func(port, step int) (orchestrator.SpawnOptions, error) {
		opts, err := g.instance(orch, port, step, nil)
		if o.asPublished {
			opts.Command = append(opts.Command, "--as-published")
		}
		return opts, err
	}
	res, err := demo.Run(ctx, cfg)
	if g.JSON {
		if jerr := g.answer(res, nil); jerr != nil {
			return jerr
		}
	}
	if err == nil && o.keep {
		g.tour(cfg.URL)
	}
	return err
}

// stage opens the state folder, with the nginx that the demonstration is of.
func (g *globals) stage(cfg *demo.Config, proxy *nginx.Server, asPublished bool) (err error) {
	traffic := orchestrator.ByNginx(proxy)
	if cfg.AsPublished = asPublished; asPublished {
		plain := &demo.PlainNginx{Dir: filepath.Join(filepath.Dir(proxy.Config().Dir), "nginx-plain"), Listen: proxy.Config().Listen}
		traffic, cfg.Proxy = plain, plain
	}
	cfg.URL, cfg.FirstPort = traffic.URL(), proxy.Config().FirstPort
	cfg.Orchestrator, err = orchestrator.Open(orchestrator.Config{
		Dir: g.Dir, Traffic: traffic, FirstPort: cfg.FirstPort, Ports: ports, LockWait: g.LockWait, Earlier: earlierDatabases,
		Progress: func(e orchestrator.Event) {
			cfg.Scene.Event(e)
			g.progress(e)
		},
	})
	if !asPublished {
		cfg.Proxy = demoProxy{cfg.Orchestrator, proxy}
	}
	return err
}

// demoPorts names every port that is taken, each with its flag, before
// anything is started.
func demoPorts(listen, mongo string, first int) error {
	addresses := []struct{ at, flag string }{{listen, "--nginx-listen"}}
	if mongo != "" {
		addresses = append(addresses, struct{ at, flag string }{mongo, "--mongo-listen"})
	}
	for port := first; port <= first+8; port++ {
		addresses = append(addresses, struct{ at, flag string }{net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "--first-port"})
	}
	var taken, flags []string
	for _, a := range addresses {
		l, err := net.Listen("tcp", a.at)
		if err == nil {
			_ = l.Close()
			continue
		}
		var why *os.SyscallError
		if errors.As(err, &why) {
			err = why.Err
		}
		taken = append(taken, fmt.Sprintf("%s (%s), %v", a.at, a.flag, err))
		if !slices.Contains(flags, a.flag) {
			flags = append(flags, a.flag)
		}
	}
	if taken == nil {
		return nil
	}
	return next(fmt.Errorf("%w: what it listens on can't be used: %s", orchestrator.ErrUsage, strings.Join(taken, "; ")), "nothing was started",
		"migrate demo with another "+strings.Join(flags, ", ")+"; it uses nine ports from the first on")
}

func (g *globals) say(text string) {
	if !g.Quiet {
		fmt.Fprintf(g.err, "· %s\n", text)
	}
}

// tour says how to look at what was left running, and at what.
func (g *globals) tour(url string) {
	dir, err := nginx.RealPath(g.Dir)
	if err != nil {
		dir = g.Dir
	}
	variables := "MIGRATE_DIR=" + orchestrator.Quoted(dir)
	if found, err := exec.LookPath("migrate"); err != nil || found != g.self {
		variables = fmt.Sprintf("PATH=%s:$PATH %s", orchestrator.Quoted(filepath.Dir(g.self)), variables)
	}
	fmt.Fprintf(g.err, `
It is still running, at step 8, on the new database alone:

  %[1]s/
      the tasks; the panel says which step serves, in a colour for each
  %[1]s/static/taskProducer.html
      Bill and Jane: press Start, and the strip shows the requests each second

  export %[3]s
      first, so that your shell finds this migrate, and that finds this service
  migrate load --check %[2]s
      reads every acknowledged write back; do it before you press Start: those
      two change the same tasks, and then the check says that the data differs
  migrate history
      what each switch did, and how long it took

Try it: press Start, then make one more cut-over, and see it in the strip:
  migrate spawn --step 8 && migrate switch
There is no way back to step 7: the old database was moved away.

When you have seen enough:
  migrate stop --all --yes && rm -r %[4]s && unset MIGRATE_DIR
`, url, orchestrator.Quoted(filepath.Join(dir, "ledger.jsonl")), variables, orchestrator.Quoted(dir))
}

// demoProxy starts and stops nginx as the commands do, under the lock.
type demoProxy struct {
	orch  *orchestrator.Orchestrator
	proxy *nginx.Server
}

func (p demoProxy) Start(ctx context.Context) error {
	err := startNginx(ctx, p.orch, p.proxy, "the same with")
	if errors.Is(err, nginx.ErrNotInstalled) { // nobody should need to know more to see it
		return next(err, "no proxy was started", "install it: scripts/install-nginx.sh, or apt-get install nginx; or name one with MIGRATE_NGINX")
	}
	return err
}

func (p demoProxy) Stop(ctx context.Context) error {
	return p.orch.Exclusive(ctx, "nginx stop", p.proxy.Stop)
}
