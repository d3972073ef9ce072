// Package demo does the whole job once, where a newcomer can watch: a legacy
// database, a proxy, two users who never pause, eight steps, and at the end
// every acknowledged write read back.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/orchestrator"
)

// ErrDiffers: an acknowledged write was lost or hidden, or too few were
// checked for the demonstration to prove anything.
var ErrDiffers = errors.New("the data is not what was acknowledged")

// ErrFailed: the data is right, but requests failed on the way, more than the
// connections that reloads of the proxy are known to have cut.
var ErrFailed = errors.New("requests failed")

const (
	// MinChecked is how many acknowledged writes must have been read back.
	MinChecked = 3000
	// minRequests is how many requests each move must have seen.
	minRequests = 50
	// moves is how many there are, and aimed how many writes they see together.
	moves = 9
	aimed = 3600
	// legacyTasks is how many tasks the old database has at the start.
	legacyTasks = 1000
	// maxTasks is the number that the load stays near: the embedded server
	// takes time in proportion to it for each list.
	maxTasks = 1500
)

// Proxy is the part of nginx that the demonstration starts and stops.
type Proxy interface {
	Start(context.Context) error
	Stop(context.Context) error
}

// Config is what the demonstration is made of.
type Config struct {
	Orchestrator *orchestrator.Orchestrator
	Proxy        Proxy
	URL          string // of the proxy
	FirstPort    int
	Databases    func() (app.Databases, error)                           // as they are remembered now
	Instance     func(port, step int) (orchestrator.SpawnOptions, error) // how to start one
	StartMongo   func(context.Context) error                             // the embedded server; nil: a real one is there
	StopMongo    func(context.Context) error                             // even if only an earlier demonstration has started it

	AsPublished bool // the pattern as it is usually built, to compare with
	Clients     int  // 12 if zero
	Keep        bool
	Free        func() error // refuses ports that are taken, before anything is started
	Scene       *Scene       // what the orchestrator tells its events; a new one if nil
	Out         io.Writer
	Screen      *Screen                   // takes the place of Out, and shows what goes on; nil: Out is no terminal
	Progress    func(string)              // what goes on between the rows; may be nil
	BeforeCheck func(ledger string) error // a test's chance to tamper; may be nil
}

// Move is a row of the table: one switch under load.
type Move struct {
	Step     int          `json:"step"`
	Port     int          `json:"port"`
	Name     string       `json:"name"`
	Primary  string       `json:"primary"`
	Epoch    int64        `json:"epoch"`
	Load     load.Figures `json:"load"`
	Switch   float64      `json:"switch_ms"`
	Drained  bool         `json:"drained"`
	Drain    float64      `json:"drain_ms"`
	Duration float64      `json:"duration_ms"`
}

// Result is what the demonstration showed.
type Result struct {
	Moves        []Move           `json:"moves"`
	Acknowledged int              `json:"acknowledged"`
	Lost         int64            `json:"lost"`
	Stale        int64            `json:"stale"`
	Failed       int64            `json:"failed"`
	Kinds        map[string]int64 `json:"kinds,omitempty"` // of failures
	Cut          int64            `json:"cut"`             // clients' connections, by reloads of the proxy; 0 by link
	Requests     int64            `json:"requests"`
	Faults       []Fault          `json:"faults,omitempty"`
	Check        load.Report      `json:"check"`
	Seconds      float64          `json:"seconds"`
	Problems     []string         `json:"problems,omitempty"`
}

// demo is one run.
type demo struct {
	Config
	dir     string
	ledger  string
	held    *flock.Flock // the folder
	marker  marker
	legacy  []string // ids
	load    *load.Generator
	res     Result
	walking bool // everything is prepared
	columns []column
}

// Run shows it and cleans up after itself, unless it is to keep things running
// or something went wrong: then what is left can be looked at, and the error
// says where. It wraps ErrDiffers, ErrFailed, or says what could not be done.
func Run(ctx context.Context, cfg Config) (Result, error) {
	d := newDemo(cfg)
	if d.Screen != nil {
		d.Screen.until(ctx)
		defer d.Screen.Close()
	}
	if err := d.claim(ctx); err != nil {
		return d.res, err // the folder is not ours to clean up
	}
	defer d.leave()
	end := d.Scene.watch(d.show)
	defer end()
	err := d.run(ctx)
	err = errors.Join(err, d.stopLoad())
	if ctx.Err() == nil && !d.AsPublished {
		d.faults()
	}
	d.res.Seconds = time.Since(d.Scene.start).Seconds()
	return d.res, d.end(ctx, err)
}

func newDemo(cfg Config) *demo {
	if cfg.Clients == 0 {
		cfg.Clients = 12
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Scene == nil {
		cfg.Scene = NewScene()
	}
	d := &demo{Config: cfg, dir: cfg.Orchestrator.Dir(), columns: columns}
	d.ledger = filepath.Join(d.dir, "ledger.jsonl")
	if d.Screen != nil {
		d.Out = d.Screen
		width, _ := d.Screen.size()
		d.columns = fitting(width)
	}
	return d
}

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	d.walking = true
	d.header()
	for step := 1; step <= 8; step++ {
		d.Scene.enter(step)
		before := d.before
		if d.AsPublished {
			before = d.beforePublished
		}
		if err := before(ctx, step); err != nil {
			return fmt.Errorf("before step %d: %w", step, err)
		}
		if err := d.move(ctx, d.FirstPort+step-1, step); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	if err := d.withoutOld(ctx); err != nil {
		return fmt.Errorf("without the old database: %w", err)
	}
	return d.conclude(ctx)
}

// say tells what goes on next, for good.
func (d *demo) say(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	d.Scene.tell("%s", what)
	d.Progress(what)
}

// prepare lays down the legacy database and starts everything but the load.
func (d *demo) prepare(ctx context.Context) error {
	db, err := d.Databases()
	if err != nil {
		return err
	}
	d.say("laying down a legacy database with %d tasks: %s", legacyTasks, db.OldPlace().Where)
	if d.legacy, err = layLegacy(ctx, db, legacyTasks); err != nil {
		return fmt.Errorf("lay down the legacy database: %w", err)
	}
	if d.StartMongo != nil {
		d.say("starting the embedded MongoDB-compatible server")
		if err := d.StartMongo(ctx); err != nil {
			return err
		}
	}
	d.say("starting nginx on %s", d.URL)
	return d.Proxy.Start(ctx)
}

// startLoad begins once there is something to load.
func (d *demo) startLoad(ctx context.Context) error {
	var err error
	d.load, err = load.New(load.Config{
		BaseURL: d.URL, Ledger: d.ledger, Clients: d.Clients, Own: d.legacy, MaxTasks: maxTasks, Think: 60 * time.Millisecond, Seed: 1,
	})
	if err == nil {
		d.Scene.loaded(time.Now(), d.load.Total)
		d.load.Start(ctx)
	}
	return err
}

// stopLoad ends it, if it goes on, and keeps its figures.
func (d *demo) stopLoad() error {
	if d.load == nil {
		return nil
	}
	total, err := d.load.Stop()
	d.load = nil
	d.Scene.unloaded(time.Now())
	d.res.Requests, d.res.Kinds, d.res.Faults = total.Requests, total.Kinds, d.Scene.faults
	d.res.Lost, d.res.Stale, d.res.Failed = total.Lost, total.Stale, total.Failed
	d.res.Problems = d.some(total.Problems)
	return err
}

// move spawns an instance, switches to it and writes a row, with the load's
// figures from before the one until after the other.
func (d *demo) move(ctx context.Context, port, step int) error {
	began := time.Now()
	if d.load != nil {
		d.load.Mark()
	}
	opts, err := d.Instance(port, step)
	if err != nil {
		return err
	}
	spawned, err := d.Orchestrator.Spawn(ctx, opts)
	d.res.Cut += int64(spawned.Cut)
	if err != nil {
		return err
	}
	d.Scene.tell("asking the gates")
	r, err := d.Orchestrator.Switch(ctx, orchestrator.SwitchOptions{To: port})
	d.res.Cut += int64(r.Cut)
	if err != nil {
		return err
	}
	if d.load == nil {
		if err := d.startLoad(ctx); err != nil {
			return err
		}
	}
	took := time.Since(began)
	d.Scene.primary(primary(r.Primary, r.Epoch))
	if err := d.dwell(ctx); err != nil {
		return err
	}
	m := Move{
		Step: step, Port: port, Name: stepName(step), Primary: r.Primary, Epoch: r.Epoch, Load: d.load.Mark(),
		Switch: float64(r.Move), Drained: r.Drained, Drain: float64(r.Drain), Duration: took.Seconds() * 1000,
	}
	d.res.Moves = append(d.res.Moves, m)
	d.row(m)
	return nil
}

// dwell lets the load go on until this move has seen enough requests and its
// share of the writes that are to be acknowledged.
func (d *demo) dwell(ctx context.Context) error {
	d.Scene.tell("under load, to %d requests", minRequests)
	if err := d.load.Wait(ctx, minRequests); err != nil {
		return fmt.Errorf("wait for %d requests: %w", minRequests, err)
	}
	share := int64(len(d.res.Moves)+1) * aimed / moves
	d.Scene.tell("under load, to %s writes", count(share))
	for d.load.Total().Acknowledged < share {
		if err := d.load.Wait(ctx, d.load.Snapshot().Requests+10); err != nil {
			return fmt.Errorf("wait for %d acknowledged writes: %w", share, err)
		}
	}
	return nil
}

// withoutOld shows that nothing needs the old database any more: what holds it
// is stopped, its file moved away, and another instance put in place.
func (d *demo) withoutOld(ctx context.Context) error {
	last := d.FirstPort + 8
	d.Scene.tell("ending %d, the last to hold the old database", last-2)
	if err := d.stop(ctx, last-2); err != nil {
		return err
	}
	db, err := d.Databases()
	if err != nil {
		return err
	}
	away, err := moveAway(ctx, db)
	if err != nil {
		return err
	}
	d.say("stopped port %d and moved %s away", last-2, away)
	if err := d.move(ctx, last, 8); err != nil {
		return err
	}
	return d.stop(ctx, last-1)
}

func (d *demo) stop(ctx context.Context, port int) error {
	r, err := d.Orchestrator.Stop(ctx, orchestrator.StopOptions{Port: port})
	d.res.Cut += int64(r.Cut)
	return err
}

// conclude stops the load, reads every acknowledged write back through the
// proxy, and says the last word.
func (d *demo) conclude(ctx context.Context) error {
	final := d.Scene.frame(time.Now())
	if err := d.stopLoad(); err != nil {
		return err
	}
	d.Scene.enter(0)
	if d.BeforeCheck != nil {
		if err := d.BeforeCheck(d.ledger); err != nil {
			return err
		}
	}
	d.say("reading every acknowledged write back")
	d.Scene.tell("reading back")
	rep, err := load.Check(ctx, load.CheckConfig{
		BaseURL: d.URL, Ledger: d.ledger, Min: MinChecked,
		Progress: func(done, total int) { d.Scene.far(int64(done), int64(total)) },
	})
	if err != nil {
		return fmt.Errorf("read back what was acknowledged: %w", err)
	}
	d.found(rep)
	d.last(final)
	if d.AsPublished {
		d.compare()
	}
	return d.verdict()
}

// found adds what reading back has shown.
func (d *demo) found(rep load.Report) {
	d.res.Check, d.res.Acknowledged = rep, rep.Acknowledged
	d.res.Lost, d.res.Stale = d.res.Lost+int64(rep.Lost), d.res.Stale+int64(rep.Stale)
	d.res.Problems = append(d.res.Problems, d.some(rep.Problems)...)
	for _, f := range []Fault{{What: "lost", Count: int64(rep.Lost)}, {What: "stale", Count: int64(rep.Stale)}} {
		if f.Count > 0 {
			d.res.Faults = append(d.res.Faults, f)
		}
	}
}

func (d *demo) verdict() error {
	switch {
	case d.res.Check.Err() != nil:
		return fmt.Errorf("%w: %w", ErrDiffers, d.res.Check.Err())
	case d.res.Lost+d.res.Stale > 0:
		return fmt.Errorf("%w: %d lost, %d stale", ErrDiffers, d.res.Lost, d.res.Stale)
	case d.res.Failed > d.res.Cut:
		return fmt.Errorf("%w: %d of %d; every acknowledged write is there", ErrFailed, d.res.Failed, d.res.Requests)
	}
	for _, m := range d.res.Moves {
		if m.Load.Requests < minRequests {
			return fmt.Errorf("%w: the move to step %d saw %d requests, %d wanted", ErrDiffers, m.Step, m.Load.Requests, minRequests)
		}
	}
	return nil
}
