package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// target is a record that everybody appends to, as each of them names it.
type target struct {
	collection string
	columns    []string
	table      string // and where, for foreign programs
	where      string
	key        string
}

func (s *shop) targets() []target {
	var all []target
	for i := range 12 {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", (i+1)*7919, i+1)
		number := fmt.Sprint(i/2 - 4)
		place := []string{"aachen", "Köln"}[i%2]
		all = append(all,
			target{"customers", []string{fmt.Sprint(i - 2)}, "customers", fmt.Sprintf("id=%d", i-2), fmt.Sprint(i - 2)},
			target{"orders", []string{place, number}, "Orders", fmt.Sprintf("shop='%s' AND number=%s", place, number), place + "|" + number},
			target{"tokens", []string{id}, "tokens", fmt.Sprintf("id='%s'", id), id})
	}
	return all
}

// load is everybody at work, until it is ended.
type load struct {
	s       *shop
	targets []target
	done    chan struct{}
	all     sync.WaitGroup
}

func (s *shop) load() *load {
	l := &load{s: s, targets: s.targets(), done: make(chan struct{})}
	for w := range 4 {
		l.all.Go(func() { l.until(func(n int) { l.request(fmt.Sprintf("w%d-%d", w, n)) }) })
	}
	l.all.Go(func() { l.until(func(n int) { l.comeAndGo(n) }) })
	l.all.Go(func() { l.until(func(n int) { l.shell(fmt.Sprintf("shell-%d", n)) }) })
	s.programs(l)
	return l
}

// withPython adds the program that keeps its connection open.
func (s *shop) withPython(l *load) {
	program := s.python()
	l.all.Go(func() {
		l.until(func(n int) { l.python(program, fmt.Sprintf("python-%d", n)) })
		if err := program.end(); err != nil {
			s.ledger.fault("python: %v", err)
		}
	})
}

func (l *load) until(work func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-l.done:
			return
		default:
			work(n)
		}
	}
}

func (l *load) end() {
	close(l.done)
	l.all.Wait()
}

func (l *load) target() target { return l.targets[rand.IntN(len(l.targets))] }

// request appends to a record, reads one or lists some.
func (l *load) request(token string) {
	s, at := l.s, l.target()
	ctx, id := context.WithoutCancel(s.t.Context()), s.id(at.collection, at.columns...)
	var err error
	switch rand.IntN(4) {
	case 0:
		err = s.serve(func(i *shopInstance) error { return l.read(ctx, i, at, id) })
	case 1:
		err = s.serve(func(i *shopInstance) error { return l.list(ctx, i, at.collection) })
	default:
		err = s.serve(func(i *shopInstance) error { return l.append(ctx, i, at, id, token) })
	}
	if err != nil {
		s.ledger.fault("%s of %s: %v", token, at.key, err)
	}
	s.ledger.mu.Lock()
	s.ledger.served++
	s.ledger.mu.Unlock()
}

func (l *load) append(ctx context.Context, i *shopInstance, at target, id record.ID, token string) error {
	_, err := i.Apply(ctx, id, false, func(cur store.Record, found bool) (store.Record, bool, error) {
		if !found || cur.Deleted {
			return cur, false, errors.New("it is gone")
		}
		text, err := record.OfText(l.s.logOf(cur) + token + ";")
		if err != nil {
			return cur, false, err
		}
		cur.Body = l.s.set(at.collection, cur.Body, l.others(at.collection))
		cur.Body = l.s.set(at.collection, cur.Body, map[string]record.Value{"log": text})
		return cur, true, nil
	})
	if err == nil {
		l.s.ledger.note(at.table+" "+at.key, token)
	}
	return err
}

// others are values of the fields beside the log, some of them NULL or empty.
func (l *load) others(collection string) map[string]record.Value {
	some := func(t record.Type, texts ...string) record.Value {
		n := rand.IntN(len(texts) + 1)
		if n == len(texts) {
			return record.Value{}
		}
		v, err := record.Parse(t, texts[n])
		l.s.must(err)
		return v
	}
	switch collection {
	case "customers":
		return map[string]record.Value{
			"email": some(record.Text, "", "x@example.org", "Ž 🎉"), "balance": some(record.Decimal, "0", "-12.50", "12.5", strings.Repeat("9", 40)+".1"),
			"active": some(record.Bool, "true", "false"), "born": some(record.Date, "0001-01-01", "9999-12-31"),
		}
	case "orders":
		return map[string]record.Value{"total": some(record.Decimal, "1.0", "1"), "placed": some(record.Timestamp, "2024-02-29T23:59:59Z"), "note": some(record.JSON, `{"a":9007199254740993}`, `[]`, `null`)}
	}
	return map[string]record.Value{"secret": some(record.Bytes, `\x`, `\x00ff`), "weight": some(record.Float, "0.1", "-2.5e-300"), "seen": some(record.Timestamp, "1969-12-31T23:59:59.999999Z"), "span": some(record.Raw, "1 day")}
}

func (l *load) read(ctx context.Context, i *shopInstance, at target, id record.ID) error {
	key := at.table + " " + at.key
	before := l.s.ledger.of(key)
	rec, found, err := i.Get(ctx, id)
	if err != nil {
		return err
	}
	if !found {
		return errors.New("it is not found")
	}
	l.s.ledger.holds(fmt.Sprintf("a read at step %d", i.step), key, l.s.logOf(rec), before)
	return nil
}

func (l *load) list(ctx context.Context, i *shopInstance, collection string) error {
	before := map[record.ID][]string{}
	keys := map[record.ID]string{}
	for _, at := range l.targets {
		if at.collection == collection {
			id := l.s.id(collection, at.columns...)
			keys[id] = at.table + " " + at.key
			before[id] = l.s.ledger.of(keys[id])
		}
	}
	filter, err := l.s.collection(collection).Filter()
	if err != nil {
		return err
	}
	for after := record.ID(""); ; {
		page, err := i.List(ctx, filter, after, 17)
		if err != nil {
			return err
		}
		for _, rec := range page.Records {
			l.s.ledger.holds(fmt.Sprintf("a list at step %d", i.step), keys[rec.ID], l.s.logOf(rec), before[rec.ID])
			delete(before, rec.ID)
		}
		if page.End {
			break
		}
		after = page.Next
	}
	for id := range before {
		l.s.ledger.fault("a list at step %d lacks %s", i.step, keys[id])
	}
	return nil
}

// comeAndGo creates a record, reads it, deletes it, and looks that it is gone.
func (l *load) comeAndGo(n int) {
	s, ctx := l.s, context.WithoutCancel(l.s.t.Context())
	token := uuid.New()
	id, err := s.collection("tokens").MakeID(record.OfUUID(token))
	s.must(err)
	apply := func(deleted bool) error {
		return s.serve(func(i *shopInstance) error {
			_, err := i.Apply(ctx, id, !deleted, func(cur store.Record, found bool) (store.Record, bool, error) {
				cur.Deleted, cur.Body = deleted, ""
				if !deleted {
					cur.Body = s.set("tokens", "", map[string]record.Value{"weight": record.OfFloat(float64(n))})
				}
				return cur, true, nil
			})
			return err
		})
	}
	there := func() (bool, error) {
		var rec store.Record
		var found bool
		err := s.serve(func(i *shopInstance) (err error) { rec, found, err = i.Get(ctx, id); return err })
		return found && !rec.Deleted, err
	}
	for _, deleted := range []bool{false, true} {
		if err := apply(deleted); err != nil {
			s.ledger.fault("token %s, deleted %v: %v", token, deleted, err)
		}
		if found, err := there(); err != nil || found == deleted {
			s.ledger.fault("token %s: deleted %v and found %v, %v", token, deleted, found, err)
		}
	}
}

func (l *load) shell(token string) {
	at := l.target()
	out, err := l.s.shell(fmt.Sprintf(`UPDATE "%s" SET log=log||'%s;' WHERE %s`, at.table, token, at.where))
	answer := "ok"
	switch {
	case err != nil && strings.Contains(out, "writes have moved"):
		answer = "refused"
	case err != nil:
		answer = fmt.Sprintf("%v: %s", err, out)
	}
	l.s.ledger.foreign("the shell", at.table+" "+at.key, token, answer)
}

func (l *load) python(program *python, token string) {
	at := l.target()
	answer, err := program.write(at.table, at.key, token)
	if err != nil {
		answer = err.Error()
	}
	l.s.ledger.foreign("python", at.table+" "+at.key, token, answer)
}

// quarantined lists what is in quarantine as "collection id".
func (s *shop) quarantined() string {
	s.t.Helper()
	legacy, ok := store.As[store.Legacy](s.active.Load().old)
	if !ok {
		s.t.Fatal("the old database has no quarantine")
	}
	rows, n, err := legacy.Quarantine(s.t.Context(), 0)
	s.must(err)
	var all []string
	for _, r := range rows {
		all = append(all, r.Collection+" "+r.ID)
		if testing.Verbose() {
			s.t.Logf("%s %s: %s", r.Collection, r.ID, r.Reason)
		}
	}
	sort.Strings(all)
	if int64(len(all)) != n {
		s.t.Errorf("%d are counted, and %d listed: %q", n, len(all), all)
	}
	return strings.Join(all, "\n")
}

// decide replaces a record whole, through the service.
func (s *shop) decide(id record.ID, fields map[string]record.Value) {
	s.t.Helper()
	_, err := s.active.Load().Apply(s.t.Context(), id, false, func(cur store.Record, found bool) (store.Record, bool, error) {
		cur.Deleted, cur.Body = false, s.set(id.Collection(), "", fields)
		return cur, true, nil
	})
	s.must(err)
}

// copied runs the backfill with stores of its own, as the command does.
func (s *shop) copied(then func(store.Old, store.New) error) {
	s.t.Helper()
	tool := s.spawnTool()
	defer tool.close()
	_, err := migration.CopyAll(s.t.Context(), tool.old, tool.new, migration.BackfillOptions{Batch: 7})
	s.must(err)
	if then != nil {
		s.must(then(tool.old, tool.new))
	}
}

// TestThreeCollectionsWalkThereAndBack moves three tables with ids of three
// kinds and fields of every type from SQLite to the embedded server and back,
// under one fence, while instances and two programs that know nothing of it
// write to all of them.
func TestThreeCollectionsWalkThereAndBack(t *testing.T) {
	s := newShop(t, "testdata/shop/migrate.yaml")
	if out, err := s.shell(".read testdata/shop/schema.sql"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.walk(true, `UPDATE customers SET active='N' WHERE id=1000002`)
	s.conclude(map[string]string{
		"a word that the original does not know": `SELECT count(*) FROM customers WHERE active NOT IN ('Y','N')`,
		"a column that nobody declared is lost":  `SELECT count(*) FROM "Orders" WHERE extra IS NOT 'theirs'`,
		"a timestamp in another layout":          `SELECT count(*) FROM "Orders" WHERE placed_at NOT GLOB '????-??-?? ??:??:??'`,
		"a token that was deleted":               `SELECT count(*) FROM tokens WHERE log IS NULL AND id NOT LIKE 'ffffffff%'`,
	})
}

// walk goes from step 1 to 8 and back to 1 under load. Four rows of the schema can
// go nowhere, and a fifth holds what the embedded server can't; one of them is
// mended by a foreign program.
func (s *shop) walk(embedded bool, mend string) {
	t := s.t
	s.move(migration.DeployNew)
	const infinite, yesterday = "ffffffff-0000-4000-8000-000000000001", "ffffffff-0000-4000-8000-000000000002"
	rest := "tokens " + yesterday
	want := "customers 1000001\ncustomers 1000002\norders " + s.strangeOrder + "\n" + rest
	if got := s.quarantined(); got != want {
		t.Errorf("in quarantine at first:\n%s\nwant\n%s", got, want)
	}
	busy := s.load()
	for _, step := range []migration.Step{migration.AddDAO, migration.WriteBoth} {
		s.move(step)
	}
	s.copied(nil)
	if embedded {
		want = strings.TrimSuffix(want, rest) + "tokens " + infinite + "\n" + rest
	}
	if got := s.quarantined(); got != want {
		t.Errorf("in quarantine after the first copy:\n%s\nwant\n%s", got, want)
	}
	s.move(migration.ReadBoth)
	// A foreign program mends one, the service decides on the others but one.
	if out, err := s.shell(mend); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	day, err := record.Parse(record.Date, "2023-03-01")
	s.must(err)
	name, err := record.OfText("a day that is")
	s.must(err)
	s.decide(s.id("customers", "1000001"), map[string]record.Value{"born": day, "name": name})
	s.decide(s.id("orders", "aachen", "1000003"), nil)
	s.decide(s.id("tokens", infinite), map[string]record.Value{"weight": record.OfFloat(0)})
	if got := s.quarantined(); got != rest {
		t.Errorf("in quarantine before the flip:\n%s", got)
	}
	legacy, _ := store.As[store.Legacy](s.active.Load().old)
	s.must(legacy.Accept(t.Context(), 1))
	s.move(migration.NewPrimary)
	s.decide(s.id("tokens", yesterday), nil)
	s.move(migration.StopOldWrites)
	s.move(migration.Backfill)
	s.copied(func(old store.Old, to store.New) error {
		rep, err := migration.Verify(t.Context(), old, to, migration.VerifyOptions{Batch: 7})
		if err == nil && !rep.Clean {
			err = fmt.Errorf("the verify is not clean: %+v", rep)
		}
		return err
	})
	s.move(migration.RemoveOld)
	for step := migration.Backfill; step >= migration.ReadBoth; step-- {
		s.move(step)
	}
	s.comeBack()
	for step := migration.WriteBoth; step >= migration.DeployNew; step-- {
		s.move(step)
	}
	busy.end()
}

// conclude reads the old table as its owner does. Each query counts rows that must
// not be there.
func (s *shop) conclude(queries map[string]string) {
	t := s.t
	for _, at := range s.targets() {
		log, err := s.shell(fmt.Sprintf(`SELECT log FROM "%s" WHERE %s`, at.table, at.where))
		s.must(err)
		key := at.table + " " + at.key
		s.ledger.holds("the table in the end", key, log, s.ledger.of(key))
	}
	for what, query := range queries {
		if n, err := s.shell(query); err != nil || n != "0" {
			t.Errorf("%s: %s rows, %v", what, n, err)
		}
	}
	l := &s.ledger
	for n, fault := range l.faults {
		if n == 20 {
			t.Errorf("… and %d more", len(l.faults)-n)
			break
		}
		t.Error(fault)
	}
	acknowledged := 0
	for _, tokens := range l.acknowledged {
		acknowledged += len(tokens)
	}
	t.Logf("%d requests, %d appends acknowledged; foreign writes accepted %v, refused %v", l.served, acknowledged, l.accepted, l.refused)
	for _, who := range s.foreigners {
		if l.accepted[who] == 0 || l.refused[who] == 0 {
			t.Errorf("%s: %d writes accepted, %d refused; both must happen", who, l.accepted[who], l.refused[who])
		}
	}
}

// A token that is missing, or there twice, is a fault.
func TestTheLedgerCatchesWhatIsLost(t *testing.T) {
	for log, want := range map[string]int{"0;a;b;": 0, "0;b;": 1, "0;a;b;a;": 1, "": 2, "0;aa;b;": 1} {
		var l ledger
		l.holds("here", "x", log, []string{"a", "b"})
		if len(l.faults) != want {
			t.Errorf("%q: %q, want %d faults", log, l.faults, want)
		}
	}
}
