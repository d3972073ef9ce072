package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate/app/store"
)

// Pass says how far a pass over the databases has come.
type Pass struct {
	Epoch   int64
	Primary store.Primary
	Done    int64 // records looked at so far, in this pass or the one it resumes
	Total   int64 // an estimate; 0: unknown
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
}

// CopyAll copies what old has to new, page by page. While old is primary the
// copies go over as they are; while new is, they are stamped with the epoch of
// the fence that was read with that very page, which makes them final. A fence
// that moves makes it start again; a kill makes the next run go on at the
// checkpoint. Once every page was read under one epoch of "new", new has the
// completion mark of that epoch.
func CopyAll[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], opt BackfillOptions) (BackfillResult, error) {
	opt.Batch = orDefault(opt.Batch, 200)
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
func copyUnder[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], fence store.Fence, opt BackfillOptions) (BackfillResult, error) {
	res := BackfillResult{Epoch: fence.Epoch, Primary: fence.Primary}
	swept, err := old.Sweep(ctx)
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
			opt.Progress(Pass{Epoch: fence.Epoch, Primary: fence.Primary, Done: res.Copied, Total: total})
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
	if fence.Primary == store.PrimaryNew {
		if err := to.MarkComplete(ctx, fence.Epoch); err != nil {
			return res, err
		}
		res.Complete = true
	}
	return res, nil
}

// copyPage copies one page and returns how many records it had and its last id.
func copyPage[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], fence store.Fence, after string, opt BackfillOptions) (store.Page[B], error) {
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
	return page, copyRecords(ctx, old, to, f.Epoch, recs, original)
}

// copyRecords sends a page to new. A record that new can't hold is quarantined
// by the mark that old knows it by, and the tombstone goes over in its place.
func copyRecords[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], epoch int64, recs []store.Record[B], original []store.Mark) error {
	err := to.PutIfNewer(ctx, recs...)
	if !errors.Is(err, store.ErrUnfit) {
		return err
	}
	for i, rec := range recs {
		err := to.PutIfNewer(ctx, rec)
		if errors.Is(err, store.ErrUnfit) {
			err = isolate(ctx, old, to, epoch, original[i], err.Error())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isolate quarantines a record that new can't hold and sends the tombstone that
// it leaves. Where not even that can be held (the id is at fault), a second
// Isolate removes the record for good.
func isolate[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], epoch int64, mark store.Mark, reason string) error {
	for {
		err := old.Isolate(ctx, epoch, mark, reason)
		if errors.Is(err, store.ErrConflict) {
			return nil // changed meanwhile: it is pending, and the relay meets it
		}
		if err != nil {
			return fmt.Errorf("quarantine %q, which the new database can't hold: %w", mark.ID, err)
		}
		recs, _, err := old.Get(ctx, mark.ID)
		if err != nil {
			return err
		}
		stone, left := recs[mark.ID]
		if !left {
			return nil
		}
		mark = stone.Mark()
		stone.Epoch = epoch // Isolate has just stamped it, or the fence has moved and this page counts for nothing
		if err := to.PutIfNewer(ctx, stone); !errors.Is(err, store.ErrUnfit) {
			return err
		}
		if !stone.Deleted {
			return nil // another writer's; the relay meets it
		}
	}
}
