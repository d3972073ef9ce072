package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/store"
)

// contact is the advisory lock under which a database is taken over.
const contact = 0x6d69677261746500

// lockWait is how long the take-over waits for the writers under way, each time,
// before it lets others pass: writers that come later queue behind it.
const lockWait = 200 * time.Millisecond

var _ store.Adopter = (*Old)(nil)

// Adopt implements [store.Adopter]. Schema, functions and triggers come in one short
// transaction, indexes without a lock against writers, and companions in batches.
func (o *Old) Adopt(ctx context.Context, options store.AdoptOptions) (a store.Adopted, err error) {
	k, err := o.inspect(ctx, question{accept: options.Accept})
	if err != nil {
		return a, err
	}
	a.Migration = k.fence.Migration
	say := func(phase string, done, total int64) {
		if options.Progress != nil {
			options.Progress(store.AdoptProgress{Phase: phase, Done: done, Total: total})
		}
	}
	if k.complete && k.gap == "" {
		return a, nil
	}
	if k.laid && k.fence.Primary != store.PrimaryOld {
		return a, fmt.Errorf("postgres: adopt: %w: the new database is primary, so what the old one holds isn't taken over by itself; go back to step 3 first, or compare record by record with migrate verify: %s",
			store.ErrFenceMoved, k.gap)
	}
	if why := refusedRules(k.rules); why != nil {
		return a, why
	}
	a.Fresh, a.Accepted = !k.begun, acceptedOf(k.rules)
	if !k.begun {
		if a.Waited, err = o.tryOut(ctx, k.laid); err != nil {
			return a, err
		}
	}
	if !k.laid || k.gap != "" {
		say("guard", 0, 0)
		var waited time.Duration
		if a.Migration, waited, err = o.lay(ctx, k.gap != "", a.Accepted); err != nil {
			return a, err
		}
		a.Waited = max(a.Waited, waited)
	}
	for _, of := range o.tables {
		say("index", 0, 0)
		if err := o.indexes(ctx, of); err != nil {
			return a, err
		}
	}
	for _, of := range o.tables {
		held, err := o.fill(ctx, of, say)
		a.Waited = max(a.Waited, held)
		if err != nil {
			return a, err
		}
	}
	return a, o.sum(ctx, &a)
}

// sum counts what was taken over.
func (o *Old) sum(ctx context.Context, a *store.Adopted) error {
	return o.patient().readAny(ctx, "count the records", func(ctx context.Context, t tx) error {
		a.Rows, a.Quarantined = 0, 0
		for _, of := range o.tables {
			var rows, unfit int64
			if err := t.QueryRow(ctx, `select count(*) filter (where unfit is null), count(unfit) from `+of.companion+` where not deleted`).Scan(&rows, &unfit); err != nil {
				return err
			}
			a.Rows, a.Quarantined = a.Rows+rows, a.Quarantined+unfit
		}
		return nil
	})
}

// acceptedOf are the rules that the tables have and the person has accepted. They
// are kept beside the fence: a take-over that goes on needs them, too.
func acceptedOf(rules []store.Rule) []string {
	names := []string{}
	for _, r := range rules {
		if r.Verdict == store.Accepted {
			names = append(names, r.Name)
		}
	}
	return names
}

// known is what is there of the protocol.
type known struct {
	laid     bool // fence, functions and triggers are there
	begun    bool // and rows have been filled in
	complete bool // and each row is known, and has the index by which pages go
	fence    store.Fence
	gap      string // what guards have been lost since; "" for none
	rules    []store.Rule
}

// question says for whom the rules are asked.
type question struct {
	accept []string // rules that are accepted
	script bool     // somebody with more rights lays what is needed
	there  bool     // an earlier take-over has laid it
	laid   bool     // and it is still as it was laid
}

// inspect looks, and changes nothing.
func (o *Old) inspect(ctx context.Context, ask question) (k known, err error) {
	err = o.readAny(ctx, "look at the database", func(ctx context.Context, t tx) error {
		k = known{}
		accept := slices.Concat(ask.accept, o.cfg.Accept)
		if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&k.laid); err != nil {
			return err
		}
		if k.laid {
			before, err := o.seeLaid(ctx, t, &k)
			if err != nil || k.complete && k.gap == "" {
				return err
			}
			accept = append(accept, before...)
		}
		k.rules, err = o.rules(ctx, t, question{accept: accept, script: ask.script, there: k.laid, laid: k.laid && k.gap == ""})
		return err
	})
	return k, err
}

// seeLaid looks at what an earlier take-over has left, and returns the rules that
// were accepted then.
func (o *Old) seeLaid(ctx context.Context, t tx, k *known) (accepted []string, err error) {
	f, err := o.readFence(ctx, t)
	if err != nil {
		return nil, err
	}
	k.fence = f.Fence
	if err := o.known(ctx, t, 0, f); err != nil {
		return nil, err
	}
	k.complete = o.lookForCompanions(ctx, t) == nil
	for _, of := range o.tables {
		gap, err := o.gap(ctx, t, of)
		if err != nil {
			return nil, err
		}
		if gap != "" {
			k.gap = "the table " + of.name + ": " + gap
		}
		var ordered bool
		if err := t.QueryRow(ctx, `select `+of.hasOrder()).Scan(&ordered); err != nil {
			return nil, err
		}
		k.complete = k.complete && ordered
	}
	err = t.QueryRow(ctx, `select rules, exists(select from migrate.collection where filled or again or position <> '') from migrate.fence`).Scan(&accepted, &k.begun)
	return accepted, err
}

// refusedRules is an ErrUnsuited that names each rule in the way.
func refusedRules(rules []store.Rule) error {
	var reasons []string
	for _, r := range rules {
		switch r.Verdict {
		case store.Refused:
			reasons = append(reasons, r.Name+": "+r.Detail)
		case store.Open:
			reasons = append(reasons, r.Name+" (accept it by --accept "+r.Name+"): "+r.Detail)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("postgres: adopt: %w: %s", store.ErrUnsuited, strings.Join(reasons, "; "))
}

func newID() string {
	id, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		panic(err) // the reader never fails
	}
	return id.String()
}

// lay makes all that holds programs inside the protocol, or makes it anew after a
// gap, in one transaction. It waits for the writers under way a little at a time,
// until the context ends, and returns for how long it kept others waiting at most.
func (o *Old) lay(ctx context.Context, again bool, accepted []string) (migration string, waited time.Duration, err error) {
	waited, err = o.untilFree(ctx, "take the database over", func(ctx context.Context, t tx) error {
		var there bool
		if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&there); err != nil {
			return err
		}
		if !there {
			migration = newID()
			return o.layFirst(ctx, t, migration, accepted)
		}
		f, err := o.readFence(ctx, t)
		if err != nil {
			return err
		}
		migration = f.Migration
		switch {
		case !again:
			return nil // another one has laid it meanwhile
		case f.Primary != store.PrimaryOld || f.Closing:
			return fmt.Errorf("%w: the new database is primary", store.ErrFenceMoved)
		}
		return o.layAgain(ctx, t, accepted)
	})
	return migration, waited, err
}

// untilFree runs a transaction that takes tables' locks, alone of all take-overs. It
// is repeated until the writers under way let it, and gives up by naming them.
// waited is for how long it kept others waiting at most.
func (o *Old) untilFree(ctx context.Context, op string, fn work) (waited time.Duration, err error) {
	bounded, cancel := context.WithTimeout(ctx, max(o.cfg.Timeout, 30*time.Second))
	defer cancel()
	for {
		var begun time.Time
		err := o.writeAny(bounded, op, func(ctx context.Context, t tx) error {
			var alone bool
			if err := t.QueryRow(ctx, fmt.Sprintf(`select pg_try_advisory_xact_lock(%d)`, int64(contact))).Scan(&alone); err != nil {
				return err
			}
			if !alone {
				return errNotAlone
			}
			if err := t.script(ctx, fmt.Sprintf("set local lock_timeout to %d", lockWait.Milliseconds())); err != nil {
				return err
			}
			begun = time.Now()
			return fn(ctx, t)
		})
		if !begun.IsZero() {
			waited = max(waited, time.Since(begun))
		}
		switch {
		case err != nil && bounded.Err() != nil && !begun.IsZero():
			return waited, fmt.Errorf("%w: %s", err, o.writers())
		case code(err) != codeNoLock && !errors.Is(err, errNotAlone) && !errors.Is(err, errRowGone):
			return waited, err
		}
		select {
		case <-bounded.Done():
			if code(err) == codeNoLock {
				err = fmt.Errorf("%w: %s", err, o.writers())
			}
			return waited, err
		case <-time.After(lockWait):
		}
	}
}

// errNotAlone: another take-over of the same database is under way.
var errNotAlone = fmt.Errorf("%w: another take-over of this database is under way", store.ErrUnavailable)

func (o *Old) layFirst(ctx context.Context, t tx, migration string, accepted []string) error {
	if err := t.all(ctx, append([]string{`create schema migrate`}, fenceSQL()...)); err != nil {
		return err
	}
	var last []string // what takes the person's tables' locks
	for _, of := range o.tables {
		sh, err := of.look(ctx, t)
		if err != nil {
			return err
		}
		if sh.oid == 0 {
			if err := t.script(ctx, of.createSQL()); err != nil {
				return err
			}
			if sh, err = of.look(ctx, t); err != nil {
				return err
			}
		}
		if err := t.all(ctx, append(of.layingSQL(sh), `insert into migrate.collection(name, filled) values (`+literal(of.Name)+`, false)`)); err != nil {
			return err
		}
		last = append(last, of.triggersSQL()...)
		last = append(last, of.guardedSQL())
	}
	_, err := t.exec(ctx, `insert into migrate.fence(one, format, digest, declaration, migration, epoch, prim, state, rules) values (1, $1::bigint, $2::text, $3::text, $4::text, 1, 'old', 'open', $5::text[])`,
		format, o.digest, o.text, migration, accepted)
	if err != nil {
		return err
	}
	return t.all(ctx, last)
}

// layingSQL is what is laid beside a table.
func (t *table) layingSQL(sh shape) []string {
	return append(t.companionSQL(), t.writeSQL(sh), t.togetherSQL(sh))
}

// guardedSQL notes by what the table is held from now on.
func (t *table) guardedSQL() string {
	return `update migrate.collection set guards = ` + t.guards() + ` where name = ` + literal(t.Name)
}

// layAgain mends the guards. No companion of a table with a gap is believed any
// more: each record is counted up, in batches, before anything else is sent.
func (o *Old) layAgain(ctx context.Context, t tx, accepted []string) error {
	gaps := make([]string, len(o.tables)) // before one is mended: they share functions
	for n, of := range o.tables {
		var err error
		if gaps[n], err = o.gap(ctx, t, of); err != nil {
			return err
		}
	}
	for n, of := range o.tables {
		if gaps[n] == "" {
			continue
		}
		sh, err := of.look(ctx, t)
		if err != nil {
			return err
		}
		if sh.oid == 0 {
			return fmt.Errorf("%w: there is no table %s", store.ErrUnsuited, of.name)
		}
		statements := of.dropTriggersSQL()
		statements = append(statements, commonSQL()...)
		statements = append(statements, of.writeSQL(sh), of.togetherSQL(sh))
		statements = append(statements, of.triggersSQL()...)
		statements = append(statements, of.guardedSQL(),
			`update migrate.collection set filled = false, again = true, position = '', later = '{}' where name = `+literal(of.Name))
		if err := t.all(ctx, statements); err != nil {
			return err
		}
		o.log.Warn("a table whose guards had a gap is taken over again", "table", of.name, "gap", gaps[n])
	}
	_, err := t.exec(ctx, `update migrate.fence set rules = $1::text[]`, accepted)
	return err
}

// all runs statements one after the other; an error names the one that failed.
func (t tx) all(ctx context.Context, statements []string) error {
	for _, s := range statements {
		if err := t.script(ctx, s); err != nil {
			first, _, _ := strings.Cut(s, "\n")
			return fmt.Errorf("%.100s: %w", first, err)
		}
	}
	return nil
}

// writers names who holds a lock on the tables that writers have.
func (o *Old) writers() string {
	var names []string
	for _, of := range o.tables {
		names = append(names, literal(of.name))
	}
	return "writers are under way: " + o.holdersOf(`to_regclass(n)`, `unnest(array[`+strings.Join(names, ",")+`]) n`)
}
