package mongo

import (
	"context"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate/app/store"
)

// List implements [store.New].
func (s *Store[B, F]) List(ctx context.Context, filter F, after string, limit int) (store.Page[B], error) {
	return s.page(ctx, after, limit, append(bson.D{{Key: "deleted", Value: false}}, s.cfg.Filter(filter)...))
}

// Pending implements [store.New].
func (s *Store[B, F]) Pending(ctx context.Context, after string, limit int) (store.Page[B], error) {
	return s.page(ctx, after, limit, bson.D{{Key: "pending", Value: true}})
}

// Scan implements [store.New].
func (s *Store[B, F]) Scan(ctx context.Context, after string, limit int) (store.Page[B], error) {
	return s.page(ctx, after, limit, nil)
}

// page returns the documents that match, by id. A comparison with a text only
// matches texts, so the record of a probe, whose _id is none, is left out.
func (s *Store[B, F]) page(ctx context.Context, after string, limit int, filter bson.D) (store.Page[B], error) {
	c, err := s.begin(ctx)
	if err != nil {
		return store.Page[B]{}, err
	}
	defer c.end()
	limit = max(limit, 1) // MongoDB takes 0 for no limit
	filter = append(bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}, filter...)
	recs, err := s.find(c, filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).
		SetLimit(int64(limit)).
		SetBatchSize(int32(min(limit, math.MaxInt32))))
	if err != nil {
		return store.Page[B]{}, err
	}
	return store.PageOf(recs, limit), nil
}

func (s *Store[B, F]) find(c *call, filter bson.D, opts *options.FindOptionsBuilder) ([]store.Record[B], error) {
	cursor, err := s.records.Find(c, filter, opts)
	if err != nil {
		return nil, c.unread(err)
	}
	defer cursor.Close(c)
	var recs []store.Record[B]
	for cursor.Next(c) {
		r, err := decode[B](cursor.Current)
		if err != nil {
			return nil, c.unread(err)
		}
		recs = append(recs, r)
	}
	return recs, c.unread(cursor.Err())
}

// CountPending implements [store.New].
func (s *Store[B, F]) CountPending(ctx context.Context) (int64, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer c.end()
	n, err := s.records.CountDocuments(c, bson.D{{Key: "pending", Value: true}})
	return n, c.unread(err)
}

// Count implements [store.New] from the collection's statistics.
func (s *Store[B, F]) Count(ctx context.Context) (int64, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer c.end()
	n, err := s.records.EstimatedDocumentCount(c)
	return n, c.unread(err)
}
