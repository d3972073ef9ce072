package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/store"
)

const (
	// patience is how long one database may take to answer.
	patience = 5 * time.Second
	// spare is what must be left on a disk beside a copy of the old database.
	spare = 64 << 20
)

// space: the copy that is made before first contact fits, and then some.
func (x *examination) space() {
	const name = "disk"
	need := uint64(spare)
	folders := []string{existing(x.status.Dir)}
	if d, err := driver.OfOld(x.Databases.Old); err == nil {
		folder, bytes := d.Room(x.Databases.Old)
		need, folders = need+bytes, append(folders, existing(folder))
	}
	for _, dir := range folders {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			x.fail(name, "make it readable for this user", "%s: %v", dir, err)
			return
		}
		if left := fs.Bavail * uint64(fs.Bsize); left < need {
			x.fail(name, fmt.Sprintf("make %d MB of room", (need-left)>>20+1), "%d MB are left beside %s, and %d MB may be needed", left>>20, dir, need>>20)
			return
		}
	}
	x.ok(name, "more than the %d MB that may be needed", need>>20)
}

// existing is the nearest folder above that is there.
func existing(dir string) string {
	for {
		if there(dir) || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// databases: both can be reached, are guarded, and belong together.
func (x *examination) databases(ctx context.Context) {
	own, err := x.Orchestrator.Own(x.status.Live)
	if err != nil {
		x.fail("databases", "migrate status", "whose service this is can't be told: %v", err)
		return
	}
	if len(own) > 0 && !x.Remembered && !x.Named {
		x.note("databases", "nothing: --old or --new has one looked at", "the service is a command of your own, and none of its databases is known here")
		return
	}
	old, fence := x.old(ctx)
	x.new(ctx, old, fence)
}

// old says whether there is a fence, and which.
func (x *examination) old(ctx context.Context) (bool, store.Fence) {
	const name = "old database"
	place := x.Databases.OldPlace()
	if x.Databases.OldMissing() {
		switch {
		case !x.Remembered:
			x.note(name, "say where yours is with --old; else the first spawn makes one", "%s is not there", place)
		case x.step() == 8:
			x.note(name, "nothing: step 8 does without it", "%s is gone", place)
		default:
			x.fail(name, "bring it back: without it writes of the old primary are lost", "%s is gone", place)
		}
		return false, store.Fence{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := app.IdentifyOld(ctx, x.Databases.Old); err != nil {
		x.fail(name, cmp.Or(x.Databases.OldRemedy(err), "say with --old where a database is that this user may read and write"), "%v", err)
		return false, store.Fence{}
	}
	s, err := app.OpenOld(ctx, x.Databases, nil)
	if err != nil {
		x.fail(name, "say where it is with --old", "%v", err)
		return false, store.Fence{}
	}
	defer s.Close()
	fence, err := s.Fence(ctx)
	switch {
	case errors.Is(err, store.ErrStranger) && (!x.Remembered || x.step() < 3):
		x.untouched(ctx, s, place)
		return false, fence
	case err != nil:
		x.fail(name, "it must be a database that this user may write", "%v", err)
		return false, fence
	}
	x.ok(name, "%s: epoch %d, primary %s", place, fence.Epoch, fence.Primary)
	foreign, ok := store.As[interface{ Guarded(context.Context) error }](s)
	if !ok {
		return true, fence
	}
	if err := foreign.Guarded(ctx); err != nil {
		x.fail("triggers", "migrate spawn at this step lays them down again; until then keep other programs from writing", "%v", err)
	} else {
		x.ok("triggers", "other programs' writes are held inside the protocol")
	}
	x.takeover(ctx, s)
	return true, fence
}

// takeover says how far the old database is taken over, and what waits for a person.
func (x *examination) takeover(ctx context.Context, s store.Old) {
	if foreign, ok := store.As[store.Foreign](s); ok {
		if err := foreign.Filled(ctx); err != nil {
			x.fail("take-over", "migrate adopt, which goes on where it stopped", "%v", err)
		}
	}
	legacy, ok := store.As[store.Legacy](s)
	if !ok {
		return
	}
	const some = 1000
	rows, total, err := legacy.Quarantine(ctx, some)
	if err != nil || total == 0 {
		return // what can't be read, the other checks tell
	}
	reasons := map[string]int{}
	for _, q := range rows {
		reasons[q.Collection+": "+q.Reason]++
	}
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		all = append(all, fmt.Sprintf("%d of %s", reasons[reason], reason))
	}
	const most = 5
	if len(all) > most {
		all = append(all[:most], "…")
	}
	x.note("quarantine", "migrate quarantine list, then decide on each; the primary does not move before, nor is step 8 reached",
		"%d row(s) on which nobody has decided (%s)", total, strings.Join(all, "; "))
}

// untouched says whether a database that no instance has held yet can be taken over.
func (x *examination) untouched(ctx context.Context, old store.Old, place driver.Place) {
	const name = "old database"
	survey, err := store.Survey{}, error(nil)
	if a, ok := store.As[store.Adopter](old); ok {
		survey, err = a.Survey(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		x.note(name, "migrate adopt --dry-run takes its time", "%s is as the original left it; it is too large to be looked through here", place)
		return
	}
	if err != nil {
		x.fail(name, "say with --old where a database is that can be migrated; migrate adopt --dry-run shows all of what is in the way", "%v", err)
		return
	}
	for _, r := range survey.Rules {
		switch r.Verdict {
		case store.Refused:
			x.fail(name, cmp.Or(r.Remedy, "migrate adopt --dry-run shows all of what is in the way"), "%s: %s", r.Detail, r.Meaning)
		case store.Open:
			x.fail(name, "migrate adopt --accept "+r.Name+", if it may be so", "%s: %s", r.Detail, r.Meaning)
		}
	}
	if survey.Suits() {
		x.note(name, "nothing: the first instance that needs it prepares it, after a copy", "%s is as the original left it", place)
	}
}

// new asks the new database, and holds its migration id against the old one's.
func (x *examination) new(ctx context.Context, contact bool, fence store.Fence) {
	const name = "new database"
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	where := x.Databases.NewPlace()
	reach, idle := "is it up? --new says where it is", false
	if x.Embedded != "" {
		reach = fmt.Sprintf("migrate mongo start --mongo-listen %s, or --new for a real one", x.Embedded)
		d, running, err := x.Orchestrator.DaemonStatus(x.MongoDaemon)
		idle = err == nil && !running && d.Name == ""
	}
	if idle && x.step() < 2 {
		if !bindable(x.Embedded) {
			x.note(name, "choose another address with migrate mongo start --mongo-listen", "the embedded server is not started yet, and %s is taken", x.Embedded)
			return
		}
		x.note(name, reach, "the embedded server is not started yet; step 2 is the first to need it")
		return
	}
	s, err := app.OpenNewBriefly(ctx, x.Databases)
	if err != nil {
		x.fail(name, "correct --new", "%v", err)
		return
	}
	defer s.Close()
	id, err := s.Look().Prepared(ctx)
	switch {
	case errors.Is(err, store.ErrStranger) && x.step() < 3:
		x.note(name, "nothing: the instance at step 2 prepares it", "%s can be reached", where.Name)
		return
	case errors.Is(err, store.ErrStranger):
		x.fail(name, "give the --new that the records were written to; if they are right and the old database is primary, migrate spawn at this step prepares it anew",
			"%s: %v", where, err)
		return
	case err != nil:
		text, _, _ := strings.Cut(err.Error(), ", current topology") // which says it once more, at length
		x.fail(name, cmp.Or(x.Remedy(text), reach), "%s", text)
		return
	}
	x.ok(name, "%s can be reached and is prepared", where.Name)
	switch {
	case contact && fence.Migration != id || x.Databases.Migration != "" && x.Databases.Migration != id:
		x.fail("migration id", "use the --old, --new and --dir that belong together",
			"%s has %q, the old database has %q, remembered is %q", where, id, fence.Migration, x.Databases.Migration)
	default:
		x.ok("migration id", "%s in both", id)
	}
}

// step is the active instance's; 0 if there is none.
func (x *examination) step() int {
	for _, i := range x.status.Instances {
		if i.Port == x.status.Live {
			return i.Step
		}
	}
	if s := x.status.LastSwitch; s != nil {
		return s.Step
	}
	return 0
}
