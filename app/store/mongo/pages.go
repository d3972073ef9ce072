package mongo

import (
	"bytes"
	"context"
	"errors"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// List implements [store.New].
func (s *Store) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, error) {
	living := bson.D{{Key: deletedPath, Value: false}}
	if filter.Collection() == "" {
		return s.page(ctx, s.names, after, limit, living)
	}
	of := s.collections[filter.Collection()]
	if of == nil {
		return store.Page{End: true}, ctx.Err()
	}
	chosen, possible := of.match(filter)
	if !possible {
		return store.Page{End: true}, ctx.Err()
	}
	return s.page(ctx, []string{of.Name}, after, limit, append(living, chosen...))
}

// Pending implements [store.New].
func (s *Store) Pending(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	return s.page(ctx, s.names, after, limit, bson.D{{Key: pendingPath, Value: true}})
}

// Scan implements [store.New]. What the migration has not written has the zero
// pair, if its _id can be a record's.
func (s *Store) Scan(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	return s.page(ctx, s.names, after, limit, nil)
}

// page returns the documents that match, in the order of their ids, of one
// collection after the other.
func (s *Store) page(ctx context.Context, names []string, after record.ID, limit int, filter bson.D) (store.Page, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer c.end()
	limit = max(limit, 1) // MongoDB takes 0 for no limit
	page := store.Page{End: true}
	for _, name := range names {
		if after >= record.End(name) {
			continue
		}
		of := s.collections[name]
		from, err := of.from(after)
		if err != nil {
			return store.Page{}, c.unread(err)
		}
		for more := true; more && page.End; {
			rest := limit - len(page.Records)
			batch, err := s.find(c, of, append(bson.D{{Key: "_id", Value: from}}, filter...), options.Find().
				SetSort(bson.D{{Key: "_id", Value: 1}}).
				SetLimit(int64(rest)).
				SetBatchSize(int32(min(rest, math.MaxInt32))), s.cfg.PageBytes)
			if err != nil {
				return store.Page{}, err
			}
			page.Records = append(page.Records, batch.records...)
			page.End = !batch.full && len(batch.records) < rest
			// Some were no records: as many may come after them.
			more = batch.seen == rest
			from = bson.D{{Key: "$gt", Value: batch.last}}
		}
		if !page.End {
			page.Next = page.Records[len(page.Records)-1].ID
			break
		}
	}
	return page, nil
}

// batch is what a find has answered.
type batch struct {
	records []store.Record
	seen    int           // documents
	last    bson.RawValue // the _id of the last one
	full    bool          // its documents had as many bytes as they may have, and others may follow
}

// find returns what matches in one collection; not to the end if the documents
// have more bytes than that, zero being no limit.
func (s *Store) find(c *call, of *collection, filter bson.D, opts *options.FindOptionsBuilder, most int) (batch, error) {
	cursor, err := of.docs.Find(c, filter, opts)
	if err != nil {
		return batch{}, c.unread(err)
	}
	defer cursor.Close(c)
	var (
		b    batch
		size int
	)
	for cursor.Next(c) {
		id := cursor.Current.Lookup("_id")
		b.seen, b.last = b.seen+1, bson.RawValue{Type: id.Type, Value: bytes.Clone(id.Value)}
		r, err := of.decode(cursor.Current)
		switch {
		case errors.Is(err, errNoID):
			continue
		case err != nil:
			return batch{}, c.unread(err)
		}
		b.records = append(b.records, r)
		if size += len(cursor.Current); most > 0 && size >= most {
			b.full = true
			return b, nil
		}
	}
	return b, c.unread(cursor.Err())
}

// CountPending implements [store.New].
func (s *Store) CountPending(ctx context.Context) (int64, error) {
	return s.count(ctx, func(c *call, of *collection) (int64, error) {
		return of.docs.CountDocuments(c, bson.D{{Key: pendingPath, Value: true}})
	})
}

// Count implements [store.New] from the collections' statistics.
func (s *Store) Count(ctx context.Context) (int64, error) {
	return s.count(ctx, func(c *call, of *collection) (int64, error) { return of.docs.EstimatedDocumentCount(c) })
}

// count sums over the collections.
func (s *Store) count(ctx context.Context, of func(*call, *collection) (int64, error)) (int64, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer c.end()
	var sum int64
	for _, name := range s.names {
		n, err := of(c, s.collections[name])
		if err != nil {
			return 0, c.unread(err)
		}
		sum += n
	}
	return sum, nil
}

// match says in MongoDB's words what [record.Filter.Match] says. It reports
// false if no document can hold a value that is asked for.
func (c *collection) match(filter record.Filter) (d bson.D, possible bool) {
	for _, e := range filter.Equals() {
		f, _ := c.Field(e.Field)
		v, err := encodeValue(f, e.Value, limits{})
		if err != nil {
			return nil, false
		}
		d = append(d, bson.E{Key: c.path(e.Field), Value: v})
	}
	return d, true
}
