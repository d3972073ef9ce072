package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/task"
)

var sentinels = []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrStranger, store.ErrUnsuited, store.ErrTooLong}

// only checks that err is want and none of the other sentinels.
func only(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	for _, other := range sentinels {
		if other != want && errors.Is(err, other) {
			t.Errorf("%s: %q is also %q", what, err, other)
		}
	}
}

// calls are all that a store offers once it is open.
var calls = map[string]func(context.Context, *sqlite.Store) error{
	"Get": func(ctx context.Context, s *sqlite.Store) error { _, _, err := s.Get(ctx, key("a")); return err },
	"CompareAndSwap": func(ctx context.Context, s *sqlite.Store) error {
		return s.CompareAndSwap(ctx, 1, fine(), store.Pair{})
	},
	"PutIfNewer": func(ctx context.Context, s *sqlite.Store) error { return s.PutIfNewer(ctx, 1, fine()) },
	"List": func(ctx context.Context, s *sqlite.Store) error {
		_, _, err := s.List(ctx, selected(task.Filter{}), "", 9)
		return err
	},
	"Pending":      func(ctx context.Context, s *sqlite.Store) error { _, _, err := s.Pending(ctx, "", 9); return err },
	"CountPending": func(ctx context.Context, s *sqlite.Store) error { _, err := s.CountPending(ctx); return err },
	"ClearPending": func(ctx context.Context, s *sqlite.Store) error { return s.ClearPending(ctx, store.Mark{ID: key("a")}) },
	"Scan":         func(ctx context.Context, s *sqlite.Store) error { _, _, err := s.Scan(ctx, "", 9); return err },
	"Count":        func(ctx context.Context, s *sqlite.Store) error { _, err := s.Count(ctx); return err },
	"Fence":        func(ctx context.Context, s *sqlite.Store) error { _, err := s.Fence(ctx); return err },
	"MoveFence": func(ctx context.Context, s *sqlite.Store) error {
		open := store.Fence{Epoch: 1, Primary: store.PrimaryOld}
		return s.MoveFence(ctx, open, open)
	},
	"Guarded": func(ctx context.Context, s *sqlite.Store) error { return s.Guarded(ctx) },
	"Sweep":   func(ctx context.Context, s *sqlite.Store) error { _, err := s.Sweep(ctx); return err },
	"Isolate": func(ctx context.Context, s *sqlite.Store) error {
		return s.Isolate(ctx, 1, store.Mark{ID: key("a")}, "x")
	},
	"Quarantine":  func(ctx context.Context, s *sqlite.Store) error { _, _, err := s.Quarantine(ctx, 0); return err },
	"Drop":        func(ctx context.Context, s *sqlite.Store) error { return s.Drop(ctx, "a") },
	"Restore":     func(ctx context.Context, s *sqlite.Store) error { return s.Restore(ctx, "a") },
	"Accept":      func(ctx context.Context, s *sqlite.Store) error { return s.Accept(ctx, 1) },
	"Accepted":    func(ctx context.Context, s *sqlite.Store) error { _, err := s.Accepted(ctx); return err },
	"Filled":      func(ctx context.Context, s *sqlite.Store) error { return s.Filled(ctx) },
	"PutTogether": func(ctx context.Context, s *sqlite.Store) error { return s.PutTogether(ctx, 1, fine()) },
	"Converted":   func(ctx context.Context, s *sqlite.Store) error { _, _, err := s.Converted(ctx, 9); return err },
}

func fine() sqlite.Record {
	return sqlite.Record{ID: key("fine"), Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body(task.Task{Assignee: "Bill"})}
}

func each(t *testing.T, s *sqlite.Store, what string, want error) {
	t.Helper()
	for name, call := range calls {
		only(t, name+" "+what, call(context.Background(), s), want)
	}
}

func TestFileOutOfReach(t *testing.T) {
	missing := filepath.Join(dir(t), "todo.sqlite")
	s := open(t, sqlite.Config{Path: missing})
	each(t, s, "of a missing file", store.ErrUnavailable)
	_, err := s.FirstContact(context.Background())
	only(t, "first contact with a missing file", err, store.ErrUnavailable)
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("the file was made: %v", err)
	}
	nowhere := open(t, sqlite.Config{Path: filepath.Join(missing, "no", "folder"), Create: true})
	_, err = nowhere.FirstContact(context.Background())
	only(t, "first contact without a folder", err, store.ErrUnavailable)

	garbage := filepath.Join(dir(t), "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	each(t, open(t, sqlite.Config{Path: garbage}), "of no database", store.ErrUnavailable)
	each(t, open(t, sqlite.Config{Path: legacy(t, abc)}), "before first contact", store.ErrStranger)

	closed, _ := fresh(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	each(t, closed, "after Close", store.ErrUnavailable)
}

// TestFileMovedAway: nobody would ever see what is written to it there.
func TestFileMovedAway(t *testing.T) {
	s, path := fresh(t)
	each2 := func(want error) { t.Helper(); each(t, s, "of a file that is elsewhere", want) }
	if err := s.CompareAndSwap(context.Background(), 1, fine(), store.Pair{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	each2(store.ErrUnavailable)
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, s); len(got) != 1 {
		t.Errorf("back again: %v", got)
	}
	// Another file in its place is another database.
	other, otherPath := fresh(t)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, path+".away"+suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(otherPath, path); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, s); len(got) != 0 {
		t.Errorf("replaced: %v", got)
	}
}

func TestFileLocked(t *testing.T) {
	s, path := fresh(t)
	s.Close()
	s = open(t, sqlite.Config{Path: path, BusyTimeout: 150 * time.Millisecond})
	db := plain(t, path)
	if _, err := db.Exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	only(t, "swap under a lock", s.CompareAndSwap(context.Background(), 1, fine(), store.Pair{}), store.ErrUnavailable)
	if got := scan(t, s); len(got) != 0 { // reads go on
		t.Errorf("%v", got)
	}
	patient := open(t, sqlite.Config{Path: path, BusyTimeout: time.Hour})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := patient.CompareAndSwap(ctx, 1, fine(), store.Pair{})
	only(t, "swap with a deadline", err, context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { done <- patient.CompareAndSwap(context.Background(), 1, fine(), store.Pair{}) }()
	if _, err := db.Exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the patient one: %v", err)
	}
}

func TestCancelledCallsChangeNothing(t *testing.T) {
	s, path := fresh(t)
	before := state(t, plain(t, path))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, call := range calls {
		only(t, name, call(ctx, s), context.Canceled)
	}
	if after := state(t, plain(t, path)); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
}

// TestCancelAtAnyMoment: whatever a call was cut short at, its error tells
// whether it took effect.
func TestCancelAtAnyMoment(t *testing.T) {
	s, _ := fresh(t)
	var stored store.Pair
	cut, through := 0, 0
	for i := range 400 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*2*time.Microsecond)
		next := fine()
		next.Rev = stored.Rev + 1
		err := s.CompareAndSwap(ctx, 1, next, stored)
		cancel()
		got := scan(t, s)["fine"].Pair
		switch {
		case err == nil:
			through++
			stored = next.Pair
		case errors.Is(err, store.ErrUnknown):
			stored = got
		default:
			cut++
			only(t, "cut short", err, context.DeadlineExceeded)
		}
		if got != stored {
			t.Fatalf("%v, yet stored is %v after %v", err, got, stored)
		}
	}
	if cut == 0 || through == 0 {
		t.Errorf("%d cut short, %d went through", cut, through)
	}
}

func TestUnfit(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	if _, err := plain(t, path).Exec(`CREATE UNIQUE INDEX theirs ON tasks(description); INSERT INTO tasks VALUES('a','Bill','x',0)`); err != nil {
		t.Fatal(err)
	}
	before := state(t, plain(t, path))
	other := fine()
	other.ID = key("other")
	for name, c := range map[string]struct {
		change func(*sqlite.Record)
		want   error
	}{
		"without an id":             {func(r *sqlite.Record) { r.ID = "" }, store.ErrUnfit},
		"of another collection":     {func(r *sqlite.Record) { r.ID = record.Start("elsewhere") }, store.ErrUnfit},
		"with another body":         {func(r *sqlite.Record) { r.Body = record.NewBody(record.OfInt(1)) }, store.ErrUnfit},
		"with text that is no text": {func(r *sqlite.Record) { r.Body = body(task.Task{Assignee: "\xff"}) }, store.ErrUnfit},
		"against their constraint":  {func(r *sqlite.Record) { r.Body = body(task.Task{Description: "x"}) }, store.ErrRule},
	} {
		r := fine()
		c.change(&r)
		only(t, "swap "+name, s.CompareAndSwap(ctx, 1, r, store.Pair{}), c.want)
		err := s.PutIfNewer(ctx, 1, other, r)
		only(t, "put "+name, err, c.want)
		var refusal *store.Refusal
		if !errors.As(err, &refusal) || refusal.ID != r.ID || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("%q", r.ID.String())) {
			t.Errorf("%v doesn't say which", err)
		}
	}
	if after := state(t, plain(t, path)); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
}

// TestForeignWritersAndTheFence: a foreign program writes as fast as it can
// while the fence moves; what it was granted is pending, the rest isn't there.
func TestForeignWritersAndTheFence(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	var granted atomic.Int64
	var group errgroup.Group
	group.Go(func() error {
		db := plain(t, path)
		for i := 0; ; i++ {
			if _, err := db.Exec(`INSERT INTO tasks VALUES(?,'Bill','x',0)`, fmt.Sprintf("f%06d", i)); err != nil {
				if !strings.Contains(err.Error(), refusal) {
					return err
				}
				return nil
			}
			granted.Add(1)
		}
	})
	ours := 0
	for granted.Load() < 50 {
		r := fine()
		r.ID = key(fmt.Sprintf("o%06d", ours))
		if err := s.CompareAndSwap(ctx, 1, r, store.Pair{}); err != nil {
			t.Fatal(err)
		}
		ours++
	}
	moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	got := scan(t, s)
	if len(got) != ours+int(granted.Load()) {
		t.Errorf("%d records, of %d of ours and %d granted", len(got), ours, granted.Load())
	}
	for id, r := range got {
		if foreign := id[0] == 'f'; r.Pending != foreign || r.Epoch != 1 || r.Rev != 1 {
			t.Errorf("%s: %v, pending %v", id, r.Pair, r.Pending)
		}
	}
}
