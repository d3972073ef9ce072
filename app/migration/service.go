package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"migrate.invalid/migrate/app/store"
)

// NoEpoch is for an instance at step 5 that nobody has told the epoch of its spawn:
// it refuses to serve while old is primary, since it may have been started again
// after the primary has come back.
const NoEpoch = -1

// Config is what an instance is made of.
type Config struct {
	Step Step
	Old  store.Old // nil at step 8
	New  store.New // nil at step 1

	Instance  store.Registration // who this is; its Step is filled in
	Migration string             // the migration id if known; another one is refused

	Budget     time.Duration // what a replication or a comparison may cost a request; 250 ms if zero
	Patience   time.Duration // how long a request waits for a fence that moves; 3 s if zero
	CompareMin int64         // reads to be compared before step 5; 1000 if zero

	// FromEpoch is the epoch of the fence at the spawn of an instance at step 5,
	// which flips that one and no later one; each restart is given the same. Zero:
	// the epoch that it finds first; [NoEpoch]: it flips none.
	FromEpoch int64

	Logger  *slog.Logger
	Observe func(db store.Primary, op string, took time.Duration, err error) // each call on a store; may be nil
	Pause   func(ctx context.Context, d time.Duration) error                 // waits; a real timer if nil
	Now     func() time.Time                                                 // for deadlines and ages; the real clock if nil
}

// Service is the store that walks the steps: to its callers one database, to
// the databases a writer that keeps to the protocol. Safe for concurrent use.
type Service struct {
	cfg  Config
	step Step
	old  store.Old
	new  store.New
	log  *slog.Logger

	meter    *meter
	compared comparisons
	relay    relay

	watchOld     watch[oldView] // see status.go
	watchLock    watch[struct{}]
	watchNew     watch[newView]
	watchBacklog watch[backlogView]
	endWatches   func() // and waits for the looks under way

	newBreaker breaker // while old is primary
	oldBreaker breaker // of writes, while new is

	started    atomic.Int64              // step 5: the epoch of its spawn, or found at the start; 0 until then
	adopted    atomic.Pointer[adoption]  // at the steps that register; nil: no place yet
	answeredAt atomic.Pointer[time.Time] // the last answer at these steps
	looking    chan struct{}             // holds one while a request looks around
	epochs     epochs
	complete   atomic.Int64                // the epoch for which the completion mark was seen
	inTheWay   atomic.Pointer[error]       // of getting into place, when it was last tried; nil: nothing
	seen       atomic.Pointer[store.Fence] // the last fence; a hint for people, never for a decision
	wasNew     atomic.Bool                 // the last fence seen named new: a hint for budgets, never a decision

	commits commits // under way, at the steps that register

	oldWentBack atomic.Pointer[error] // why old is not to be believed although it names itself as primary; nil: it is
	newWentBack atomic.Pointer[error] // why new is not the database that this process knows; nil: it is

	filled atomic.Bool // every record of old was known to the protocol, when it was last asked

	page int // what a merged list asks each store for, at the least

	mu        sync.Mutex
	migration string // the id that every fence and both databases must carry
	prepared  bool
}

// New makes the service of one instance. [Service.Run] must run beside it.
func New(cfg Config) (*Service, error) {
	if !cfg.Step.Valid() {
		return nil, fmt.Errorf("there is no step %d: they go from 1 to 8", int(cfg.Step))
	}
	if cfg.Step.HasOld() == (cfg.Old == nil) || cfg.Step.HasNew() == (cfg.New == nil) {
		return nil, fmt.Errorf("step %d was given the wrong databases", int(cfg.Step))
	}
	cfg.Instance.Step = int(cfg.Step)
	cfg.Budget = orDefault(cfg.Budget, 250*time.Millisecond)
	cfg.Patience = orDefault(cfg.Patience, 3*time.Second)
	cfg.CompareMin = orDefault(cfg.CompareMin, 1000)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Pause == nil {
		cfg.Pause = pause
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, step: cfg.Step, log: cfg.Logger, migration: cfg.Migration, page: leastPage, meter: newMeter(cfg.Observe)}
	s.relay.wake = make(chan struct{}, 1)
	s.looking = make(chan struct{}, 1)
	s.compared.queue = make(chan comparison, compareQueue)
	s.compared.lists = make(chan listed, 1)
	if cfg.Old != nil {
		s.old = meteredOld{agedOld{cfg.Old, &s.epochs}, s.meter}
	}
	if cfg.New != nil {
		s.new = meteredNew{agedNew{cfg.New, &s.epochs}, s.meter}
	}
	if s.step == NewPrimary {
		s.started.Store(cfg.FromEpoch)
	}
	s.watches()
	return s, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// plan turns the fence that was just read into what may be done, and refuses a
// database that is not of this migration.
func (s *Service) plan(fence store.Fence) (Plan, error) {
	if err := s.own(fence.Migration); err != nil {
		return Plan{Refuse: true}, err
	}
	started := s.started.Load()
	if started == 0 {
		s.started.CompareAndSwap(0, fence.Epoch)
		started = s.started.Load()
	}
	s.wasNew.Store(fence.Primary == store.PrimaryNew)
	if seen := s.seen.Load(); seen == nil || *seen != fence {
		s.seen.Store(&fence)
	}
	if back := s.newWentBack.Load(); back != nil && fence.Primary == store.PrimaryNew {
		return Plan{Refuse: true}, *back
	}
	if back := s.oldWentBack.Load(); back != nil && fence.Primary == store.PrimaryOld {
		return Plan{Refuse: true}, *back
	}
	p := Decide(s.step, fence, started)
	if p.Refuse {
		return p, fmt.Errorf("%w: step %d, primary %s at epoch %d", ErrRefused, int(s.step), fence.Primary, fence.Epoch)
	}
	return p, nil
}

// own refuses a migration id other than the one that was seen first.
func (s *Service) own(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.migration == "" {
		s.migration = id
	}
	if id != s.migration {
		return fmt.Errorf("%w: found %q, expected %q", store.ErrStranger, id, s.migration)
	}
	return nil
}

// view is the fence as steps 6 to 8 know it, from the mirror that was read
// after this instance had registered.
func (s *Service) view() (store.Fence, Plan, error) {
	m := s.adopted.Load()
	if m == nil {
		return store.Fence{}, Plan{Refuse: true}, fmt.Errorf("%w: step %d has not yet registered and read the mirror", ErrRefused, int(s.step))
	}
	f := store.Fence{Migration: m.Migration, Epoch: m.Epoch, Primary: m.Primary}
	p, err := s.plan(f)
	return f, p, err
}

// final reports whether everything in new, absence too, is final under epoch.
// It must be asked before new is read.
func (s *Service) final(epoch int64) bool {
	return s.step == RemoveOld || s.complete.Load() == epoch
}

// errAgain is the answer of one try that must start again; errClosing, once
// the fence is open again.
var (
	errAgain   = errors.New("start again")
	errClosing = fmt.Errorf("%w: the primary is about to move", errAgain)
)

// persist tries until the answer stands, within the caller's patience.
func (s *Service) persist(ctx context.Context, try func(context.Context) error) error {
	began, waited := s.cfg.Now(), time.Duration(0)
	closing := false
	for n := 0; ; n++ {
		var err error
		if closing {
			err = s.awaitOpen(ctx)
		}
		if err == nil {
			err = try(ctx)
		}
		if !errors.Is(err, errAgain) {
			return err
		}
		closing = errors.Is(err, errClosing)
		if n < 2 {
			continue // a neighbour was faster: no reason to wait
		}
		wait := min(time.Duration(n)*time.Millisecond, 20*time.Millisecond)
		// The tries take time, too, and so does what a busy machine makes of a pause.
		if waited += wait; max(waited, s.cfg.Now().Sub(began)) > s.cfg.Patience {
			return fmt.Errorf("%w: gave up after %d tries, nothing was written: %v", store.ErrUnavailable, n+1, err)
		}
		if perr := s.cfg.Pause(ctx, wait); perr != nil {
			return fmt.Errorf("%w: given up after %d tries, nothing was written: %v", store.ErrUnavailable, n+1, err)
		}
	}
}

// background is a context for work that must outlive a client that went away,
// bounded by the budget.
func (s *Service) background(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Budget)
}

// again says whether a commit that failed without effect is to be tried again.
func again(err error) error {
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenceMoved) {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}
