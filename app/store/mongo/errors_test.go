package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func copyOf(id string, rev, epoch int64) store.Record {
	return store.Record{ID: key(id), Pair: store.Pair{Rev: rev, Epoch: epoch}, Pending: true, Body: body("", false)}
}

// behindProxy returns a store that goes through a proxy, has used both its
// clients and holds record "a" at (1,1), pending; and one that goes straight
// to the server.
func behindProxy(t *testing.T, timeout time.Duration) (*proxy, *taskStore, *taskStore) {
	t.Helper()
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	straight := prepared(t, open(t, embeddedURI, name, time.Minute))
	s := open(t, p.uri(), name, time.Minute)
	if err := s.CompareAndSwap(t.Context(), copyOf("a", 1, 1), store.Pair{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mirror(t.Context()); err != nil {
		t.Fatal(err)
	}
	if timeout > 0 {
		s = open(t, p.uri(), name, timeout)
	}
	return p, s, straight
}

// only treats commands of this name, and no others.
func only(name string, f fault) func(string) fault {
	return func(n string) fault {
		if n == name {
			return f
		}
		return fault{}
	}
}

// wantOnly checks that err is want and no other of the store's errors.
func wantOnly(t *testing.T, what string, err, want error) {
	t.Helper()
	for _, sentinel := range []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrStranger} {
		if errors.Is(err, sentinel) != (sentinel == want) {
			t.Errorf("%s: got %v, want %v alone", what, err, want)
			return
		}
	}
}

// write is a call that changes something.
type write struct {
	command string // that it sends
	call    func(context.Context, store.New) error
	done    func(context.Context, *taskStore) (bool, error) // whether it has had its effect
}

func writes() map[string]write {
	type newStore = store.New
	return map[string]write{
		"create": {"insert", func(ctx context.Context, s newStore) error {
			return s.CompareAndSwap(ctx, copyOf("b", 1, 1), store.Pair{})
		}, pairIs("b", 1)},
		"swap": {"update", func(ctx context.Context, s newStore) error {
			return s.CompareAndSwap(ctx, copyOf("a", 2, 1), store.Pair{Rev: 1, Epoch: 1})
		}, pairIs("a", 2)},
		"put": {"update", func(ctx context.Context, s newStore) error {
			return s.PutIfNewer(ctx, copyOf("a", 3, 1), copyOf("c", 3, 1))
		}, pairIs("c", 3)},
		"clear": {"update", func(ctx context.Context, s newStore) error {
			return s.ClearPending(ctx, copyOf("a", 1, 1).Mark())
		}, func(ctx context.Context, s *taskStore) (bool, error) {
			n, err := s.CountPending(ctx)
			return n == 0, err
		}},
		"register": {"update", func(ctx context.Context, s newStore) error {
			return s.Register(ctx, store.Registration{Instance: "i"})
		}, func(ctx context.Context, s *taskStore) (bool, error) {
			all, err := s.Registrations(ctx)
			return len(all) == 1, err
		}},
		"raise": {"update", func(ctx context.Context, s newStore) error {
			return s.RaiseMirror(ctx, store.Mirror{Migration: "a migration", Epoch: 2, Primary: store.PrimaryNew})
		}, func(ctx context.Context, s *taskStore) (bool, error) {
			m, err := s.Mirror(ctx)
			return m.Epoch == 2, err
		}},
	}
}

func pairIs(id string, rev int64) func(context.Context, *taskStore) (bool, error) {
	return func(ctx context.Context, s *taskStore) (bool, error) {
		found, err := s.Get(ctx, key(id))
		return found[key(id)].Rev == rev, err
	}
}

// lost lets one write's request or answer go astray and says what is wrong
// with what the store made of it.
func lost(t *testing.T, name string, e ending, wrap func(*taskStore) store.New) error {
	t.Helper()
	p, s, straight := behindProxy(t, 0)
	w := writes()[name]
	p.treat(only(w.command, fault{ending: e}))
	err := w.call(t.Context(), wrap(s))
	done, getErr := w.done(t.Context(), straight)
	if getErr != nil {
		t.Fatal(getErr)
	}
	if done != (e == loseAnswer) {
		t.Fatalf("the proxy is not what it claims to be: effect %v", done)
	}
	if !errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("got %w, want ErrUnknown", err)
	}
	return nil
}

func asItIs(s *taskStore) store.New { return s }

func TestLostIsUnknown(t *testing.T) {
	for name := range writes() {
		for what, e := range map[string]ending{"answer": loseAnswer, "request": loseRequest} {
			t.Run(name+", "+what+" lost", func(t *testing.T) {
				if err := lost(t, name, e, asItIs); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// hopeful takes a lost connection for proof that nothing happened.
type hopeful struct{ *taskStore }

func (h hopeful) CompareAndSwap(ctx context.Context, r store.Record, expect store.Pair) error {
	err := h.taskStore.CompareAndSwap(ctx, r, expect)
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: %v", store.ErrUnavailable, err)
	}
	return err
}

func TestHopefulStoreIsCaught(t *testing.T) {
	err := lost(t, "create", loseAnswer, func(s *taskStore) store.New { return hopeful{s} })
	if err == nil {
		t.Error("a store that takes a lost answer for a failure passed")
	}
}

func TestTimeoutIsUnknown(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for _, name := range []string{"create", "swap", "put"} {
		t.Run(name, func(t *testing.T) {
			p, s, straight := behindProxy(t, timeout)
			f := fault{ending: holdAnswer, sent: make(chan struct{})}
			p.treat(only(writes()[name].command, f))
			err := writes()[name].call(t.Context(), s)
			wantOnly(t, "past the time limit", err, store.ErrUnknown)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v doesn't wrap the context's error", err)
			}
			<-f.sent
			if done, err := writes()[name].done(t.Context(), straight); !done || err != nil {
				t.Errorf("no effect; the test proves nothing (%v)", err)
			}
		})
	}
}

func TestCancelledAfterSendingIsUnknown(t *testing.T) {
	p, s, straight := behindProxy(t, 0)
	f := fault{ending: holdAnswer, sent: make(chan struct{})}
	p.treat(only("insert", f))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-f.sent
		cancel()
	}()
	err := writes()["create"].call(ctx, s)
	wantOnly(t, "cancelled while waiting for the answer", err, store.ErrUnknown)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v doesn't wrap the context's error", err)
	}
	if done, err := writes()["create"].done(t.Context(), straight); !done || err != nil {
		t.Errorf("no effect; the test proves nothing (%v)", err)
	}
}

func TestUnreachableIsUnavailable(t *testing.T) {
	for what, address := range map[string]string{"refused": nobody(t), "closed at once": rude(t)} {
		s := open(t, "mongodb://"+address+"/", "x", 100*time.Millisecond)
		for name, w := range writes() {
			wantOnly(t, what+", "+name, w.call(t.Context(), s), store.ErrUnavailable)
		}
		for name, read := range reads() {
			wantOnly(t, what+", "+name, read(t.Context(), s), store.ErrUnavailable)
		}
	}
}

// Who can't reach it is told why, and not the driver's view of the deployment.
func TestUnreachableSaysWhy(t *testing.T) {
	s := open(t, "mongodb://bill:secret@"+nobody(t)+"/", "x", 300*time.Millisecond)
	_, err := s.Prepared(t.Context())
	if text := fmt.Sprint(err); !strings.Contains(text, "connection refused") || strings.Contains(text, "opology") || strings.Contains(text, "secret") {
		t.Errorf("%s", text)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v no longer is what it wraps", err)
	}
}

// reads are the calls that change no record.
func reads() map[string]func(context.Context, *taskStore) error {
	return map[string]func(context.Context, *taskStore) error{
		"Get":      func(ctx context.Context, s *taskStore) error { _, err := s.Get(ctx, key("a")); return err },
		"Get many": func(ctx context.Context, s *taskStore) error { _, err := s.Get(ctx, key("a"), key("b")); return err },
		"List": func(ctx context.Context, s *taskStore) error {
			_, err := s.List(ctx, record.Filter{}, "", 1)
			return err
		},
		"Scan":     func(ctx context.Context, s *taskStore) error { _, err := s.Scan(ctx, "", 1); return err },
		"Mirror":   func(ctx context.Context, s *taskStore) error { _, err := s.Mirror(ctx); return err },
		"Progress": func(ctx context.Context, s *taskStore) error { _, err := s.Progress(ctx, 1); return err },
		"Registrations": func(ctx context.Context, s *taskStore) error {
			_, err := s.Registrations(ctx)
			return err
		},
	}
}

func TestLostReadIsUnavailable(t *testing.T) {
	// The driver repeats reads until the time is up.
	p, s, _ := behindProxy(t, 200*time.Millisecond)
	for _, e := range []ending{loseAnswer, loseRequest} {
		p.treat(only("find", fault{ending: e}))
		for name, read := range reads() {
			wantOnly(t, name, read(t.Context(), s), store.ErrUnavailable)
		}
	}
	// What a causal read writes first is nobody's write.
	p.treat(only("update", fault{ending: loseAnswer}))
	wantOnly(t, "Mirror, its probe lost", reads()["Mirror"](t.Context(), s), store.ErrUnavailable)
}

func TestAnswersMeanWhatTheyMean(t *testing.T) {
	refused := func(code int32) bson.D {
		return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "as if"}}
	}
	writeError := func(code int32) bson.D {
		return bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{
			bson.D{{Key: "index", Value: int32(0)}, {Key: "code", Value: code}, {Key: "errmsg", Value: "as if"}},
		}}}
	}
	concern := bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: int32(64)}, {Key: "errmsg", Value: "as if"}}}
	p, s, _ := behindProxy(t, 0)
	for what, c := range map[string]struct {
		answer bson.D
		want   error
	}{
		"write concern error":                {bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, concern}, store.ErrUnknown},
		"write concern error, duplicate key": {append(writeError(11000), concern), store.ErrUnknown},
		"write concern error, too large":     {append(writeError(10334), concern), store.ErrUnknown},
		"not writable primary":               {refused(10107), store.ErrUnknown},
		"primary stepped down":               {refused(189), store.ErrUnknown},
		"shutting down":                      {refused(11600), store.ErrUnknown},
		"past maxTimeMS":                     {refused(50), store.ErrUnknown},
		"something never heard of":           {refused(987654), store.ErrUnknown},
		"a write error never heard of":       {writeError(987654), store.ErrUnknown},
		"not authorized":                     {refused(13), store.ErrUnavailable},
		"the collection's own validation":    {writeError(121), store.ErrUnfit},
		"too large":                          {writeError(10334), store.ErrUnfit},
		"too large, as a whole":              {refused(10334), store.ErrUnfit},
	} {
		p.treat(func(name string) fault {
			if name == "insert" || name == "update" {
				return fault{ending: answerItself, answer: c.answer}
			}
			return fault{}
		})
		for _, name := range []string{"create", "swap", "put"} {
			err := writes()[name].call(t.Context(), s)
			wantOnly(t, what+", "+name, err, c.want)
			if name == "put" && c.want == store.ErrUnfit && strings.Contains(what, "validation") && !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("%s: %v doesn't name the record", what, err)
			}
		}
	}
	p.treat(only("insert", fault{ending: answerItself, answer: writeError(11000)}))
	wantOnly(t, "duplicate key", writes()["create"].call(t.Context(), s), store.ErrConflict)
}

// A duplicate key of somebody's own index is no conflict, nor does it say that a
// copy is not newer: it is a rule, and another time it may not be in the way.
func TestDuplicateOfAnotherIndexIsARule(t *testing.T) {
	p, s, _ := behindProxy(t, 0)
	answer := func(message string, more ...bson.E) bson.D {
		e := bson.D{{Key: "index", Value: int32(0)}, {Key: "code", Value: int32(11000)}, {Key: "errmsg", Value: message}}
		return bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{append(e, more...)}}}
	}
	pattern := func(field string) bson.E {
		return bson.E{Key: "keyPattern", Value: bson.D{{Key: field, Value: int32(1)}}}
	}
	for what, c := range map[string]struct {
		answer bson.D
		want   error
	}{
		"another index":              {answer("E11000 duplicate key error collection: x.tasks index: mail_1 dup key: { mail: \" index: _id_ \" }"), store.ErrRule},
		"another index, by pattern":  {answer("E11000 index: _id_", pattern("mail")), store.ErrRule},
		"the _id":                    {answer("E11000 duplicate key error collection: x.tasks index: _id_ dup key: { _id: \"a\" }"), store.ErrConflict},
		"the _id, as of old":         {answer("E11000 duplicate key error index: x.tasks.$_id_ dup key: { : \"a\" }"), store.ErrConflict},
		"the _id, by pattern":        {answer("as if index: other", pattern("_id")), store.ErrConflict},
		"a server that names no one": {answer("E11000 duplicate key error collection: x.tasks"), store.ErrConflict},
	} {
		p.treat(func(name string) fault {
			if name == "insert" || name == "update" && c.want == store.ErrRule {
				return fault{ending: answerItself, answer: c.answer}
			}
			return fault{}
		})
		wantOnly(t, what+", create", writes()["create"].call(t.Context(), s), c.want)
		if c.want == store.ErrRule {
			wantOnly(t, what+", swap", writes()["swap"].call(t.Context(), s), c.want)
			wantOnly(t, what+", put", writes()["put"].call(t.Context(), s), c.want)
		}
	}
}

// A duplicate key says that a record is there, not that it is newer: it may
// have been created a moment ago, and older.
func TestDuplicateKeyIsLookedAt(t *testing.T) {
	p, s, straight := behindProxy(t, 2*time.Second)
	var met atomic.Int64
	p.treat(func(name string) fault {
		if name == "update" && met.Add(1) <= 3 {
			return fault{ending: answerItself, answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{
				bson.D{{Key: "index", Value: int32(0)}, {Key: "code", Value: int32(11000)}, {Key: "errmsg", Value: "E11000 duplicate key"}},
			}}}}
		}
		return fault{}
	})
	if err := writes()["put"].call(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if met.Load() != 4 {
		t.Errorf("the update was sent %d times, want 4", met.Load())
	}
	found, err := straight.Get(t.Context(), key("a"), key("c"))
	if err != nil || found[key("a")].Rev != 3 || found[key("c")].Rev != 3 {
		t.Errorf("after a duplicate key: %v, %v", found, err)
	}
	// If it can't be looked at, nothing is known.
	p.treat(func(name string) fault {
		switch name {
		case "update":
			return fault{}
		case "find":
			return fault{ending: loseRequest}
		}
		return fault{}
	})
	wantOnly(t, "put of what is there, with no look at it", s.PutIfNewer(t.Context(), copyOf("a", 2, 1)), store.ErrUnknown)
}
