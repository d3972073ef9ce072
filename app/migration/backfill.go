package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Pass says how far a pass over the databases has come.
type Pass struct {
	Epoch   int64
	Primary store.Primary
	Done    int64 // records looked at so far, in this pass or the one it resumes
	Total   int64 // an estimate; 0: unknown

	Collection string // that it has come to
}

// BackfillOptions are the knobs of a backfill. The zero value is usable.
type BackfillOptions struct {
	Batch    int                                    // records a page; 200 if zero
	Throttle func(ctx context.Context, n int) error // waits until n more records may be copied; may be nil
	Progress func(Pass)                             // after each page; may be nil
	Rescan   bool                                   // start from the first record even where a checkpoint says otherwise
}

// BackfillResult says what a backfill did.
type BackfillResult struct {
	Epoch    int64         `json:"epoch"`
	Primary  store.Primary `json:"primary"`
	Copied   int64         `json:"copied"`   // records of old that new has been sent, an interrupted run's included
	Resumed  bool          `json:"resumed"`  // it went on where an earlier run had stopped
	Complete bool          `json:"complete"` // new is primary and has everything: the completion mark is set
	Swept    int64         `json:"swept"`    // rows that a foreign writer had removed unseen
	Already  bool          `json:"already"`  // the mark was there before
	// Quarantine is how many rows nobody has decided on: while there are any, the
	// completion mark is not set.
	Quarantine int64 `json:"quarantine"`
}

// CopyAll copies what old has to new, page by page. While old is primary the
// copies go over as they are; while new is, they are stamped with the epoch of
// the fence that was read with that very page, which makes them final. A fence
// that moves makes it start again; a kill makes the next run go on at the
// checkpoint. Once every page was read under one epoch of "new", and every row is decided on, new
// has the completion mark of that epoch.
func CopyAll(ctx context.Context, old store.Old, to store.New, opt BackfillOptions) (BackfillResult, error) {
	opt.Batch = orDefault(opt.Batch, 200)
	old, to = aging(old, to)
	for {
		fence, err := old.Fence(ctx)
		if err != nil {
			return BackfillResult{}, err
		}
		if err := sameMigration(ctx, fence, to); err != nil {
			return BackfillResult{}, err
		}
		res, err := copyUnder(ctx, old, to, fence, opt)
		if !errors.Is(err, store.ErrFenceMoved) {
			return res, err
		}
	}
}

// sameMigration refuses two databases that don't belong together.
func sameMigration(ctx context.Context, fence store.Fence, to store.NewLook) error {
	id, err := to.Prepared(ctx)
	if err == nil && id != fence.Migration {
		err = fmt.Errorf("%w: the old one is of migration %q, the new one of %q", store.ErrStranger, fence.Migration, id)
	}
	return err
}

// copyUnder is one pass under one epoch; ErrFenceMoved if that epoch ended.
func copyUnder(ctx context.Context, old store.Old, to store.New, fence store.Fence, opt BackfillOptions) (BackfillResult, error) {
	res := BackfillResult{Epoch: fence.Epoch, Primary: fence.Primary}
	if err := filled(ctx, old); err != nil {
		return res, err
	}
	swept, err := foreignTo(old).Sweep(ctx)
	if err != nil {
		return res, err
	}
	res.Swept = swept
	progress, err := to.Progress(ctx, fence.Epoch)
	if err != nil {
		return res, err
	}
	if progress.Complete && !opt.Rescan {
		res.Copied, res.Complete, res.Already = progress.Copied, true, true
		return res, nil
	}
	after := progress.After
	res.Copied, res.Resumed = progress.Copied, after != ""
	if opt.Rescan || after == "" {
		after, res.Copied, res.Resumed = "", 0, false
	}
	total, err := old.Count(ctx)
	if err != nil {
		return res, err
	}
	for {
		page, err := copyPage(ctx, old, to, fence, after, opt)
		if err != nil {
			return res, err
		}
		res.Copied += int64(len(page.Records))
		if opt.Progress != nil {
			opt.Progress(Pass{Epoch: fence.Epoch, Primary: fence.Primary, Done: res.Copied, Total: total, Collection: reached(page.Records)})
		}
		if page.End {
			break
		}
		after = page.Next
		if err := to.SaveCheckpoint(ctx, fence.Epoch, after, res.Copied); err != nil {
			return res, err
		}
	}
	// The checkpoint has served: another run under this epoch looks at everything again.
	if err := to.SaveCheckpoint(ctx, fence.Epoch, "", res.Copied); err != nil {
		return res, err
	}
	// After the last page: what that one has marked counts, too.
	if res.Quarantine, _, err = undecided(ctx, old); err != nil {
		return res, err
	}
	if fence.Primary == store.PrimaryNew && res.Quarantine == 0 {
		if err := to.MarkComplete(ctx, fence.Epoch); err != nil {
			return res, err
		}
		res.Complete = true
	}
	return res, nil
}

// reached is the collection that a page ends in; empty if it holds no record.
func reached(recs []store.Record) string {
	if len(recs) == 0 {
		return ""
	}
	return recs[len(recs)-1].ID.Collection()
}

// copyPage copies one page and returns how many records it had and its last id.
func copyPage(ctx context.Context, old store.Old, to store.New, fence store.Fence, after record.ID, opt BackfillOptions) (store.Page, error) {
	page, f, err := old.Scan(ctx, after, opt.Batch)
	if err != nil {
		return page, err
	}
	recs := page.Records
	if f.Epoch != fence.Epoch {
		return page, fmt.Errorf("%w: epoch %d has ended", store.ErrFenceMoved, fence.Epoch)
	}
	if len(recs) == 0 {
		return page, nil
	}
	if opt.Throttle != nil {
		if err := opt.Throttle(ctx, len(recs)); err != nil {
			return page, err
		}
	}
	original := marks(recs)
	if f.Primary == store.PrimaryNew {
		for i := range recs {
			recs[i].Epoch = f.Epoch
		}
	}
	_, err = sendToNew(ctx, old, to, f.Epoch, recs, original)
	return page, err
}
