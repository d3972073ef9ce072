package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// shop is a legacy database with three tables, walked by instances of nobody's
// service: they speak to the migration as a program does that uses the library.
type shop struct {
	t           *testing.T
	file        string // of the old database, if it is SQLite's
	declaration record.Declaration
	oldURI      string
	newURI      string
	name        string                                 // of the new database, where its URI names a server
	shell       func(statement string) (string, error) // runs it as a foreign program does
	// strangeOrder is how the quarantine shows the id of the order that can't go over.
	strangeOrder string
	programs     func(*load) // adds programs that keep a connection open
	foreigners   []string    // names of those that must both succeed and be refused
	active       atomic.Pointer[shopInstance]
	ledger       ledger
}

// shopInstance is one version of the service, with stores of its own.
type shopInstance struct {
	*migration.Service
	step     migration.Step
	old      store.Old
	requests sync.RWMutex // held for reading by each request under way
	stop     func()
}

// newShop reads what is declared; the file is still to be made.
func newShop(t *testing.T, file string) *shop {
	t.Helper()
	for _, program := range []string{"sqlite3", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	declaration, err := record.ReadYAML(file, text)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, file: filepath.Join(t.TempDir(), "shop.sqlite"), declaration: declaration}
	s.ledger.acknowledged = map[string][]string{}
	uri, prefix := server(t)
	s.newURI, s.name = uri, prefix+"shop"
	s.keptIn(s.file)
	s.strangeOrder = "'aachen', 1000003"
	s.programs, s.foreigners = s.withPython, []string{"the shell", "python"}
	return s
}

// keptIn names the file of the old database.
func (s *shop) keptIn(file string) {
	s.file, s.oldURI = file, "sqlite:"+file
	s.shell = func(statement string) (string, error) {
		out, err := exec.Command("sqlite3", "-cmd", ".timeout 5000", file, statement).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
}

// openOld and openNew open the databases as a process of its own does.
func (s *shop) openOld() store.Old {
	s.t.Helper()
	d, err := driver.OfOld(s.oldURI)
	s.must(err)
	old, err := d.Open(s.t.Context(), s.oldURI, driver.Options{Declaration: s.declaration, SameServer: true})
	s.must(err)
	return old
}

func (s *shop) openNew() store.New {
	s.t.Helper()
	d, err := driver.OfNew(s.newURI)
	s.must(err)
	to, err := d.Open(s.t.Context(), s.newURI, driver.Options{Declaration: s.declaration, Name: s.name, Log: slog.New(slog.DiscardHandler), SameServer: true})
	s.must(err)
	return to
}

// spawn starts an instance at a step, in place and ready to be switched to.
func (s *shop) spawn(step migration.Step) *shopInstance {
	s.t.Helper()
	ctx := s.t.Context()
	i := &shopInstance{step: step}
	cfg := migration.Config{Step: step, CompareMin: 20,
		Instance: store.Registration{Instance: uuid.NewString(), Host: "here", PID: os.Getpid()}}
	var open []io.Closer
	if step.HasOld() {
		old := s.openOld()
		_, err := takeOver(ctx, old)
		s.must(err)
		i.old, cfg.Old, open = old, old, append(open, old)
	}
	if step.HasNew() {
		to := s.openNew()
		cfg.New, open = to, append(open, to)
	}
	service, err := migration.New(cfg)
	s.must(err)
	i.Service = service
	err = service.Start(ctx)
	for errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || errors.Is(err, context.DeadlineExceeded) {
		err = service.Start(ctx) // a busy machine takes its time to prepare new: an instance tries again
	}
	s.must(err)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- service.Run(life) }()
	i.stop = sync.OnceFunc(func() {
		end()
		errs := []error{<-done}
		for _, c := range open {
			errs = append(errs, c.Close())
		}
		s.must(errors.Join(errs...))
	})
	s.t.Cleanup(i.stop)
	return i
}

// move brings the traffic to an instance at another step, as a switch does:
// gates, traffic, drain, and the end of the previous one.
func (s *shop) move(step migration.Step) {
	s.t.Helper()
	ctx := s.t.Context()
	next, previous := s.spawn(step), s.active.Load()
	if previous != nil && step > previous.step {
		s.must(next.Prepare(ctx))
		s.pass(next, step)
	}
	s.active.Store(next)
	if step == migration.NewPrimary && previous.step < step {
		s.must(next.Advance(ctx))
	}
	if previous != nil {
		previous.requests.Lock() // until its requests have ended
		s.must(previous.Flush(ctx))
		previous.requests.Unlock()
		previous.stop()
	}
}

// pass asks the gates to a step until all of them hold.
func (s *shop) pass(next *shopInstance, step migration.Step) {
	s.t.Helper()
	for {
		gates, err := next.Gates(s.t.Context(), step)
		s.must(err)
		var closed []string
		for _, g := range gates {
			if !g.OK {
				closed = append(closed, g.Name+": "+g.Detail)
			}
		}
		if len(closed) == 0 {
			return
		}
		// Reads are compared while the load goes on; nothing else may be waited for.
		if len(closed) > 1 || !strings.HasPrefix(closed[0], migration.GateCompared) || strings.Contains(closed[0], " different") && !strings.Contains(closed[0], " 0 different") {
			s.t.Fatalf("the gates to step %d: %s", step, strings.Join(closed, "; "))
		}
		s.must(s.t.Context().Err())
	}
}

// serve runs a request on the active instance.
func (s *shop) serve(request func(*shopInstance) error) error {
	for {
		i := s.active.Load()
		i.requests.RLock()
		if i == s.active.Load() {
			defer i.requests.RUnlock()
			return request(i)
		}
		i.requests.RUnlock()
	}
}

func (s *shop) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// collection is one of the shop's.
func (s *shop) collection(name string) record.Collection {
	s.t.Helper()
	c, ok := s.declaration.Collection(name)
	if !ok {
		s.t.Fatalf("there is no collection %s", name)
	}
	return c
}

// id returns the id of a record by its collection and the texts of its columns.
func (s *shop) id(collection string, columns ...string) record.ID {
	s.t.Helper()
	c := s.collection(collection)
	var values []record.Value
	for n, f := range c.Key() {
		v, err := record.Parse(f.Type, columns[n])
		s.must(err)
		values = append(values, v)
	}
	id, err := c.MakeID(values...)
	s.must(err)
	return id
}

// set returns the body with other values of some fields.
func (s *shop) set(collection string, body record.Body, fields map[string]record.Value) record.Body {
	declared := s.collection(collection).Body()
	values := body.Values()
	if len(values) != len(declared) {
		values = make([]record.Value, len(declared))
	}
	for n, f := range declared {
		if v, ok := fields[f.Name]; ok {
			values[n] = v
		}
	}
	return record.NewBody(values...)
}

// logOf is what was appended to a record, by everybody.
func (s *shop) logOf(rec store.Record) string {
	for n, f := range s.collection(rec.ID.Collection()).Body() {
		if f.Name == "log" && !rec.Deleted {
			return rec.Body.Values()[n].String()
		}
	}
	return ""
}

// ledger is what was acknowledged, to anybody, and what went wrong.
type ledger struct {
	mu           sync.Mutex
	acknowledged map[string][]string // by record: the tokens appended to it
	faults       []string
	accepted     map[string]int // writes of foreign programs
	refused      map[string]int
	served       int
}

func (l *ledger) note(key, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[key] = append(l.acknowledged[key], token)
}

func (l *ledger) of(key string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.acknowledged[key]...)
}

func (l *ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *ledger) foreign(who, key, token, answer string) {
	switch {
	case answer == "ok":
		l.note(key, token)
	case answer != "refused":
		l.fault("%s on %s: %s", who, key, answer)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accepted == nil {
		l.accepted, l.refused = map[string]int{}, map[string]int{}
	}
	if answer == "ok" {
		l.accepted[who]++
	} else if answer == "refused" {
		l.refused[who]++
	}
}

// holds compares what a record holds with what was acknowledged before it was read.
func (l *ledger) holds(where, key, log string, before []string) {
	for _, token := range before {
		if n := strings.Count(";"+log, ";"+token+";"); n != 1 {
			l.fault("%s: %s holds the acknowledged %s %d times: %s", where, key, token, n, log)
		}
	}
}

// python is the program that keeps its connection open.
type python struct {
	in      io.WriteCloser
	answers *bufio.Scanner
	cmd     *exec.Cmd
}

func (s *shop) python() *python {
	s.t.Helper()
	cmd := exec.Command("python3", "testdata/shop/writer.py", s.file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	s.must(err)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	return &python{in, bufio.NewScanner(out), cmd}
}

func (p *python) write(table, key, token string) (string, error) {
	if _, err := fmt.Fprintf(p.in, "%s\t%s\t%s\n", table, key, token); err != nil {
		return "", err
	}
	if !p.answers.Scan() {
		return "", errors.Join(errors.New("python ended"), p.answers.Err())
	}
	return p.answers.Text(), nil
}

func (p *python) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// shopTool is a command's own process: it has both stores and serves nothing.
type shopTool struct {
	old   store.Old
	new   store.New
	close func()
}

func (s *shop) spawnTool() *shopTool {
	s.t.Helper()
	old, to := s.openOld(), s.openNew()
	return &shopTool{old, to, func() { s.must(errors.Join(to.Close(), old.Close())) }}
}

// comeBack makes the old database primary again, with one instance at step 4.
func (s *shop) comeBack() {
	s.t.Helper()
	tool := s.spawnTool()
	defer tool.close()
	_, err := migration.ReturnPrimary(s.t.Context(), tool.old, tool.new, migration.ReturnOptions{
		Token: uuid.NewString(), Backlog: 200,
		Gone: func(r store.Registration) error { return fmt.Errorf("step %d is registered, and was ended", r.Step) },
	})
	s.must(err)
}
