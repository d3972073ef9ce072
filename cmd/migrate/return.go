package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator/process"
)

// returnPrimary makes the old database primary again, which only going from
// step 4 to 3 needs. Instances above 4 must have been ended. goneHosts are
// hosts that are no more, on the operator's word.
func (g *globals) returnPrimary(ctx context.Context, s *stores, goneHosts []string) (res migration.ReturnResult, err error) {
	host, err := os.Hostname()
	if err != nil {
		return res, fmt.Errorf("name this host: %w", err)
	}
	err = s.orch.Exclusive(ctx, "return the primary", func(ctx context.Context) error {
		res, err = migration.ReturnPrimary(ctx, s.old, s.new, migration.ReturnOptions{
			Gone: processGone(host, goneHosts), OnWord: onWord(goneHosts), Token: uuid.NewString(), Progress: g.say,
		})
		return err
	})
	switch {
	case errors.Is(err, migration.ErrLiving):
		return res, next(err, "the new database is primary, as before", "migrate stop PORT for that instance; if it has ended for certain: migrate rollback --gone-host HOST, on your word")
	case errors.Is(err, migration.ErrOldRefuses):
		return res, next(err, "the new database is primary, as before; it keeps these records, and nothing is lost",
			"change or delete each of them through the service, then migrate rollback; migrate status lists what is left")
	case errors.Is(err, migration.ErrGaveUp):
		return res, next(err, "the new database is primary, as before", "migrate rollback, once more")
	case err != nil:
		return res, next(err, "if writes wait, an instance at step 4 or 5 lets them go on once 5 s are over and the old database takes a write", "migrate status, then migrate rollback")
	}
	return res, nil
}

// onWord reports whether a registration may count as one of an ended process on
// the operator's word alone.
func onWord(goneHosts []string) func(store.Registration) bool {
	return func(r store.Registration) bool { return slices.Contains(goneHosts, cmp.Or(r.Host, noHost)) }
}

// noHost is what --gone-host calls a registration that names no host.
const noHost = "unknown"

// processGone proves that the process of a registration has ended: it was on this
// host, under this boot, among the processes that this command sees, and its
// number is nobody's or another's now. A field that is empty proves nothing, and
// neither does one that differs: another machine or container may have this
// host's name. Where there is no proof, the operator's word about the host counts.
func processGone(host string, goneHosts []string) func(store.Registration) error {
	return func(r store.Registration) error {
		self, err := process.Identify(os.Getpid())
		if err != nil {
			return err
		}
		id := process.Identity{PID: r.PID, Started: r.Started, Boot: r.Boot}
		if r.Host == host && id.Alive() {
			return errors.New("its process lives") // also against the operator's word: it would go on writing
		}
		if slices.Contains(goneHosts, cmp.Or(r.Host, noHost)) {
			return nil
		}
		here, seen := host, process.Namespace()
		switch {
		case r.Host == "":
			return fmt.Errorf("it does not say on which host it runs: --gone-host %s, if it is no more", noHost)
		case r.Host != here:
			return fmt.Errorf("it runs on another host (%s), where this command can't look", r.Host)
		case r.PID <= 0, r.Started == "", r.Boot == "", r.Namespace == "", seen == "":
			return fmt.Errorf("it does not say enough to be told from others on %s: that proves nothing", r.Host)
		case r.Boot != self.Boot:
			return fmt.Errorf("it ran on %s under another boot, or on another machine of that name: that proves nothing", r.Host)
		case r.Namespace != seen:
			return fmt.Errorf("it runs in another container or namespace on %s, where this command can't look", r.Host)
		}
		return nil
	}
}

func printReturn(w io.Writer, r migration.ReturnResult) {
	if r.Already {
		fmt.Fprintf(w, "The old database is primary (epoch %d).\n", r.Epoch)
		return
	}
	fmt.Fprintf(w, "The old database is primary again (epoch %d): writes waited %d ms; %d records were sent back before that, %d meanwhile.\n",
		r.Epoch, r.Pause.Milliseconds(), r.Before, r.Closed)
}
