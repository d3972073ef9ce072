package migration

import (
	"context"
	"slices"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// pageSize is how many records one page of a merged list asks each store for
// at the most, leastPage at the least.
const (
	pageSize  = 500
	leastPage = 50
)

// List returns a page of up to limit records, at least 1, that match, tombstones
// and what is in quarantine left out, whose id is greater than after, in bytewise order of ids. What
// matched throughout is in it; nothing is in it twice. Errors are those of
// [Service.Get].
func (s *Service) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, error) {
	var page store.Page
	limit = max(limit, 1)
	err := s.persist(ctx, func(ctx context.Context) (err error) {
		if s.step.ReadsFence() {
			page, err = s.listFenced(ctx, filter, after, limit)
		} else {
			page, err = s.listRegistered(ctx, filter, after, limit)
		}
		return err
	})
	return page, err
}

func (s *Service) listFenced(ctx context.Context, filter record.Filter, after record.ID, limit int) (page store.Page, err error) {
	if !s.wasNew.Load() {
		page, fence, err := s.old.List(ctx, filter, after, limit)
		if err != nil {
			return page, err
		}
		plan, err := s.plan(fence)
		if err == nil && plan.Compare {
			s.compareListLater(fence.Epoch, page.Records)
		}
		if err != nil || plan.Primary == store.PrimaryOld {
			return page, err
		}
	}
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return page, err
	}
	plan, err := s.plan(fence)
	switch {
	case err != nil:
		return page, err
	case plan.Primary == store.PrimaryOld:
		return page, errAgain
	case plan.Wait:
		return page, errClosing
	}
	if page, err = s.merge(ctx, fence, filter, after, limit); err != nil {
		return page, err
	}
	return page, s.stillOpen(ctx, fence)
}

func (s *Service) listRegistered(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, error) {
	fence, _, err := s.view()
	if err != nil {
		return store.Page{}, err
	}
	var page store.Page
	if s.final(fence.Epoch) {
		page, err = s.new.List(ctx, filter, after, limit)
	} else {
		page, err = s.merge(ctx, fence, filter, after, limit)
	}
	if err == nil {
		err = s.vouch(ctx, fence.Epoch)
	}
	return page, err
}

// merge pages both stores by id. Ids are consumed only up to the smallest id at
// which a page that is not its store's last one stops: beyond it that store has
// not yet spoken.
func (s *Service) merge(ctx context.Context, fence store.Fence, filter record.Filter, after record.ID, limit int) (store.Page, error) {
	if err := s.ours(ctx); err != nil {
		return store.Page{}, err
	}
	var out []store.Record
	size := min(max(limit, s.page), pageSize) // many of a page may turn out to be stale
	for {
		news, err := s.new.List(ctx, filter, after, size)
		if err != nil {
			return store.Page{}, err
		}
		olds, f, err := s.old.List(ctx, filter, after, size)
		if err != nil {
			return store.Page{}, err
		}
		if err := s.own(f.Migration); err != nil {
			return store.Page{}, err
		}
		bound, more := horizon(news, olds)
		merged, err := s.mergePage(ctx, fence, filter, upTo(news, bound, more), upTo(olds, bound, more))
		if err != nil {
			return store.Page{}, err
		}
		switch out = append(out, merged...); {
		case len(out) > limit:
			return store.PageOf(out[:limit], limit), nil
		case !more:
			return store.Page{Records: out, End: true}, nil
		case len(out) == limit:
			return store.Page{Records: out, Next: bound}, nil
		}
		after = bound
	}
}

// horizon returns the id up to which both pages speak for their stores, and
// whether there may be more beyond it.
func horizon(pages ...store.Page) (bound record.ID, more bool) {
	for _, page := range pages {
		if !page.End && (!more || page.Next < bound) {
			bound, more = page.Next, true
		}
	}
	return bound, more
}

func upTo(page store.Page, bound record.ID, bounded bool) []store.Record {
	end := slices.IndexFunc(page.Records, func(r store.Record) bool { return r.ID > bound })
	if !bounded || end < 0 {
		return page.Records
	}
	return page.Records[:end]
}

// mergePage looks up, in the other store, every id that one store alone lists
// and that is not final, and filters the newer copy again: a tombstone in one
// hides a stale copy in the other.
func (s *Service) mergePage(ctx context.Context, fence store.Fence, filter record.Filter, news, olds []store.Record) ([]store.Record, error) {
	n, o := byID(news), byID(olds)
	var onlyOld, notFinal []record.ID
	for id := range o {
		if _, ok := n[id]; !ok {
			onlyOld = append(onlyOld, id)
		}
	}
	for id, rec := range n {
		if _, ok := o[id]; !ok && rec.Epoch != fence.Epoch {
			notFinal = append(notFinal, id)
		}
	}
	if err := s.fill(ctx, n, onlyOld, o, notFinal); err != nil {
		return nil, err
	}
	var out []store.Record
	for _, id := range union(n, o) {
		nr, inNew := n[id]
		or, inOld := o[id]
		if rec, ok := choose(fence.Epoch, nr, inNew, or, inOld); ok && !rec.Deleted && rec.Unfit == "" && filter.Match(rec.ID, rec.Body) {
			out = append(out, rec)
		}
	}
	return out, nil
}

func (s *Service) fill(ctx context.Context, n map[record.ID]store.Record, fromNew []record.ID, o map[record.ID]store.Record, fromOld []record.ID) error {
	slices.Sort(fromNew) // the order of calls must not depend on the map's
	slices.Sort(fromOld)
	if len(fromNew) > 0 {
		recs, err := s.new.Get(ctx, fromNew...)
		if err != nil {
			return err
		}
		for id, rec := range recs {
			n[id] = rec
		}
	}
	if len(fromOld) > 0 {
		recs, _, err := s.old.Get(ctx, fromOld...)
		if err != nil {
			return err
		}
		for id, rec := range recs {
			o[id] = rec
		}
	}
	return nil
}

func byID(recs []store.Record) map[record.ID]store.Record {
	m := make(map[record.ID]store.Record, len(recs))
	for _, r := range recs {
		m[r.ID] = r
	}
	return m
}

// union returns the ids of both maps in bytewise order.
func union(a, b map[record.ID]store.Record) []record.ID {
	ids := make([]record.ID, 0, len(a)+len(b))
	for id := range a {
		ids = append(ids, id)
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
