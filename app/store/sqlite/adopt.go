package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	codes "modernc.org/sqlite/lib"

	"migrate.invalid/migrate/app/store"
)

// errNoFence is wrapped by the store.ErrStranger about a file that never met us.
var errNoFence = errors.New("this file has no fence")

// Adopt brings the file into the protocol: it looks at the tables, copies the
// file beside itself, lays fence, triggers and companions down, and fills the
// companions in. It is safe to repeat, to race and to kill: it goes on where it
// was. A table whose guards have a gap is taken over again.
//
// A file that can't be taken over is refused, untouched, with every reason.
func (s *Store) Adopt(ctx context.Context, o store.AdoptOptions) (store.Adopted, error) {
	o.Accept = slices.Concat(s.accept, o.Accept)
	if s.create {
		if err := makeFile(s.path); err != nil {
			return store.Adopted{}, meaning(ctx, "take over", err)
		}
	}
	a := &adopting{Store: s, options: o}
	k, err := a.inspect(ctx)
	if err != nil {
		return store.Adopted{}, err
	}
	if k.complete {
		if _, err = a.setWAL(ctx); err == nil { // somebody may have set another mode
			a.forgetJournal()
		}
		return a.result, err
	}
	a.result.Accepted = a.acceptedNames()
	if k.fence {
		err = a.mend(ctx)
	} else {
		err = a.begin(ctx)
	}
	if err == nil {
		a.forgetJournal() // the fence has it
		err = a.fill(ctx)
	}
	if err == nil {
		err = a.sum(ctx)
	}
	return a.result, err
}

// adopting is one take-over.
type adopting struct {
	*Store
	options store.AdoptOptions
	rules   []store.Rule
	again   []string // collections whose guards had a gap
	result  store.Adopted
}

// acceptedNames are the rules that the tables have and the person has accepted. They
// are remembered beside the fence: a take-over that goes on needs them, too.
func (a *adopting) acceptedNames() (names []string) {
	for _, r := range a.rules {
		if r.Verdict == store.Accepted {
			names = append(names, r.Name)
		}
	}
	return names
}

func (a *adopting) progress(phase string, done, total int64) {
	if a.options.Progress != nil {
		a.options.Progress(store.AdoptProgress{Phase: phase, Done: done, Total: total})
	}
}

// known is what a file tells before anything is done.
type known struct {
	fence    bool // it has met us
	complete bool // there is nothing left to do
	tables   bool // it has a table of ours
}

// inspect looks at the file and refuses one that can't be taken over.
func (a *adopting) inspect(ctx context.Context) (k known, err error) {
	err = a.run(ctx, "take over", func() error {
		return transact(ctx, a.readers, beginRead, func(ctx context.Context, c *conn) error {
			k, err = a.see(ctx, c)
			return err
		})
	})
	return k, err
}

func (a *adopting) see(ctx context.Context, c *conn) (k known, err error) {
	a.rules = nil
	f, err := a.readFence(ctx, c)
	switch {
	case err == nil:
		k.fence, a.result.Migration = true, f.Migration
	case !errors.Is(err, errNoFence):
		return k, err
	}
	if k.fence {
		gaps, err := a.gaps(ctx, c)
		if err != nil {
			return k, err
		}
		empty := 0
		if err := c.value(ctx, `SELECT count(*) FROM migrate_collection WHERE filled=0`, &empty); err != nil {
			return k, err
		}
		if k.complete = len(gaps) == 0 && empty == 0; k.complete {
			return k, nil
		}
	}
	accept := a.options.Accept
	if k.fence {
		var before string
		if err := c.value(ctx, `SELECT rules FROM migrate_fence`, &before); err != nil {
			return k, err
		}
		accept = slices.Concat(accept, strings.Split(before, "\n"))
	}
	if a.rules, err = a.askAll(ctx, c, accept, a.create && !k.fence); err != nil {
		return k, err
	}
	for _, t := range a.tables {
		sh, err := t.look(ctx, c)
		if err != nil {
			return k, err
		}
		k.tables = k.tables || sh.found
	}
	return k, against(a.rules)
}

// begin is the first contact: log, copy, and then one transaction.
func (a *adopting) begin(ctx context.Context) (err error) {
	if err := a.estimate(ctx); err != nil {
		return err
	}
	if err := a.tryOut(ctx); err != nil {
		return err
	}
	journal, err := a.startWAL(ctx)
	if err != nil {
		return a.readerOf(err)
	}
	defer func() {
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			a.giveJournalBack(ctx, journal)
		}
	}()
	var copied string
	if tables, err := a.any(ctx); err != nil {
		return err
	} else if tables {
		a.progress("copy", 0, 0)
		if copied, err = a.copyFile(ctx); err != nil {
			return err
		}
	}
	a.progress("guard", 0, 0)
	fresh := false
	err = a.locked(ctx, "take over", func(ctx context.Context, c *conn) (err error) {
		fresh, err = a.layDown(ctx, c, journal, copied)
		return err
	})
	// Keep the copy for the contact that it was made for, or may have been.
	switch {
	case errors.Is(err, store.ErrUnknown):
		a.result.Copy = copied
		return err
	case err == nil && fresh:
		a.result.Fresh, a.result.Copy = true, copied
		return nil
	case copied != "":
		if rerr := os.Remove(copied); rerr != nil {
			a.log.Warn("a copy of the old database that is not needed stays behind", "error", rerr)
		}
	}
	return err
}

// any reports whether the file has a table of ours.
func (a *adopting) any(ctx context.Context) (tables bool, err error) {
	err = a.run(ctx, "take over", func() error {
		return use(ctx, a.readers, func(ctx context.Context, c *conn) error {
			for _, t := range a.tables {
				sh, err := t.look(ctx, c)
				if err != nil {
					return err
				}
				tables = tables || sh.found
			}
			return nil
		})
	})
	return tables, err
}

// locked runs fn as the only writer and measures for how long others waited.
func (a *adopting) locked(ctx context.Context, op string, fn func(context.Context, *conn) error) error {
	var since time.Time
	err := a.run(ctx, op, func() error {
		return transact(ctx, a.writers, beginWrite, func(ctx context.Context, c *conn) error {
			since = time.Now()
			return fn(ctx, c)
		})
	})
	if !since.IsZero() {
		a.result.Waited = max(a.result.Waited, time.Since(since))
	}
	return err
}

// layDown does the first contact in the connection's transaction, unless
// another was faster.
func (a *adopting) layDown(ctx context.Context, c *conn, journal, copied string) (fresh bool, err error) {
	k, err := a.see(ctx, c)
	if err != nil || k.fence {
		return false, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return false, err
	}
	slow, err := a.slow(ctx, c)
	if err != nil {
		return false, err
	}
	if err := a.lay(ctx, c, true); err != nil {
		return false, err
	}
	if err := a.tryNow(ctx, c, slow); err != nil {
		return false, err
	}
	_, err = c.ExecContext(ctx, `INSERT INTO migrate_fence(one,format,migration,declaration,epoch,prim,state,rules,journal,copy) VALUES(1,?,?,?,1,'old','open',?,?,?)`,
		format, id.String(), a.text, strings.Join(a.acceptedNames(), "\n"), journal, copied)
	a.result.Migration = id.String()
	return true, err
}

// lay makes the protocol's tables and triggers. Without whole it leaves out what
// takes time in a large table.
func (a *adopting) lay(ctx context.Context, c *conn, whole bool) error {
	for _, t := range a.tables {
		if sh, err := t.look(ctx, c); err != nil {
			return err
		} else if !sh.found {
			if err := execAll(ctx, c, t.createSQL()); err != nil {
				return err
			}
		}
	}
	if err := execAll(ctx, c, commonSQL(a.tables)); err != nil {
		return err
	}
	for _, t := range a.tables {
		sh, err := t.look(ctx, c)
		if err == nil {
			err = execAll(ctx, c, t.companionSQL(sh))
		}
		if err == nil && whole {
			err = a.unique(ctx, c, t, sh)
		}
		if err == nil && whole {
			err = a.lists(ctx, c, t, !t.uniqueID(sh))
		}
		if err == nil {
			_, err = c.ExecContext(ctx, `INSERT INTO migrate_collection(name,filled) VALUES(?,0)`, t.Name)
		}
		if err == nil {
			err = t.guardIt(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func execAll(ctx context.Context, c *conn, statements []string) error {
	for _, s := range statements {
		if _, err := c.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// guardIt puts the triggers on the table, in place of those that are there.
func (t *table) guardIt(ctx context.Context, c *conn) error {
	sh, err := t.look(ctx, c)
	if err != nil {
		return err
	}
	found, err := t.foundTriggers(ctx, c)
	if err != nil {
		return err
	}
	for name := range found {
		if _, err := c.ExecContext(ctx, `DROP TRIGGER `+ident(name)); err != nil {
			return err
		}
	}
	for _, text := range t.triggers(sh) {
		if _, err := c.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// few is how many rows a table may have so that an index for its lists is made
// at once: it keeps writers out for some tens of milliseconds.
const few = 20_000

// lists makes the indexes of the declared lists, where that is quick, or where
// others wait for another index anyway.
func (a *adopting) lists(ctx context.Context, c *conn, t *table, waiting bool) error {
	rows := 0
	if err := c.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM %s LIMIT %d)`, t.name, few+1)).Scan(&rows); err != nil {
		return err
	}
	for _, index := range t.listsSQL() {
		if rows > few && !waiting {
			a.log.Warn("an index for lists was left out, since making it would keep other programs from writing; make it when they can wait", "collection", t.Name, "statement", index)
			continue
		}
		if _, err := c.ExecContext(ctx, index); err != nil {
			return err
		}
	}
	return nil
}

// unique makes the index on the id where the table has none. Only if that fails
// are repeated ids looked for, which costs more than the index.
func (a *adopting) unique(ctx context.Context, c *conn, t *table, sh shape) error {
	if t.uniqueID(sh) {
		return nil
	}
	// One of this name is on a table that has been renamed.
	if _, err := c.ExecContext(ctx, `DROP INDEX IF EXISTS `+t.object("id")); err != nil {
		return err
	}
	_, err := c.ExecContext(ctx, t.uniqueSQL())
	if code(err)&0xff != codes.SQLITE_CONSTRAINT {
		return err
	}
	if err := t.moveRepeated(ctx, c, sh); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, t.uniqueSQL())
	return err
}

// estimate asks before other programs are kept from writing for long.
func (a *adopting) estimate(ctx context.Context) error {
	var wait time.Duration
	err := a.run(ctx, "take over", func() error {
		return use(ctx, a.readers, func(ctx context.Context, c *conn) error {
			wait = 0
			for _, t := range a.tables {
				sh, err := t.look(ctx, c)
				if err != nil {
					return err
				}
				if !sh.found || t.uniqueID(sh) {
					continue
				}
				var rows int64
				if err := c.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name).Scan(&rows); err != nil {
					return err
				}
				wait += t.lockedOut(rows)
			}
			return nil
		})
	})
	if err != nil || wait <= time.Second || a.options.Wait {
		return err
	}
	return fmt.Errorf("sqlite: take over: %w: nothing was changed: the id isn't unique in the file, and the index for it would keep other programs from writing for about %s",
		store.ErrTooLong, wait.Round(time.Second))
}

// sum counts what was taken over.
func (a *adopting) sum(ctx context.Context) error {
	err := a.read(ctx, "count the records", func(ctx context.Context, c *conn, _ store.Fence) error {
		a.result.Rows = 0
		for _, t := range a.tables {
			var n int64
			if err := c.value(ctx, `SELECT count(*) FROM `+t.companion+` WHERE deleted=0 AND unfit IS NULL`, &n); err != nil {
				return err
			}
			a.result.Rows += n
		}
		return nil
	})
	if err == nil {
		_, a.result.Quarantined, err = a.Quarantine(ctx, 1)
	}
	return err
}
