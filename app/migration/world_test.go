package migration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

type (
	// oldStore is an old database that offers all that one can offer.
	oldStore interface {
		store.Old
		store.Foreign
		store.Legacy
	}
	newStore = store.New
	service  = Service
)

// offering returns an old database of which it is known that it offers all.
func offering(old store.Old) oldStore {
	f, _ := store.As[store.Foreign](old)
	l, _ := store.As[store.Legacy](old)
	return struct {
		store.Old
		store.Foreign
		store.Legacy
	}{old, f, l}
}

// yieldingOld and yieldingNew give way before and after every call that a
// request makes, so that others run in between. A hook may stand in for a
// fault, or for a broken rule.
type yieldingOld struct {
	oldStore
	cas func(next func() error, epoch int64) error
	put func() error // a fault instead of the call
}

func give() {
	for range rand.IntN(3) {
		runtime.Gosched()
	}
}

func (o yieldingOld) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	give()
	defer give()
	return o.oldStore.Get(ctx, ids...)
}

func (o yieldingOld) Fence(ctx context.Context) (store.Fence, error) {
	give()
	defer give()
	return o.oldStore.Fence(ctx)
}

func (o yieldingOld) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	give()
	defer give()
	if o.cas != nil {
		return o.cas(func() error { return o.oldStore.CompareAndSwap(ctx, epoch, rec, expect) }, epoch)
	}
	return o.oldStore.CompareAndSwap(ctx, epoch, rec, expect)
}

func (o yieldingOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	give()
	defer give()
	if o.put != nil {
		return o.put()
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

type yieldingNew struct {
	newStore
	put func(next func(...store.Record) error, recs []store.Record) error
}

func (n yieldingNew) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	give()
	defer give()
	return n.newStore.Get(ctx, ids...)
}

func (n yieldingNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	give()
	defer give()
	return n.newStore.CompareAndSwap(ctx, rec, expect)
}

func (n yieldingNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	give()
	defer give()
	if n.put != nil {
		return n.put(func(rs ...store.Record) error { return n.newStore.PutIfNewer(ctx, rs...) }, recs)
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

// world is both databases, with legacy records in old, and what was
// acknowledged so far.
type world struct {
	old oldStore
	new newStore
	ids []record.ID

	mu       sync.Mutex
	acked    map[record.ID][]string // by record, in order of acknowledgement
	problems []string
}

func newWorld(t *testing.T, legacy int) *world {
	t.Helper()
	w := &world{old: memory.NewOld("m"), new: memory.NewNew(), acked: map[record.ID][]string{}}
	for i := range legacy {
		id := record.ID(fmt.Sprintf("legacy-%03d", i))
		w.ids = append(w.ids, id)
		rec := store.Record{ID: id, Pair: store.Pair{Rev: 1}, Body: record.Body("0;")}
		must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) at(t *testing.T, step Step) *service {
	t.Helper()
	cfg := Config{Step: step, Instance: store.Registration{Instance: fmt.Sprintf("i%d-%p", step, &step)}}
	if step.HasOld() {
		cfg.Old = w.old
	}
	if step.HasNew() {
		cfg.New = w.new
	}
	s, err := New(cfg)
	must(t, err)
	must(t, s.Start(t.Context()))
	return s
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) ackedOf(id record.ID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.acked[id]...)
}

// appendTo adds a token to a record through a service and notes it if acknowledged.
func (w *world) appendTo(ctx context.Context, s *service, id record.ID, token string) error {
	_, err := s.Apply(ctx, id, false, func(cur store.Record, found bool) (store.Record, bool, error) {
		next := cur
		next.Deleted = false
		next.Body += record.Body(token + ";")
		return next, true, nil
	})
	if err == nil {
		w.mu.Lock()
		w.acked[id] = append(w.acked[id], token)
		w.mu.Unlock()
	}
	return err
}

// check reads a record and compares it with what was acknowledged before.
func (w *world) check(ctx context.Context, s *service, id record.ID) error {
	before := w.ackedOf(id)
	rec, _, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	w.holds(string(rec.Body), id, before)
	return nil
}

func (w *world) holds(entries string, id record.ID, acked []string) {
	for _, token := range acked {
		switch n := strings.Count(";"+entries, ";"+token+";"); {
		case n == 0:
			w.problem("%s: the acknowledged %s is missing in %q", id, token, entries)
		case n > 1:
			w.problem("%s: %s is there %d times in %q", id, token, n, entries)
		}
	}
}

// busy lets every service write and read all records, with all of them
// relaying, until rounds are over; meanwhile runs once beside it.
func (w *world) busy(t *testing.T, rounds int, services []*service, meanwhile func(ctx context.Context)) {
	t.Helper()
	ctx := t.Context()
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	for si, s := range services {
		for c := range 2 {
			writers.Go(func() {
				for r := range rounds {
					id := w.ids[rand.IntN(len(w.ids))]
					err := w.appendTo(ctx, s, id, fmt.Sprintf("s%dc%dr%d-%d", si, c, r, rand.Int32()))
					if err == nil {
						err = w.check(ctx, s, w.ids[rand.IntN(len(w.ids))])
					}
					if r%10 == 0 && err == nil {
						err = w.checkList(ctx, s)
					}
					if err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, store.ErrUnknown) {
						w.problem("step %d: %v", s.step, err)
					}
				}
			})
		}
		if s.relays() {
			others.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						_ = s.relayPass(ctx) // a fence that moves under it is no fault
						give()
					}
				}
			})
		}
	}
	if meanwhile != nil {
		others.Go(func() { meanwhile(ctx) })
	}
	writers.Wait()
	close(done)
	others.Wait()
}

// checkList wants every record in a list, once, with what was acknowledged.
func (w *world) checkList(ctx context.Context, s *service) error {
	before := map[string][]string{}
	for _, id := range w.ids {
		before[string(id)] = w.ackedOf(id)
	}
	got := map[string]string{}
	after := ""
	for {
		page, err := s.List(ctx, record.Filter{}, record.ID(after), 3)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if _, twice := got[string(r.ID)]; twice {
				w.problem("step %d: %s is listed twice", s.step, r.ID)
			}
			got[string(r.ID)] = string(r.Body)
		}
		if page.End {
			break
		}
		after = string(page.Next)
	}
	for _, id := range w.ids {
		entries, ok := got[string(id)]
		if !ok {
			w.problem("step %d: %s is missing in a list", s.step, id)
			continue
		}
		w.holds(string(record.ID(entries)), id, before[string(id)])
	}
	return nil
}

// conclude finishes the migration and wants every acknowledged token at step 8.
func (w *world) conclude(t *testing.T) []string {
	t.Helper()
	ctx := t.Context()
	fence, err := w.old.Fence(ctx)
	must(t, err)
	if fence.Primary == store.PrimaryOld {
		must(t, w.at(t, NewPrimary).Advance(ctx))
	}
	res, err := CopyAll(ctx, w.old, w.new, BackfillOptions{Batch: 7})
	must(t, err)
	if !res.Complete {
		w.problem("the backfill under new is not complete: %+v", res)
	}
	rep, err := Verify(ctx, w.old, w.new, VerifyOptions{Batch: 5})
	must(t, err)
	if !rep.Clean {
		w.problem("verify: %+v", rep)
	}
	last := w.at(t, RemoveOld)
	for _, id := range w.ids {
		must(t, w.check(ctx, last, id))
	}
	return w.problems
}
