package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

func newNginxCmd(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "nginx",
		Short: "The reverse proxy under the state folder",
		Long: `The reverse proxy under the state folder. It outlives the command that starts
it, and moves traffic by a link that it resolves at every request, so that no
switch reloads it; with --cutover reload by rewritten upstreams, for an nginx
that can't use the link. MIGRATE_NGINX names the nginx to run.`,
	})
	sub := func(use, short string, run func(context.Context, *globals) error) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, Example: "  migrate nginx " + use, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), g) }}
		cmd.AddCommand(sub)
		return sub
	}
	// planned is one that changes something.
	planned := func(use, short string, plan, run func(context.Context, *globals) error) *cobra.Command {
		var dryRun bool
		cmd := sub(use, short, func(ctx context.Context, g *globals) error {
			if dryRun {
				return plan(ctx, g)
			}
			return run(ctx, g)
		})
		cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list each action, and do nothing")
		return cmd
	}
	var start *cobra.Command
	start = planned("start", "Start nginx, detached", planNginxStart,
		func(ctx context.Context, g *globals) error { return runNginxStart(ctx, g, typed(start)) })
	start.Long = `Start nginx, detached. What its flags say is remembered. To change one, say it
again: an nginx that runs loads the new configuration, and goes on.

nginx listens on 127.0.0.1 and on ::1, unless --nginx-listen names an address.
It passes a request to the live instance. An instance that takes longer than
--proxy-read-timeout is not asked again, and neither is another one: the client
gets 504, or 503 outcome_unknown if the request was to change something.

An idle connection to an instance must be given up by nginx before the service
closes it, or a request that is sent at that moment is lost. migrate doctor
measures how long the service keeps one.`
	start.Example += `
  migrate nginx start --nginx-listen 127.0.0.1:8080
  migrate nginx start --proxy-read-timeout 5m --max-body 500m
  migrate nginx start --trusted-proxy 10.0.0.0/8,fd00::/8`
	g.cutoverFlag(start)
	g.passing.bind(start.Flags())
	var yes bool
	stop := planned("stop", "Have nginx finish what is in flight, and stop it",
		func(ctx context.Context, g *globals) error { return planNginxStop(ctx, g, yes) },
		func(ctx context.Context, g *globals) error { return runNginxStop(ctx, g, yes) })
	stop.Flags().BoolVarP(&yes, "yes", "y", false, "even while an instance takes traffic through it")
	reload := planned("reload", "Write the configuration anew and have nginx load it", planNginxReload, runNginxReload)
	reload.Long = `Write the configuration anew, with nginx/custom.conf of the state folder in it,
test it, and have nginx load it. One that nginx rejects is not installed, and
the running nginx goes on as it was.

Before nginx loads it, its answers ask clients to close their connections, for
two seconds at most. Those that stay open longer are cut, and their number is
said. From nginx 1.27.4 on none is cut.

custom.conf is for whatever migrate has no flag for. It stands inside of
server { … }, before the locations of migrate, whose own directives win. It is
taken at nginx start and at nginx reload, never by a switch.`
	sub("test", "Have nginx check the configuration", runNginxTest)
	sub("show", "Print nginx's configuration", runNginxShow)
	return cmd
}

// planNginx looks at the proxy and says what would be done with it.
func (g *globals) planNginx(ctx context.Context, would func(*actions, nginx.Status)) error {
	proxy, err := g.proxy()
	if err != nil {
		return err
	}
	st, err := proxy.Status(ctx)
	if err != nil {
		return err
	}
	var p plan
	would(&p.Actions, st)
	return g.answerPlan(p)
}

func planNginxStart(ctx context.Context, g *globals) error {
	var taken error
	err := g.planNginx(ctx, func(a *actions, st nginx.Status) {
		if st.Running {
			a.add("keep the nginx that runs (process %d), and load the configuration anew if it is another one", st.PID)
			return
		}
		if taken = checkFree(st.Listen, "--nginx-listen"); taken == nil {
			a.add("write the configuration and start nginx on http://%s", st.Listen)
		}
	})
	return errors.Join(err, taken)
}

func planNginxStop(ctx context.Context, g *globals, yes bool) error {
	o, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	if err := unserved(ctx, o, proxy, yes); err != nil {
		return err
	}
	return g.planNginx(ctx, func(a *actions, st nginx.Status) {
		if st.Running {
			a.add("let nginx (process %d) finish what is in flight, and stop it", st.PID)
		}
	})
}

func planNginxReload(ctx context.Context, g *globals) error {
	if _, _, err := g.begunFolder(); err != nil {
		return err
	}
	return g.planNginx(ctx, func(a *actions, st nginx.Status) {
		if st.Running {
			a.add("write the configuration anew, and have nginx (process %d) load it", st.PID)
		}
	})
}

func runNginxStart(ctx context.Context, g *globals, again string) error {
	o, proxy, err := g.orchestrator()
	if err != nil {
		return err
	}
	if err := startNginx(ctx, o, proxy, again); err != nil {
		return err
	}
	g.keepLogs(ctx, o)
	return g.nginxStatus(ctx, proxy, false)
}

// startNginx starts the proxy and remembers where, so that it is said once. To
// be given again with another address is the command again.
func startNginx(ctx context.Context, o *orchestrator.Orchestrator, proxy *nginx.Server, again string) error {
	cfg := proxy.Config()
	return o.Exclusive(ctx, "nginx start", func(ctx context.Context) error {
		if err := describe(ctx, o, proxy); err != nil {
			return err
		}
		if err := proxy.Start(ctx); err != nil {
			if errors.Is(err, nginx.ErrAddressTaken) {
				return next(err, "no proxy was started", again+" --nginx-listen "+freeBeside(cfg.Listen))
			}
			state := "no proxy was started"
			if st, serr := proxy.Status(ctx); serr == nil && st.Running {
				state = "the running nginx goes on as it was"
			}
			return next(err, state, "migrate nginx test")
		}
		return keepProxy(o.Dir(), cfg)
	})
}

// describe tells the proxy which of the instances are the ToDo service.
func describe(ctx context.Context, o *orchestrator.Orchestrator, proxy *nginx.Server) error {
	st, err := o.Status(ctx)
	if err != nil {
		return err
	}
	for _, i := range st.Instances {
		if err := proxy.Describe(i.Port, len(i.Own) == 0); err != nil {
			return err
		}
	}
	return nil
}

// nginxAnswer is what start and reload say.
type nginxAnswer struct {
	nginx.Status
	Cut int `json:"cut"` // connections of clients, by the reload
}

// nginxStatus says where nginx listens, and what a reload has cost clients.
func (g *globals) nginxStatus(ctx context.Context, proxy *nginx.Server, reloaded bool) error {
	st, err := proxy.Status(ctx)
	if err != nil {
		return err
	}
	cut := proxy.TakeCut()
	return g.answer(nginxAnswer{st, cut}, func(w io.Writer) {
		fmt.Fprintf(w, "nginx listens on http://%s (process %d)", st.Listen, st.PID)
		if st.Live != 0 {
			fmt.Fprintf(w, ", traffic goes to port %d", st.Live)
		}
		fmt.Fprintf(w, "\nTraffic moves by %s.\n", st.Cutover)
		if st.Clients > 0 {
			fmt.Fprintf(w, "It has %d workers, for about %d clients at once.\n", st.Workers, st.Clients)
		}
		if text := st.Low(); text != "" {
			fmt.Fprintf(w, "%s %s\n", g.paint(g.out, yellow, "!"), g.hint(text))
		}
		switch {
		case cut > 0:
			fmt.Fprintf(w, "The reload cut %d connections of clients that had idled, or waited for an answer, all through the closing window.\n", cut)
		case reloaded:
			fmt.Fprintln(w, "The configuration is loaded anew; no connection of a client was cut.")
		}
	})
}

func runNginxStop(ctx context.Context, g *globals, yes bool) error {
	o, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	st, err := proxy.Status(ctx)
	if err != nil {
		return err
	}
	err = o.Exclusive(ctx, "nginx stop", proxy.Stop, func(ctx context.Context) error { return unserved(ctx, o, proxy, yes) })
	if err != nil {
		return err
	}
	return g.answer(map[string]bool{"running": false}, func(w io.Writer) {
		if !st.Running {
			fmt.Fprintln(w, "nginx did not run.")
			return
		}
		fmt.Fprintln(w, "nginx is stopped.")
	})
}

// unserved refuses to stop the proxy while clients reach an instance through
// it, unless yes.
func unserved(ctx context.Context, o *orchestrator.Orchestrator, proxy *nginx.Server, yes bool) error {
	if yes {
		return nil
	}
	st, err := proxy.Status(ctx)
	if err != nil || !st.Running {
		return err
	}
	served, err := serving(ctx, o)
	if err != nil || served == nil {
		return err
	}
	return next(fmt.Errorf("%w: the instance on port %d (step %d) takes traffic through this nginx: clients would reach nobody",
		orchestrator.ErrUsage, served.Port, served.Step), "nothing was changed", "migrate nginx stop --yes")
}

func runNginxTest(ctx context.Context, g *globals) error {
	_, proxy, err := g.orchestrator()
	if err != nil {
		return err
	}
	if err := proxy.Test(ctx); err != nil {
		return next(err, "what runs goes on as it is", "migrate nginx show")
	}
	return g.answer(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintln(w, "The configuration is good.") })
}

func runNginxReload(ctx context.Context, g *globals) error {
	o, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	err = o.Exclusive(ctx, "nginx reload", func(ctx context.Context) error {
		if err := describe(ctx, o, proxy); err != nil {
			return err
		}
		return proxy.Reload(ctx)
	})
	if errors.Is(err, nginx.ErrRejected) {
		return next(err, "the running nginx goes on as it was", "migrate nginx test")
	}
	if errors.Is(err, nginx.ErrNotSeen) {
		return next(err, "the running nginx goes on as it was",
			"see that no return or rewrite in nginx/custom.conf answers for every path, then migrate nginx reload")
	}
	if err != nil {
		return err
	}
	return g.nginxStatus(ctx, proxy, true)
}

func runNginxShow(ctx context.Context, g *globals) error {
	proxy, err := g.proxy()
	if err != nil {
		return err
	}
	text, err := proxy.Render(ctx)
	if err != nil {
		return err
	}
	running, err := os.ReadFile(filepath.Join(proxy.Config().Dir, "nginx.conf"))
	if err == nil {
		text = running // what is loaded, rather than what would be
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return g.answer(map[string]string{"configuration": string(text)}, func(w io.Writer) { fmt.Fprintf(w, "%s", text) })
}
