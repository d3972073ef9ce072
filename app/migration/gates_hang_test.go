package migration

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// hungNew answers nothing until its caller gives up.
type hungNew struct{ newStore }

func (n hungNew) Look() store.NewLook { return n }
func (hungNew) Prepared(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}
func (hungNew) Mirror(ctx context.Context) (store.Mirror, error) {
	<-ctx.Done()
	return store.Mirror{}, ctx.Err()
}
func (hungNew) Progress(ctx context.Context, _ int64) (store.Progress, error) {
	<-ctx.Done()
	return store.Progress{}, ctx.Err()
}
func (hungNew) CountPending(ctx context.Context) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
func (hungNew) Get(ctx context.Context, _ ...record.ID) (found, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A look at the gates asks all that it asks at the same time, and answers within
// three seconds while new hangs: what needs it is refused, and says what to do.
func TestALookAtTheGatesWhileNewHangs(t *testing.T) {
	for step, raised := range map[Step]Step{AddDAO: AddDAO, WriteBoth: WriteBoth, ReadBoth: ReadBoth, NewPrimary: NewPrimary, StopOldWrites: StopOldWrites, Backfill: Backfill, RemoveOld: RemoveOld} {
		w := raisedTo(t, raised, 1)
		synctest.Test(t, func(t *testing.T) {
			s := w.unstarted(t, step)
			must(t, s.Start(t.Context()))
			s.new = hungNew{w.new}
			began := time.Now()
			gates, err := s.LookAtGates(t.Context(), step)
			must(t, err)
			if took := time.Since(began); took > gateLook {
				t.Errorf("step %d: it took %v", step, took)
			}
			refused := 0
			for _, g := range gates {
				if g.Name == GateTriggers || g.Name == GateFilled || g.Name == GateQuarantine && step == NewPrimary {
					if !g.OK {
						t.Errorf("step %d: %+v needs nothing of new", step, g)
					}
					continue
				}
				if refused++; g.OK || !strings.Contains(g.Remedy, "bring the database back into reach") {
					t.Errorf("step %d: %+v", step, g)
				}
			}
			if refused == 0 {
				t.Errorf("step %d: no gate needs new: %+v", step, gates)
			}
		})
	}
}
