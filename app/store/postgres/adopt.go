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
	k, err := o.inspect(ctx, options.Accept)
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
		return a, fmt.Errorf("postgres: adopt: %w: the new database is primary", store.ErrFenceMoved)
	}
	if why := refusedRules(k.rules); why != nil {
		return a, why
	}
	if !k.laid {
		if err := o.tryOut(ctx); err != nil {
			return a, err
		}
	}
	a.Fresh = !k.laid
	for _, r := range k.rules {
		if r.Verdict == store.Accepted {
			a.Accepted = append(a.Accepted, r.Name)
		}
	}
	if !k.laid || k.gap != "" {
		say("guard", 0, 0)
		if a.Migration, a.Waited, err = o.lay(ctx, k, a.Accepted); err != nil {
			return a, err
		}
	}
	for _, of := range o.tables {
		if err := o.indexes(ctx, of); err != nil {
			return a, err
		}
	}
	for _, of := range o.tables {
		rows, unfit, err := o.fill(ctx, of, say)
		a.Rows, a.Quarantined = a.Rows+rows, a.Quarantined+unfit
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// known is what is there of the protocol.
type known struct {
	laid     bool // fence, functions and triggers are there
	complete bool // and each row is known
	fence    store.Fence
	gap      string // what guards have been lost since; "" for none
	rules    []store.Rule
}

// inspect looks, and changes nothing.
func (o *Old) inspect(ctx context.Context, accept []string) (k known, err error) {
	err = o.readAny(ctx, "look at the database", func(ctx context.Context, t tx) error {
		k = known{}
		if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&k.laid); err != nil {
			return err
		}
		if k.laid {
			f, err := o.readFence(ctx, t)
			if err != nil {
				return err
			}
			k.fence = f.Fence
			if err := o.known(ctx, t, 0, f); err != nil {
				return err
			}
			if err := o.lookForGuards(ctx, t); err != nil {
				if !errors.Is(err, store.ErrStranger) {
					return err
				}
				k.gap = err.Error()
			}
			k.complete = o.lookForCompanions(ctx, t) == nil
			if k.complete && k.gap == "" {
				return nil
			}
		}
		k.rules, err = o.rules(ctx, t, accept)
		return err
	})
	return k, err
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
func (o *Old) lay(ctx context.Context, k known, accepted []string) (migration string, waited time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(o.cfg.Timeout, 30*time.Second))
	defer cancel()
	for {
		begun := time.Now()
		err := o.writeAny(ctx, "take the database over", func(ctx context.Context, t tx) error {
			if err := t.script(ctx, fmt.Sprintf("select pg_advisory_xact_lock(%d); set local lock_timeout to %d", int64(contact), lockWait.Milliseconds())); err != nil {
				return err
			}
			var there bool
			if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&there); err != nil {
				return err
			}
			begun = time.Now()
			if there {
				f, err := o.readFence(ctx, t)
				if err != nil {
					return err
				}
				migration = f.Migration
				if !k.laid {
					return nil // another one has laid it meanwhile
				}
				return o.layAgain(ctx, t)
			}
			migration = newID()
			return o.layFirst(ctx, t, migration, accepted)
		})
		waited = max(waited, time.Since(begun))
		if code(err) != codeNoLock {
			return migration, waited, err
		}
		select {
		case <-ctx.Done():
			return "", waited, fmt.Errorf("%w: %s", err, o.writers())
		case <-time.After(lockWait):
		}
	}
}

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
		if err := t.all(ctx, append(of.companionSQL(), of.writeSQL(sh), of.togetherSQL(sh), `insert into migrate.collection(name, filled) values (`+literal(of.Name)+`, false)`)); err != nil {
			return err
		}
		last = append(last, of.triggersSQL()...)
		last = append(last, of.guardedSQL())
	}
	if accepted == nil {
		accepted = []string{}
	}
	_, err := t.exec(ctx, `insert into migrate.fence(one, format, digest, declaration, migration, epoch, prim, state, rules) values (1, $1::bigint, $2::text, $3::text, $4::text, 1, 'old', 'open', $5::text[])`,
		format, o.digest, o.text, migration, accepted)
	if err != nil {
		return err
	}
	return t.all(ctx, last)
}

// guardedSQL notes by what the table is held from now on.
func (t *table) guardedSQL() string {
	return `update migrate.collection set guards = ` + t.guards() + ` where name = ` + literal(t.Name)
}

// layAgain mends the guards. No companion of a table with a gap is believed any
// more: each record is counted up, in batches, before anything else is sent.
func (o *Old) layAgain(ctx context.Context, t tx) error {
	for _, of := range o.tables {
		var kept, now string
		if err := t.QueryRow(ctx, `select guards, `+of.guards()+` from migrate.collection where name = $1::text`, of.Name).Scan(&kept, &now); err != nil {
			return err
		}
		if kept == now {
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
		statements = append(statements, of.writeSQL(sh), of.togetherSQL(sh))
		statements = append(statements, of.triggersSQL()...)
		statements = append(statements, of.guardedSQL(),
			`update migrate.collection set filled = false, again = true, position = '' where name = `+literal(of.Name))
		if err := t.all(ctx, statements); err != nil {
			return err
		}
	}
	return nil
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

// indexes makes those by which pages and lists go, without a lock that writers
// feel. One that was not made to its end is made anew.
func (o *Old) indexes(ctx context.Context, of *table) error {
	statements := of.listsSQL()
	if order := of.orderSQL(); order != "" {
		statements = append([]string{order}, statements...)
	}
	conn, err := o.pool.Acquire(ctx)
	if err != nil {
		return o.meaning(ctx, "make the indexes", unsent{err})
	}
	defer conn.Release()
	for _, s := range statements {
		name := strings.TrimPrefix(strings.SplitN(s, " on ", 2)[0], "create index ")
		var valid *bool
		err := conn.QueryRow(ctx, `select (select indisvalid from pg_index where indexrelid = to_regclass($1::text))`, ident(of.schema)+"."+name).Scan(&valid)
		if err != nil {
			return o.meaning(ctx, "make the indexes", err)
		}
		if valid != nil && *valid {
			continue
		}
		var all []string
		if valid != nil {
			all = append(all, `drop index `+ident(of.schema)+"."+name)
		}
		all = append(all, strings.Replace(s, "create index ", "create index concurrently ", 1))
		for _, s := range all {
			if _, err := conn.Exec(ctx, s); err != nil {
				if code(err) == codeImmutable && !slices.Contains([]string{of.orderSQL()}, s) {
					o.log.Warn("a list has no index: its column's type has no text that never changes", "statement", s)
					break
				}
				return o.meaning(ctx, "make the indexes", err)
			}
		}
	}
	return nil
}
