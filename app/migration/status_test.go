package migration

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"migrate/app/store"
)

// deafNew takes calls and never answers them.
type deafNew struct{ newStore }

func (deafNew) Prepared(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func (deafNew) CountPending(ctx context.Context) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (deafNew) Progress(ctx context.Context, _ int64) (store.Progress, error) {
	<-ctx.Done()
	return store.Progress{}, ctx.Err()
}

// Whoever asks how things are while a database does not answer is told what
// the other one knows, before he gives up.
func TestStatusOutlivesADeafDatabase(t *testing.T) {
	for _, c := range []struct {
		step    Step
		primary store.Primary
		ready   bool
		pending int64
	}{
		{WriteBoth, store.PrimaryOld, true, 1},
		{ReadBoth, store.PrimaryOld, true, 1},
		{NewPrimary, store.PrimaryNew, false, -1},
		{StopOldWrites, store.PrimaryNew, false, -1},
	} {
		t.Run(c.step.Name(), func(t *testing.T) {
			w := raisedTo(t, c.step, 1)
			if c.primary == store.PrimaryOld {
				_, n := w.faulty()
				n.put = errDown
				must(t, w.appendTo(t.Context(), w.at(t, c.step), w.ids[0], "x")) // which leaves it pending
			}
			s := w.at(t, c.step)
			if c.step == NewPrimary {
				must(t, s.Advance(t.Context()))
			}
			s.new = deafNew{w.new}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				st := s.Status(ctx)
				if ctx.Err() != nil {
					t.Error("it took longer than anybody waits")
				}
				if st.Primary != c.primary || st.Epoch == 0 || st.Ready != c.ready || st.Pending != c.pending || st.Reason+st.Degraded == "" {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}
