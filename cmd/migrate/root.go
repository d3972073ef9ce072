package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/orchestrator"
)

const (
	defaultListen   = nginx.DefaultListen
	defaultMongo    = "127.0.0.1:27117"
	defaultDatabase = "todo"
	firstPort       = 8000
	ports           = 32
)

// globals are the flags that every command has, and where its words go.
type globals struct {
	Dir      string
	JSON     bool
	Quiet    bool
	NoColor  bool
	LockWait time.Duration
	Config   string
	Old, New string // URIs of the databases that a flag names, as they are used; "" for none
	Name     string // of the new database, likewise
	spelled  spellings
	own      ownServers // of a demonstration
	declares *declared  // what was read; nil before
	Listen   string
	First    int
	Cutover  string
	passing  proxyFlags
	Create   bool

	out, err io.Writer
	shown    *show
	opened   *orchestrator.Orchestrator // last; nil before the first
	secrets  *redact.Redactor           // knows those of --new
	self     string                     // path of this program
	offered  *regexp.Regexp             // commands in a hint, once --dir was on the command line; else nil
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := &show{cancel: cancel}
	defer shown.watchTerminal()()
	stdout, stderr = shown.listen(stdout), shown.listen(stderr)
	g := &globals{out: stdout, err: stderr, shown: shown}
	var err error
	if g.self, err = os.Executable(); err != nil {
		g.report(fmt.Errorf("find this program's file: %w", err))
		return exitFailed
	}
	root := newRoot(g)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err = unlessInterrupted(ctx, root.ExecuteContext(ctx))
	if g.opened != nil {
		if handErr := g.opened.HandOver(); handErr != nil {
			err = errors.Join(err, fmt.Errorf("give what root has written to the state folder's owner: %w", handErr))
		}
	}
	if err != nil {
		g.JSON = g.JSON || wantsJSON(args)
		g.report(err)
	}
	return exitCode(err)
}

func newRoot(g *globals) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "migrate",
		Short: "Walk a live service from one database to another, behind nginx, losing nothing",
		Long: `migrate walks a live service from one database to another in eight steps, behind
nginx, with no downtime and no lost write. To see it: migrate demo

The databases are URIs: --old sqlite:FILE, --new mongodb://HOST:PORT/NAME, and
postgres://HOST/NAME in either place. What is moved is declared in migrate.yaml;
without that file it is the ToDo service's table tasks.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 instance not ready, 4 a gate
refused, 5 locked, 6 the switch failed and traffic was put back, 7 data differs.
Every flag has an environment variable, --mongo-db is MIGRATE_MONGO_DB, but
those that override a refusal or limit a command: --yes, --force, --drop,
--gone-host and --dry-run. A flag or variable that is set and empty is refused.`,
		Example: `  migrate mongo start && migrate nginx start
  migrate advance --until 4
  migrate status --watch`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.shown.begins(cmd)
			named := cmd.Flags().Changed("dir") // who has the variable set needs it in no command
			typed := typedSpellings(cmd)
			if err := fromEnvironment(cmd); err != nil {
				return err
			}
			g.takeOwnServers(cmd)
			g.secrets = redact.Knowing(g.spelled.New, g.spelled.MongoURI, g.spelled.Old)
			g.warnOfURI(typed)
			if err := g.nameDatabases(typed); err != nil {
				return err
			}
			if err := g.knowDeclared(cmd); err != nil {
				return err
			}
			for _, text := range withoutEffect(cmd) {
				g.warn(text)
			}
			if named {
				g.offered = inHints(cmd.Root())
			}
			return nil
		},
	})
	version := root.Flags().Bool("version", false, "print which migrate this is")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return runVersion(g)
		}
		return cmd.Help()
	}
	root.SetFlagErrorFunc(badFlag)
	root.SetHelpFunc(help)
	root.SetHelpCommand(newHelpCmd())
	root.SetUsageFunc(func(cmd *cobra.Command) error { return usage(cmd, cmd.ErrOrStderr()) })
	f := root.PersistentFlags()
	f.StringVar(&g.Dir, "dir", ".migrate", "state folder")
	f.BoolVar(&g.JSON, "json", false, "answer in JSON")
	f.BoolVar(&g.Quiet, "quiet", false, "no progress on stderr")
	f.BoolVar(&g.NoColor, "no-color", os.Getenv("NO_COLOR") != "", "no colour")
	f.DurationVar(&g.LockWait, "lock-wait", 0, "how long to wait for another command to end")
	g.databaseFlags(root)
	f.StringVar(&g.Listen, "nginx-listen", "", "where nginx listens (default: "+defaultListen+")")
	f.IntVar(&g.First, "first-port", 0, fmt.Sprintf("first of the %d ports that nginx knows (default: %d)", ports, firstPort))
	root.AddGroup(groups()...)
	add := func(group string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(groupStart, newDemoCmd(g), newDoctorCmd(g))
	add(groupMove, newSpawnCmd(g), newSwitchCmd(g), newAdvanceCmd(g), newRollbackCmd(g), newStopCmd(g))
	add(groupLook, newStatusCmd(g), newGatesCmd(g), newHistoryCmd(g))
	add(groupData, newAdoptCmd(g), newQuarantineCmd(g), newBackfillCmd(g), newVerifyCmd(g), newAcceptServerCmd(g), newLoadCmd(g))
	add(groupParts, newNginxCmd(g), newMongoCmd(g), newServeCmd(g))
	add("", newCompletionCmd(), newVersionCmd(g), newLogsCmd(g))
	return root
}

// proxy is the nginx of the state folder.
func (g *globals) proxy() (*nginx.Server, error) {
	dir, err := nginx.RealPath(g.Dir)
	if err != nil {
		return nil, err
	}
	kept, err := keptProxy(dir)
	if err != nil {
		return nil, err
	}
	cfg := nginx.Config{Dir: filepath.Join(dir, "nginx"), Listen: kept.Listen, FirstPort: kept.First, Ports: ports, Cutover: kept.Cutover, Settings: kept.Settings}
	if err := g.passing.over(&cfg.Settings); err != nil {
		return nil, next(usageError{err}, "nothing was changed", "migrate nginx start --help")
	}
	if g.Listen != "" {
		cfg.Listen = g.Listen
	}
	if g.First != 0 {
		cfg.FirstPort = g.First
	}
	if g.Cutover != "" {
		cfg.Cutover = nginx.Cutover(g.Cutover)
	}
	proxy, err := nginx.New(cfg)
	if err != nil {
		return nil, next(usageError{err}, "nothing was changed", "migrate --help; the flags are --nginx-listen, --first-port, --cutover and --dir")
	}
	return proxy, nil
}

// cutoverFlag is for the commands that choose how traffic moves.
func (g *globals) cutoverFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.Cutover, "cutover", "", "`how` traffic moves from now on: link or reload (default: as before)")
	g.complete(cmd, "cutover", func(scene) []cobra.Completion {
		return []cobra.Completion{string(nginx.ByLink), string(nginx.ByReload)}
	})
}

// orchestrator opens the state folder.
func (g *globals) orchestrator() (*orchestrator.Orchestrator, *nginx.Server, error) {
	proxy, err := g.proxy()
	if err != nil {
		return nil, nil, err
	}
	cfg := proxy.Config()
	o, err := orchestrator.Open(orchestrator.Config{
		Dir: g.Dir, Traffic: orchestrator.ByNginx(proxy), FirstPort: cfg.FirstPort, Ports: cfg.Ports,
		LockWait: g.LockWait, Progress: g.progress, Earlier: earlierDatabases,
	})
	if err == nil {
		g.opened = o
	}
	return o, proxy, err
}

// begunFolder opens the state folder of what was begun: who looks in the wrong
// place must be told so, and leave nothing there.
func (g *globals) begunFolder() (*orchestrator.Orchestrator, *nginx.Server, error) {
	dir, err := nginx.RealPath(g.Dir)
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, next(usageError{fmt.Errorf("there is no migration in %s: that folder does not exist", dir)}, "nothing was changed",
			"name the folder of another with --dir; to begin one here: migrate nginx start, then migrate spawn --step 1")
	}
	return g.orchestrator()
}

// progress tells on stderr what a command is doing; with --json, a line of
// JSON each.
func (g *globals) progress(e orchestrator.Event) {
	e.Detail = g.secrets.Text(e.Detail)
	switch {
	case g.Quiet && !e.Warning, e.Detail == "":
	case g.JSON:
		_ = json.NewEncoder(g.err).Encode(e) // whoever can't be told goes without
	case e.Warning:
		fmt.Fprintf(g.err, "%s %s\n", g.paint(g.err, yellow, "!"), g.hint(e.Detail))
	case e.Phase != "":
		fmt.Fprintf(g.err, "%s %s: %s\n", g.paint(g.err, faint, "·"), e.Phase, e.Detail)
	default:
		fmt.Fprintf(g.err, "%s %s\n", g.paint(g.err, faint, "·"), e.Detail)
	}
}

// warn tells on stderr of something that is done all the same.
func (g *globals) warn(text string) {
	g.progress(orchestrator.Event{Time: time.Now(), Detail: text, Warning: true})
}

// mayCreate binds the flag of those commands that start the first instance.
func (g *globals) mayCreate(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.Create, "create", false, "make the old database's file if it is missing (the default one is made anyway)")
}

// logger writes to stderr; only warnings unless the command is the log itself.
func (g *globals) logger(level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: g.secrets.Attr}
	if g.JSON {
		return slog.New(slog.NewJSONHandler(g.err, opts))
	}
	return slog.New(slog.NewTextHandler(g.err, opts))
}

// answer prints what a command found: as JSON, or as the text says it.
func (g *globals) answer(v any, text func(io.Writer)) error {
	if g.JSON {
		enc := json.NewEncoder(g.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	text(g.out)
	return nil
}
