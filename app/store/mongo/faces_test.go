package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/store"
)

// face is one call on a store behind the proxy, for a row of the table to spoil.
type face struct {
	t       *testing.T
	p       *proxy
	s       *taskStore
	ctx     context.Context
	command string // that the call sends
	call    func(context.Context, *taskStore) error
}

// treat has the proxy do this to the call's command.
func (f *face) treat(what fault) { f.p.treat(only(f.command, what)) }

func does(e ending) func(*face) {
	return func(f *face) { f.treat(fault{ending: e}) }
}

func answers(doc bson.D) func(*face) {
	return func(f *face) { f.treat(fault{ending: answerItself, answer: doc}) }
}

func refusedWith(code int32) func(*face) {
	return answers(bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "as if"}})
}

func writeErrors(code int32) bson.D {
	return bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{
		bson.D{{Key: "index", Value: int32(0)}, {Key: "code", Value: code}, {Key: "errmsg", Value: "as if"}},
	}}}
}

// duplicateOf is a duplicate key of an index on this field.
func duplicateOf(field string) bson.D {
	return bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "writeErrors", Value: bson.A{bson.D{
		{Key: "index", Value: int32(0)}, {Key: "code", Value: int32(11000)}, {Key: "errmsg", Value: "as if"},
		{Key: "keyPattern", Value: bson.D{{Key: field, Value: int32(1)}}},
	}}}}
}

// at sends the call to another address.
func at(listen func(*testing.T) string) func(*face) {
	return func(f *face) {
		f.s = open(f.t, "mongodb://"+listen(f.t)+"/", "x", 100*time.Millisecond)
	}
}

func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// rude hangs up on everybody.
func rude(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func holding(end func(ctx context.Context, sent <-chan struct{}) context.Context) func(*face) {
	return func(f *face) {
		held := fault{ending: holdAnswer, sent: make(chan struct{})}
		first := true
		f.p.treat(func(name string) fault {
			if name != f.command {
				return fault{}
			}
			if !first {
				return fault{ending: loseRequest} // a read is sent again
			}
			first = false
			return held
		})
		f.ctx = end(f.ctx, held.sent)
	}
}

func (f *face) cas(change func(*store.Record), expect store.Pair) {
	f.call = func(ctx context.Context, s *taskStore) error {
		r := copyOf("b", 1, 1)
		change(&r)
		return s.CompareAndSwap(ctx, r, expect)
	}
}

// faces make the rows of docs/mongo-errors.md happen, by their first column.
func faces() map[string]func(*face) {
	concern := bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: int32(64)}, {Key: "errmsg", Value: "as if"}}}
	return map[string]func(*face){
		"the answer comes late, within the limit": does(delayAnswer),
		"nobody listens at the address":           at(nobody),
		"the handshake fails":                     at(rude),
		"the context has ended before": func(f *face) {
			ctx, cancel := context.WithCancel(f.ctx)
			cancel()
			f.ctx = ctx
		},
		"text that is not UTF-8": func(f *face) {
			f.cas(func(r *store.Record) { r.Body = body("\xff", false) }, store.Pair{})
		},
		"a document that is too large": func(f *face) {
			f.cas(func(r *store.Record) { r.Body = body(strings.Repeat("x", 16<<20), false) }, store.Pair{})
		},
		"the request is lost": does(loseRequest),
		"the answer is lost":  does(loseAnswer),
		"the connection is cut in the middle of the request": does(cutRequest),
		"the connection is cut in the middle of the answer":  does(cutAnswer),
		"no answer within the time limit": holding(func(ctx context.Context, _ <-chan struct{}) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			context.AfterFunc(ctx, cancel)
			return ctx
		}),
		"the context ends while waiting": holding(func(ctx context.Context, sent <-chan struct{}) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			go func() {
				select {
				case <-sent:
				case <-ctx.Done():
				}
				cancel()
			}()
			return ctx
		}),
		"the pair is not the expected one": func(f *face) {
			f.cas(func(r *store.Record) { r.Rev = 9 }, store.Pair{Rev: 8, Epoch: 1})
		},
		"DuplicateKey (11000)":                    answers(writeErrors(11000)),
		"DuplicateKey (11000) of another index":   answers(duplicateOf("mail")),
		"WriteConcernError":                       answers(bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, concern}),
		"WriteConcernError beside a refusal":      answers(append(writeErrors(11000), concern)),
		"NotWritablePrimary (10107)":              refusedWith(10107),
		"PrimarySteppedDown (189)":                refusedWith(189),
		"ShutdownInProgress (91)":                 refusedWith(91),
		"InterruptedAtShutdown (11600)":           refusedWith(11600),
		"MaxTimeMSExpired (50)":                   refusedWith(50),
		"an error code that is not in this table": refusedWith(987654),
		"Unauthorized (13)":                       refusedWith(13),
		"AuthenticationFailed (18)":               refusedWith(18),
		"DocumentValidationFailure (121)":         answers(writeErrors(121)),
		"BSONObjectTooLarge (10334)":              answers(writeErrors(10334)),
		"KeyTooLong (17280)":                      answers(writeErrors(17280)),
	}
}

// elsewhere is the row that needs a server with sessions; see internal_test.go.
const elsewhere = "sent twice by the driver, refused the second time"

// table returns the rows of docs/mongo-errors.md: what happens, to a write, to a read.
func table(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/mongo-errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][2]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| ") || cells[0] == "| what happens" {
			continue
		}
		rows[strings.TrimPrefix(cells[0], "| ")] = [2]string{cells[1], cells[2]}
	}
	return rows
}

var outcomes = map[string]error{
	"success": nil, "conflict": store.ErrConflict, "unavailable": store.ErrUnavailable, "unknown": store.ErrUnknown, "unfit": store.ErrUnfit, "rule": store.ErrRule,
}

// The page says what the code does: each of its rows happens here to each kind of call.
func TestFaces(t *testing.T) {
	rows := table(t)
	if _, ok := rows[elsewhere]; !ok {
		t.Errorf("no row %q", elsewhere)
	}
	delete(rows, elsewhere)
	for what := range faces() {
		if _, ok := rows[what]; !ok {
			t.Errorf("the page doesn't say what it means that %s", what)
		}
	}
	for what, row := range rows {
		spoil := faces()[what]
		if spoil == nil {
			t.Errorf("a row that doesn't happen here: %s", what)
			continue
		}
		t.Run(what, func(t *testing.T) {
			for _, name := range []string{"create", "swap", "put"} {
				if name == "put" && row[0] == "conflict" {
					continue // TestDuplicateKeyIsLookedAt
				}
				w := writes()[name]
				call := func(ctx context.Context, s *taskStore) error { return w.call(ctx, s) }
				if err := meets(t, w.command, call, row[0], spoil); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if row[1] == "–" {
				return
			}
			if err := meets(t, "find", reads()["Get"], row[1], spoil); err != nil {
				t.Errorf("a read: %v", err)
			}
		})
	}
}

// meets makes one call, spoils it, and says how its outcome differs from the word on the page.
func meets(t *testing.T, command string, call func(context.Context, *taskStore) error, word string, spoil func(*face)) error {
	t.Helper()
	want, ok := outcomes[word]
	if !ok {
		t.Fatalf("%q is no outcome", word)
	}
	var timeout time.Duration
	if command == "find" && want != nil {
		timeout = 200 * time.Millisecond // the driver repeats reads until the time is up
	}
	p, s, _ := behindProxy(t, timeout)
	f := &face{t: t, p: p, s: s, ctx: t.Context(), command: command, call: call}
	spoil(f)
	err := f.call(f.ctx, f.s)
	for name, sentinel := range outcomes {
		if sentinel != nil && errors.Is(err, sentinel) != (sentinel == want) || (err == nil) != (want == nil) {
			return fmt.Errorf("got %w, want %s (and not %s)", err, word, name)
		}
	}
	return nil
}

// The table can fail: a store that takes an unknown outcome for a failure
// differs from it in every row that says so.
func TestFacesCatchAHopefulStore(t *testing.T) {
	for what, row := range table(t) {
		if row[0] != "unknown" || what == elsewhere {
			continue
		}
		call := func(ctx context.Context, s *taskStore) error { return writes()["create"].call(ctx, hopeful{s}) }
		if meets(t, "insert", call, row[0], faces()[what]) == nil {
			t.Errorf("%s: it was not noticed", what)
		}
	}
}
