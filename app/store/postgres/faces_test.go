package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/app/store/storetest"
)

// bench is a new database that is reached through a proxy.
type bench struct {
	p           *proxy
	s, straight *postgres.New
	hasty       *postgres.New // gives up soon
	made        atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	uri := pgtest.Database(t)
	b := &bench{straight: openNew(t, uri, storetest.Tasks())}
	if err := b.straight.Prepare(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	var through string
	b.p, through = startProxy(t, uri)
	b.s = openNew(t, through, storetest.Tasks())
	b.hasty = open(t, through, 400*time.Millisecond)
	return b
}

func open(t *testing.T, uri string, timeout time.Duration) *postgres.New {
	t.Helper()
	n, err := postgres.OpenNew(t.Context(), postgres.Config{URI: uri, Collections: storetest.Tasks().Collections, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// face is one call on a store behind the proxy, for a row of the table to spoil.
type face struct {
	t     *testing.T
	b     *bench
	s     store.New
	ctx   context.Context
	at    string // the request that is spoilt
	reads bool
	rec   store.Record
	call  func(context.Context, store.New) error
	done  func(context.Context) (bool, error) // whether it has had its effect
}

func does(e ending) func(*face) {
	return func(f *face) { f.b.p.treat(f.at, fault{ending: e}) }
}

// refused has the server answer with an error.
func refused(severity, code string, more ...func(*pgproto3.ErrorResponse)) func(*face) {
	e := &pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "as if"}
	for _, change := range more {
		change(e)
	}
	return func(f *face) {
		f.b.p.treat(f.at, fault{ending: answerItself, answer: encode(e, &pgproto3.ReadyForQuery{TxStatus: 'E'})})
	}
}

// raised is what RAISE of PL/pgSQL adds.
func raised(e *pgproto3.ErrorResponse) { e.Routine = "exec_stmt_raise" }

// in says which function an error comes from.
func in(function string) func(*pgproto3.ErrorResponse) {
	return func(e *pgproto3.ErrorResponse) {
		e.Where = "PL/pgSQL function " + function + " line 3 at SQL statement\nSQL statement \"select migrate_new.x()\""
	}
}

func warned(code, routine string) func(*face) {
	return func(f *face) {
		f.b.p.treat(f.at, fault{ending: addNotice, answer: encode(&pgproto3.NoticeResponse{Severity: "WARNING", Code: code, Message: "as if", Routine: routine})})
	}
}

// elsewhereAt sends the call to another address.
func elsewhereAt(listen func(*testing.T) string) func(*face) {
	return func(f *face) {
		f.s = open(f.t, "postgres://bill:secret@"+listen(f.t)+"/x?sslmode=disable", time.Second)
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

// listening takes connections and does this with each.
func listening(does func(net.Conn)) func(*testing.T) string {
	return func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		var held []net.Conn
		go func() {
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				held = append(held, conn)
				does(conn)
			}
		}()
		t.Cleanup(func() {
			l.Close()
			<-done
			for _, conn := range held {
				conn.Close()
			}
		})
		return l.Addr().String()
	}
}

var (
	rude   = listening(func(c net.Conn) { c.Close() })
	silent = listening(func(net.Conn) {})
)

func holding(end func(f *face, sent <-chan struct{})) func(*face) {
	return func(f *face) {
		held := fault{ending: holdAnswer, sent: make(chan struct{})}
		f.b.p.treat(f.at, held)
		end(f, held.sent)
	}
}

func (f *face) holds(text string) {
	f.rec.Body = record.NewBody(record.UncheckedText("bill"), record.UncheckedText(text), record.OfBool(false))
}

// faces make the rows of docs/postgres-errors.md happen, by their first column.
func faces() map[string]func(*face) {
	const plain, fatal = "ERROR", "FATAL"
	return map[string]func(*face){
		"the answer comes late, within the limit": does(delayAnswer),
		"nobody listens at the address":           elsewhereAt(nobody),
		"the handshake fails":                     elsewhereAt(rude),
		"the handshake gets no answer":            elsewhereAt(silent),
		"the context has ended before": func(f *face) {
			ctx, cancel := context.WithCancel(f.ctx)
			cancel()
			f.ctx = ctx
		},
		"text that is not UTF-8": func(f *face) { f.holds("\xff") },
		"text with U+0000":       func(f *face) { f.holds("a\x00b") },
		"the request is lost":    does(loseRequest),
		"the answer is lost":     does(loseAnswer),
		"the connection is cut in the middle of the request": does(cutRequest),
		"the connection is cut in the middle of the answer":  does(cutAnswer),
		"no answer within the time limit":                    holding(func(f *face, _ <-chan struct{}) { f.s = f.b.hasty }),
		"the context ends while waiting": holding(func(f *face, sent <-chan struct{}) {
			ctx, cancel := context.WithCancel(f.ctx)
			f.ctx = ctx
			go func() {
				select {
				case <-sent:
				case <-f.t.Context().Done():
				}
				cancel()
			}()
		}),
		"the pair is not the expected one": func(f *face) {
			f.call = func(ctx context.Context, s store.New) error {
				return s.CompareAndSwap(ctx, f.rec, store.Pair{Rev: 8, Epoch: 1})
			}
		},
		"serialization_failure (40001)":                     refused(plain, "40001"),
		"deadlock_detected (40P01)":                         refused(plain, "40P01"),
		"unique_violation (23505)":                          refused(plain, "23505"),
		"foreign_key_violation (23503)":                     refused(plain, "23503"),
		"exclusion_violation (23P01)":                       refused(plain, "23P01"),
		"not_null_violation (23502)":                        refused(plain, "23502"),
		"check_violation (23514)":                           refused(plain, "23514"),
		"raise_exception (P0001)":                           refused(plain, "P0001", raised),
		"RAISE with another SQLSTATE":                       refused(plain, "45000", raised),
		"no_data_found (P0002) in a function of ours":       refused(plain, "P0002", in("migrate_new.same_server()")),
		"no_data_found (P0002) in another function":         refused(plain, "P0002", in("audit()")),
		"string_data_right_truncation (22001)":              refused(plain, "22001"),
		"numeric_value_out_of_range (22003)":                refused(plain, "22003"),
		"invalid_text_representation (22P02)":               refused(plain, "22P02"),
		"program_limit_exceeded (54000)":                    refused(plain, "54000"),
		"lock_not_available (55P03)":                        refused(plain, "55P03"),
		"query_canceled (57014)":                            refused(plain, "57014"),
		"disk_full (53100)":                                 refused(plain, "53100"),
		"read_only_sql_transaction (25006)":                 refused(plain, "25006"),
		"insufficient_privilege (42501)":                    refused(plain, "42501"),
		"invalid_schema_name (3F000)":                       refused(plain, "3F000"),
		"undefined_table (42P01)":                           refused(plain, "42P01"),
		"undefined_column (42703)":                          refused(plain, "42703"),
		"undefined_function (42883)":                        refused(plain, "42883"),
		"MG001, of a foreign trigger that our write fires":  refused(plain, "MG001", raised),
		"MG002, the fence is at another epoch":              refused(plain, "MG002", raised),
		"MG003, the pair is another one":                    refused(plain, "MG003", raised),
		"MG004, another server has taken over":              refused(plain, "MG004", raised),
		"admin_shutdown (57P01)":                            refused(fatal, "57P01"),
		"crash_shutdown (57P02)":                            refused(fatal, "57P02"),
		"idle_in_transaction_session_timeout (25P03)":       refused(fatal, "25P03"),
		"a pooler's own error (08P01)":                      refused(fatal, "08P01"),
		"unique_violation (23505) that ends the connection": refused(fatal, "23505"),
		"a SQLSTATE that is not in this table":              refused(plain, "ZZ987"),
		"COMMIT is answered by ROLLBACK": func(f *face) {
			f.b.p.treat(f.at, fault{ending: answerItself, answer: encode(&pgproto3.CommandComplete{CommandTag: []byte("ROLLBACK")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})})
		},
		"success with a WARNING 57P01":                warned("57P01", "SyncRepWaitForLSN"),
		"success with a WARNING 01000":                warned("01000", "SyncRepWaitForLSN"),
		"success with a WARNING 01000 of a trigger's": warned("01000", "exec_stmt_raise"),
		"too_many_connections (53300)":                saying("53300"),
		"cannot_connect_now (57P03)":                  saying("57P03"),
	}
}

// saying is a server that refuses every session.
func saying(code string) func(*face) {
	answer := encode(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "as if"})
	return elsewhereAt(listening(func(c net.Conn) {
		_, _ = readBody(c, nil)
		_, _ = c.Write(answer)
		c.Close()
	}))
}

// table returns the rows of docs/postgres-errors.md: what happens, before COMMIT, at
// COMMIT, and to a read.
func table(t *testing.T) map[string][3]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/postgres-errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][3]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		if len(cells) != 5 || !strings.HasPrefix(line, "| ") || cells[0] == "| what happens" {
			continue
		}
		rows[strings.TrimPrefix(cells[0], "| ")] = [3]string{cells[1], cells[2], cells[3]}
	}
	return rows
}

var outcomes = map[string]error{
	"success": nil, "conflict": store.ErrConflict, "moved": store.ErrFenceMoved, "unavailable": store.ErrUnavailable,
	"unknown": store.ErrUnknown, "unfit": store.ErrUnfit, "rule": store.ErrRule, "stranger": store.ErrStranger,
	"given up": context.Canceled, // nothing changed, and the context's own error says why
}

// face is a call of this name on a record of its own.
func (b *bench) face(t *testing.T, name, at string) *face {
	t.Helper()
	f := &face{t: t, b: b, s: b.s, ctx: t.Context(), at: at}
	f.rec = taskRecord(t, fmt.Sprintf("r%03d", b.made.Add(1)), 1, 1)
	rev := int64(1)
	f.call = func(ctx context.Context, s store.New) error { return s.CompareAndSwap(ctx, f.rec, store.Pair{}) }
	if name != "create" {
		if err := b.straight.CompareAndSwap(t.Context(), f.rec, store.Pair{}); err != nil {
			t.Fatal(err)
		}
	}
	switch name {
	case "swap":
		rev, f.rec.Rev = 2, 2
		f.call = func(ctx context.Context, s store.New) error {
			return s.CompareAndSwap(ctx, f.rec, store.Pair{Rev: 1, Epoch: 1})
		}
	case "put":
		rev, f.rec.Rev = 3, 3
		f.call = func(ctx context.Context, s store.New) error { return s.PutIfNewer(ctx, f.rec) }
	case "read":
		f.reads = true
		f.call = func(ctx context.Context, s store.New) error { _, err := s.Get(ctx, f.rec.ID); return err }
	}
	f.done = func(ctx context.Context) (bool, error) {
		found, err := b.straight.Get(ctx, f.rec.ID)
		return found[f.rec.ID].Rev == rev, err
	}
	return f
}

// meets makes one call, spoils it, and says how its outcome differs from the word on
// the page, or from the truth.
func (f *face) meets(word string, spoil func(*face), wrap func(store.New) store.New) error {
	f.t.Helper()
	want, ok := outcomes[word]
	if !ok {
		f.t.Fatalf("%q is no outcome", word)
	}
	spoil(f)
	err := f.call(f.ctx, wrap(f.s))
	for name, sentinel := range outcomes {
		other := sentinel != nil && name != "given up" && errors.Is(err, sentinel) != (sentinel == want)
		if other || (err == nil) != (want == nil) || word == "given up" && !errors.Is(err, want) {
			return fmt.Errorf("got %w, want %s (and not %s)", err, word, name)
		}
	}
	if f.reads || word == "unknown" {
		return nil
	}
	done, getErr := f.done(f.t.Context())
	if getErr != nil {
		f.t.Fatal(getErr)
	}
	if done != (word == "success") {
		return fmt.Errorf("it says %s (%w), and its effect is there: %v", word, err, done)
	}
	return nil
}

func asItIs(s store.New) store.New { return s }

// The page says what the code does: each of its rows happens here to each kind of call.
func TestFaces(t *testing.T) {
	rows := table(t)
	for what := range faces() {
		if _, ok := rows[what]; !ok {
			t.Errorf("the page doesn't say what it means: %s", what)
		}
	}
	b := newBench(t)
	for what, row := range rows {
		spoil := faces()[what]
		if spoil == nil {
			t.Errorf("a row that doesn't happen here: %s", what)
			continue
		}
		for n, name := range []string{"create", "swap", "put", "create", "swap", "put", "read"} {
			at, word := work, row[0]
			switch {
			case n == 6:
				word = row[2]
			case n > 2:
				at, word = commit, row[1]
			}
			if word == "–" || name == "put" && word == "conflict" { // which put looks at again
				continue
			}
			t.Run(what+"/"+name+" at "+at, func(t *testing.T) {
				if err := b.face(t, name, at).meets(word, spoil, asItIs); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// hopeful takes an unknown outcome for proof that nothing happened.
type hopeful struct{ store.New }

func (h hopeful) CompareAndSwap(ctx context.Context, r store.Record, expect store.Pair) error {
	err := h.New.CompareAndSwap(ctx, r, expect)
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: %v", store.ErrUnavailable, err)
	}
	return err
}

// The table can fail: a store that takes an unknown outcome for a failure differs
// from it in every row that says so.
func TestFacesCatchAHopefulStore(t *testing.T) {
	b := newBench(t)
	caught := 0
	for what, row := range table(t) {
		if row[1] != "unknown" {
			continue
		}
		caught++
		if b.face(t, "create", commit).meets(row[1], faces()[what], func(s store.New) store.New { return hopeful{s} }) == nil {
			t.Errorf("%s: it was not noticed", what)
		}
	}
	if caught == 0 {
		t.Error("no row is unknown")
	}
}

// A statement that its client gives up is cancelled; a COMMIT never is: cancelled, it
// would be seen by everybody before its standby has it.
func TestACommitIsNotCancelled(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		at      string
		cancels bool
	}{{commit, false}, {work, true}} {
		f := b.face(t, "create", c.at)
		before := b.p.cancels.Load()
		word := "unknown"
		if c.at == work {
			word = "unavailable"
		}
		if err := f.meets(word, faces()["no answer within the time limit"], asItIs); err != nil {
			t.Error(err)
		}
		patience := time.Second
		if c.cancels { // it comes, sooner or later
			patience = 10 * time.Second
		}
		for until := time.Now().Add(patience); b.p.cancels.Load() == before && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond)
		}
		if cancelled := b.p.cancels.Load() > before; cancelled != c.cancels {
			t.Errorf("%s, given up: cancelled %v", c.at, cancelled)
		}
	}
}

// After a restart each connection of the pool has ended. No call fails for that.
func TestARestartFailsNoCall(t *testing.T) {
	s := pgtest.Start(t, map[string]string{"fsync": "off"})
	n := open(t, s.URI("postgres"), 10*time.Second)
	if err := n.Prepare(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	all := func() error {
		errs := make(chan error)
		for i := range 8 {
			go func() { errs <- n.PutIfNewer(t.Context(), taskRecord(t, fmt.Sprint(i), 1, 1)) }()
		}
		var joined error
		for range 8 {
			joined = errors.Join(joined, <-errs)
		}
		return joined
	}
	if err := all(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"fast", "immediate"} {
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		if err := all(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// An old database's rows may be refused by rules that its own programs know.
func TestAnOldDatabasesChecksAreRules(t *testing.T) {
	uri := pgtest.Database(t)
	p, through := startProxy(t, uri)
	o := openOld(t, through, storetest.Tasks())
	for _, code := range []string{"23502", "23514"} {
		p.treat(work, fault{ending: answerItself, answer: encode(&pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: "as if"}, &pgproto3.ReadyForQuery{TxStatus: 'E'})})
		if err := o.CompareAndSwap(t.Context(), 1, taskRecord(t, "a", 1, 1), store.Pair{}); !errors.Is(err, store.ErrRule) || errors.Is(err, store.ErrUnfit) {
			t.Errorf("%s: %v", code, err)
		}
	}
}
