package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"migrate/app"
	"migrate/cmd/migrate/demo"
	"migrate/nginx"
	"migrate/orchestrator"
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
line says it all.

With --as-published it is the same walk under the same load, with the pattern as
it is usually built: no fence, no order among copies, no tombstones, nginx
reloaded. See what that loses: docs/as-published.md.

Exits 7 if a write was lost or hidden, or if fewer than 3,000 were checked.`,
		Example: "  migrate demo\n  migrate demo --keep\n  migrate demo --as-published",
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
			return runDemo(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	g.cutoverFlag(cmd)
	f.BoolVar(&o.keep, "keep", false, "leave everything running at the end, and say how to look")
	f.BoolVar(&o.asPublished, "as-published", false, "the pattern as it is usually built, to see what it loses")
	f.IntVar(&o.clients, "clients", 0, "how many connections Bill and Jane have (default: 12)")
	f.StringVar(&o.mongoListen, "mongo-listen", o.mongoListen, "address of the embedded server")
	return cmd
}

func runDemo(ctx context.Context, g *globals, o demoOptions) error {
	quiet := *g
	quiet.Quiet = true // the rows tell it
	orch, proxy, err := quiet.orchestrator()
	if err != nil {
		return err
	}
	if g.MongoURI == "" {
		g.MongoURI = "mongodb://" + o.mongoListen + "/"
	} else {
		o.mongoListen = ""
	}
	cfg := demo.Config{
		Orchestrator: orch, Proxy: demoProxy{orch, proxy}, URL: orchestrator.ByNginx(proxy).URL(), FirstPort: proxy.Config().FirstPort,
		Databases: func() (app.Databases, error) { return g.databases(orch) },
		Instance:  func(port, step int) (orchestrator.SpawnOptions, error) { return g.instance(orch, port, step, nil) },
		Clients:   o.clients, Keep: o.keep, Out: g.out, Progress: g.say, BeforeCheck: o.beforeCheck,
	}
	if o.asPublished {
		if orch, err = quiet.publish(&cfg, proxy); err != nil {
			return err
		}
	}
	if g.JSON {
		cfg.Out = io.Discard
	}
	if o.mongoListen != "" {
		cfg.StartMongo = func(ctx context.Context) error {
			_, err := g.startMongo(ctx, orch, o.mongoListen)
			return err
		}
		cfg.StopMongo = func(ctx context.Context) error { return orch.StopDaemon(ctx, mongoDaemon) }
	}
	if err := g.demoPorts(proxy.Config().Listen, o.mongoListen, cfg.FirstPort); err != nil {
		_ = os.Remove(orch.Dir()) // if it is empty, it was made just now
		return err
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

// publish turns the demonstration into that of the published pattern: another
// nginx, another service, the same walk.
func (g *globals) publish(cfg *demo.Config, proxy *nginx.Server) (*orchestrator.Orchestrator, error) {
	plain := &demo.PlainNginx{Dir: filepath.Join(cfg.Orchestrator.Dir(), "nginx-plain"), Listen: proxy.Config().Listen}
	orch, err := orchestrator.Open(orchestrator.Config{
		Dir: g.Dir, Traffic: plain, FirstPort: cfg.FirstPort, Ports: ports, LockWait: g.LockWait, Progress: g.progress,
	})
	if err != nil {
		return nil, err
	}
	cfg.AsPublished, cfg.Orchestrator, cfg.Proxy, cfg.URL = true, orch, plain, plain.URL()
	cfg.Instance = func(port, step int) (orchestrator.SpawnOptions, error) {
		opts, err := g.instance(orch, port, step, nil)
		opts.Command = append(opts.Command, "--as-published")
		return opts, err
	}
	return orch, nil
}

// demoPorts names a port that is taken before anything is started.
// What an earlier demonstration left is ended later, so that only strangers count.
func (g *globals) demoPorts(listen, mongo string, first int) error {
	if _, err := os.Stat(filepath.Join(g.Dir, "demo.json")); err == nil {
		return nil
	}
	errs := []error{checkFree(listen, "--nginx-listen")}
	if mongo != "" {
		errs = append(errs, checkFree(mongo, "--mongo-listen"))
	}
	for port := first; port <= first+8; port++ {
		errs = append(errs, checkFree(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "--first-port"))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *globals) say(text string) {
	if !g.Quiet {
		fmt.Fprintf(g.err, "· %s\n", text)
	}
}

// tour says how to look at what was left running.
func (g *globals) tour(url string) {
	fmt.Fprintf(g.err, `
It is still running:
  %s/                          the tasks
  %s/static/taskProducer.html  Bill and Jane
  migrate status --dir %s
  migrate history --dir %s
  migrate load --check %s/ledger.jsonl --dir %s
When you have seen enough: migrate stop --all --yes --dir %s && rm -r %s
`, url, url, g.Dir, g.Dir, g.Dir, g.Dir, g.Dir, g.Dir)
}

// demoProxy starts and stops nginx as the commands do, under the lock.
type demoProxy struct {
	orch  *orchestrator.Orchestrator
	proxy *nginx.Server
}

func (p demoProxy) Start(ctx context.Context) error { return startNginx(ctx, p.orch, p.proxy) }

func (p demoProxy) Stop(ctx context.Context) error {
	return p.orch.Exclusive(ctx, "nginx stop", p.proxy.Stop)
}
