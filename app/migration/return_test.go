package migration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func quickReturn() ReturnOptions {
	return ReturnOptions{Token: "tool", Gone: func(store.Registration) error { return nil }, Grace: time.Millisecond, Deadline: 200 * time.Millisecond}
}

func fenceOf(t *testing.T, w *world) store.Fence {
	t.Helper()
	f, err := w.old.Fence(t.Context())
	must(t, err)
	return f
}

// What was written under new, at 6 too, is back in old when old is primary.
func TestReturnBringsEverythingBack(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 3)
	must(t, w.appendTo(t.Context(), w.at(t, StopOldWrites), w.ids[0], "six"))
	must(t, w.appendTo(t.Context(), w.at(t, ReadBoth), w.ids[1], "four"))
	remove(t, w.at(t, Backfill), w.ids[2])
	res, err := ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
	must(t, err)
	if res.Epoch != 3 || res.Already || len(res.Gone) == 0 {
		t.Errorf("got %+v", res)
	}
	if f := fenceOf(t, w); f.Epoch != 3 || f.Primary != store.PrimaryOld || f.Closing {
		t.Errorf("the fence is %+v", f)
	}
	for _, step := range []Step{DeployNew, WriteBoth, ReadBoth} {
		s := w.at(t, step)
		if got := entries(t, s, w.ids[0]) + entries(t, s, w.ids[1]) + entries(t, s, w.ids[2]); got != "0;six;0;four;" {
			t.Errorf("step %d reads %q", step, got)
		}
	}
	if _, err := New(Config{Step: StopOldWrites, Old: w.old, New: w.new}); err != nil {
		t.Fatal(err)
	}
	res, err = ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
	if err != nil || !res.Already {
		t.Errorf("once more: %+v, %v", res, err)
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	for _, p := range w.conclude(t) {
		t.Error(p)
	}
}

// While two versions write, the primary goes to new, back to old, and to new
// again: nothing acknowledged is lost.
func TestReturnUnderLoad(t *testing.T) {
	for _, steps := range [][2]Step{{WriteBoth, ReadBoth}, {ReadBoth, ReadBoth}, {ReadBoth, NewPrimary}} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			w := raisedTo(t, StopOldWrites, 4)
			sound, soundNew := w.old, w.new
			w.old, w.new = yieldingOld{oldStore: w.old}, yieldingNew{newStore: w.new}
			services := []*service{w.at(t, steps[1])}
			if steps[0] != WriteBoth {
				services = append(services, w.at(t, steps[0]))
			}
			w.busy(t, 150, services, func(ctx context.Context) {
				for range 3 {
					if _, err := ReturnPrimary(ctx, sound, soundNew, quickReturn()); err != nil && !errors.Is(err, ErrGaveUp) {
						w.problem("return: %v", err)
					}
					if f, err := sound.Fence(ctx); err == nil && f.Primary == store.PrimaryOld {
						s, _ := New(Config{Step: NewPrimary, Old: sound, New: soundNew})
						if err := s.Advance(ctx); err != nil {
							w.problem("advance: %v", err)
						}
					}
				}
			})
			for _, p := range w.conclude(t) {
				t.Error(p)
			}
		})
	}
}

func TestReturnRefusesWhileAnInstanceLives(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	w.at(t, StopOldWrites)
	opt := quickReturn()
	opt.Gone = func(store.Registration) error { return errors.New("it answers") }
	if _, err := ReturnPrimary(t.Context(), w.old, w.new, opt); !errors.Is(err, ErrLiving) {
		t.Errorf("got %v", err)
	}
	if f := fenceOf(t, w); f.Primary != store.PrimaryNew || f.Closing || f.Epoch != 2 {
		t.Errorf("the fence is %+v, want it untouched", f)
	}
}

// An instance registers while the fence is closing: it saw the mirror before it
// moved, so the second look must find it.
func TestReturnLooksAtTheRegistrationsAgain(t *testing.T) {
	for _, blind := range []bool{false, true} {
		w := raisedTo(t, StopOldWrites, 1)
		var stray *service
		n := &hookedNew{newStore: w.new, beforeMirror: func() { stray = w.at(t, StopOldWrites) }, blind: blind}
		opt := quickReturn()
		opt.Gone = func(store.Registration) error { return errors.New("it lives") }
		_, err := ReturnPrimary(t.Context(), w.old, n, opt)
		if blind {
			// Without the second look both are primary at once, and a write is hidden.
			must(t, err)
			must(t, w.appendTo(t.Context(), stray, w.ids[0], "stray"))
			if got := entries(t, w.at(t, WriteBoth), w.ids[0]); got != "0;" {
				t.Errorf("the broken variant hides nothing: %q", got)
			}
			continue
		}
		if !errors.Is(err, ErrGaveUp) || !errors.Is(err, ErrLiving) {
			t.Fatalf("got %v", err)
		}
		f, m := fenceOf(t, w), store.Mirror{}
		m, err = w.new.Mirror(t.Context())
		must(t, err)
		if f.Primary != store.PrimaryNew || f.Closing || f.Epoch != 4 || m.Epoch != 4 || m.Primary != store.PrimaryNew {
			t.Errorf("fence %+v, mirror %+v; want both at epoch 4, new", f, m)
		}
		must(t, w.appendTo(t.Context(), stray, w.ids[0], "stray"))
		for _, p := range w.conclude(t) {
			t.Error(p)
		}
	}
}

// hookedNew runs something just before the mirror moves; blind, it then hides
// the registrations.
type hookedNew struct {
	newStore
	beforeMirror func()
	blind, moved bool
}

func (n *hookedNew) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if n.beforeMirror != nil {
		n.beforeMirror()
		n.beforeMirror = nil
	}
	n.moved = true
	return n.newStore.RaiseMirror(ctx, m)
}

func (n *hookedNew) Registrations(ctx context.Context) ([]store.Registration, error) {
	if n.blind && n.moved {
		return nil, nil
	}
	return n.newStore.Registrations(ctx)
}

// A write that was under way when the fence closed: the drain finds it.
// Without the drain it is hidden.
func TestReturnDrainsAfterTheClosing(t *testing.T) {
	for _, broken := range []bool{false, true} {
		w := raisedTo(t, StopOldWrites, 1)
		o, _ := w.faulty()
		s := w.at(t, ReadBoth)
		o.put = errDown // its copies don't get to old: acknowledged by the fence alone
		tool := &closingOld{oldStore: o.oldStore, before: func() { must(t, w.appendTo(t.Context(), s, w.ids[0], "x")) }}
		var n newStore = w.new
		if broken {
			n = emptyOutbox{w.new}
		}
		_, err := ReturnPrimary(t.Context(), tool, n, quickReturn())
		must(t, err)
		got := entries(t, w.at(t, WriteBoth), w.ids[0])
		if !broken && got != "0;x;" || broken && got != "0;" {
			t.Errorf("broken %v: old reads %q", broken, got)
		}
	}
}

// closingOld runs something just before the fence closes.
type closingOld struct {
	oldStore
	before func()
}

func (o *closingOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if to.Closing {
		o.before()
	}
	return o.oldStore.MoveFence(ctx, from, to)
}

type emptyOutbox struct{ newStore }

func (emptyOutbox) Pending(context.Context, record.ID, int) (recordPage, error) {
	return recordPage{End: true}, nil
}

// The tool dies at each of its calls in turn. Writes are served again once the
// deadline has passed, and the next attempt gets there.
func TestReturnByAToolThatDies(t *testing.T) {
	for call := 1; ; call++ {
		w := raisedTo(t, StopOldWrites, 2)
		s := w.at(t, ReadBoth)
		must(t, w.appendTo(t.Context(), w.at(t, StopOldWrites), w.ids[0], "a"))
		mortal := &mortality{left: call}
		opt := quickReturn()
		_, err := ReturnPrimary(t.Context(), mortalOld{w.old, mortal}, mortalNew{w.new, mortal}, opt)
		if err == nil {
			if call < 8 {
				t.Fatalf("the tool made only %d calls", call)
			}
			return
		}
		later := func() time.Time { return time.Now().Add(time.Hour) } // past the deadline
		s.cfg.Now, opt.Now = later, later
		must(t, w.appendTo(t.Context(), s, w.ids[1], "b"))
		res, err := ReturnPrimary(t.Context(), w.old, w.new, opt)
		if err != nil {
			t.Fatalf("after a death at call %d: %v", call, err)
		}
		if f := fenceOf(t, w); f.Primary != store.PrimaryOld || f.Epoch != res.Epoch {
			t.Errorf("after a death at call %d: %+v, %+v", call, f, res)
		}
		if got := entries(t, w.at(t, DeployNew), w.ids[0]) + entries(t, w.at(t, DeployNew), w.ids[1]); got != "0;a;0;b;" {
			t.Errorf("after a death at call %d: %q", call, got)
		}
		for _, p := range w.conclude(t) {
			t.Errorf("after a death at call %d: %s", call, p)
		}
	}
}

var errDead = errors.New("the tool is dead")

type mortality struct{ left int }

func (m *mortality) call() error {
	if m.left--; m.left < 0 {
		return errDead
	}
	return nil
}

type mortalOld struct {
	oldStore
	m *mortality
}

func (o mortalOld) Fence(ctx context.Context) (store.Fence, error) {
	if err := o.m.call(); err != nil {
		return store.Fence{}, err
	}
	return o.oldStore.Fence(ctx)
}

func (o mortalOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if err := o.m.call(); err != nil {
		return err
	}
	return o.oldStore.MoveFence(ctx, from, to)
}

func (o mortalOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if err := o.m.call(); err != nil {
		return err
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

type mortalNew struct {
	newStore
	m *mortality
}

func (n mortalNew) Pending(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	if err := n.m.call(); err != nil {
		return recordPage{}, err
	}
	return n.newStore.Pending(ctx, after, limit)
}

func (n mortalNew) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := n.m.call(); err != nil {
		return err
	}
	return n.newStore.ClearPending(ctx, marks...)
}

func (n mortalNew) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if err := n.m.call(); err != nil {
		return err
	}
	return n.newStore.RaiseMirror(ctx, m)
}

func (n mortalNew) Registrations(ctx context.Context) ([]store.Registration, error) {
	if err := n.m.call(); err != nil {
		return nil, err
	}
	return n.newStore.Registrations(ctx)
}
