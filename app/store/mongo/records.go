package mongo

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate/app/store"
)

// maxIDs bounds a look-up of many ids in one command.
const maxIDs = 1000

// Get implements [store.New].
func (s *Store[B, F]) Get(ctx context.Context, ids ...string) (map[string]store.Record[B], error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	return s.get(c, ids)
}

func (s *Store[B, F]) get(c *call, ids []string) (map[string]store.Record[B], error) {
	found := make(map[string]store.Record[B], len(ids))
	askable := make([]string, 0, len(ids))
	for _, id := range ids {
		if utf8.ValidString(id) { // nothing else can be there
			askable = append(askable, id)
		}
	}
	for len(askable) > 0 {
		n := min(maxIDs, len(askable))
		filter := bson.D{{Key: "_id", Value: askable[0]}}
		if n > 1 {
			filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: askable[:n]}}}}
		}
		recs, err := s.find(c, filter, options.Find().SetBatchSize(int32(n)))
		if err != nil {
			return nil, err
		}
		for _, r := range recs {
			found[r.ID] = r
		}
		askable = askable[n:]
	}
	return found, nil
}

// CompareAndSwap implements [store.New]: an insert, or an update of the
// document with the expected pair.
func (s *Store[B, F]) CompareAndSwap(ctx context.Context, rec store.Record[B], expect store.Pair) error {
	fields, err := encode(rec)
	if err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	if expect == (store.Pair{}) {
		doc := append(bson.D{{Key: "_id", Value: rec.ID}}, fields...)
		_, err := s.records.InsertOne(c, doc)
		return c.written(err, 0)
	}
	result, err := s.records.UpdateOne(c, exactly(store.Mark{ID: rec.ID, Pair: expect}), set(fields))
	if err != nil {
		return c.written(err, 0)
	}
	if result.MatchedCount == 0 && c.sent.Load() > 1 {
		// The driver has sent it twice, and the first may have been what matched.
		return fmt.Errorf("%w: %q was sent again and no longer matched", store.ErrUnknown, rec.ID)
	}
	if result.MatchedCount == 0 {
		return fmt.Errorf("%w: %q is no longer at %v", store.ErrConflict, rec.ID, expect)
	}
	return nil
}

// exactly matches one copy of one record.
func exactly(m store.Mark) bson.D {
	return bson.D{{Key: "_id", Value: m.ID}, {Key: "rev", Value: m.Rev}, {Key: "epoch", Value: m.Epoch}}
}

// olderThan matches the record if it is there and older.
func olderThan(m store.Mark) bson.D {
	return bson.D{{Key: "_id", Value: m.ID}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "rev", Value: bson.D{{Key: "$lt", Value: m.Rev}}}},
		bson.D{{Key: "rev", Value: m.Rev}, {Key: "epoch", Value: bson.D{{Key: "$lt", Value: m.Epoch}}}},
	}}}
}

func set(fields bson.D) bson.D { return bson.D{{Key: "$set", Value: fields}} }

// maxRounds bounds how often PutIfNewer looks again at records that others
// keep creating or changing meanwhile.
const maxRounds = 20

// PutIfNewer implements [store.New]. Each record is an upsert of what is
// older. If a newer one is there, nothing matches, so the server inserts and
// fails on the duplicate key; but it also does when another has just created
// an older one. So what is not known to be done is read again, and what turns
// out to be newer still is put again.
func (s *Store[B, F]) PutIfNewer(ctx context.Context, recs ...store.Record[B]) error {
	rest := make([]store.Record[B], 0, len(recs))
	for _, r := range recs {
		r.Pending = false
		if !r.Newer(store.Pair{}) {
			continue // the pair of no record
		}
		if _, err := encode(r); err != nil {
			return err // and nothing has been sent
		}
		rest = append(rest, r)
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	for range maxRounds {
		if len(rest) == 0 {
			return nil
		}
		err := s.putOnce(c, rest)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if rest, err = s.stillNewer(c, rest); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %q and %d more changed %d times meanwhile", store.ErrUnknown, rest[0].ID, len(rest)-1, maxRounds)
}

// putOnce sends the upserts in one command, or in several when they are too
// large for one. ErrConflict: at least one met a duplicate key.
func (s *Store[B, F]) putOnce(c *call, recs []store.Record[B]) error {
	writes := make([]mongo.WriteModel, 0, len(recs))
	for _, r := range recs {
		fields, err := encode(r)
		if err != nil {
			return err
		}
		writes = append(writes, mongo.NewUpdateOneModel().
			SetFilter(olderThan(r.Mark())).SetUpdate(set(fields)).SetUpsert(true))
	}
	before := c.sent.Load()
	_, err := s.records.BulkWrite(c, writes, options.BulkWrite().SetOrdered(false))
	// A server may stop at the first duplicate; the rest is found by reading.
	if codes := answerCodes(err); len(codes) > 0 && all(codes, codeDuplicate) {
		return c.wrap(store.ErrConflict, err)
	}
	err = c.written(err, before)
	var bulk mongo.BulkWriteException
	if errors.Is(err, store.ErrUnfit) && errors.As(err, &bulk) && len(bulk.WriteErrors) > 0 {
		if i := bulk.WriteErrors[0].Index; i >= 0 && i < len(recs) {
			return fmt.Errorf("%q: %w", recs[i].ID, err)
		}
	}
	return err
}

// stillNewer returns those records that are newer than what is stored.
func (s *Store[B, F]) stillNewer(c *call, recs []store.Record[B]) ([]store.Record[B], error) {
	ids := make([]string, 0, len(recs))
	for _, r := range recs {
		ids = append(ids, r.ID)
	}
	held, err := s.get(c, ids)
	if err != nil {
		// Some of the batch may have been applied.
		return nil, fmt.Errorf("%w: which of the copies are newer could not be read: %v", store.ErrUnknown, err)
	}
	var newer []store.Record[B]
	for _, r := range recs {
		if r.Newer(held[r.ID].Pair) {
			newer = append(newer, r)
		}
	}
	return newer, nil
}

// ClearPending implements [store.New].
func (s *Store[B, F]) ClearPending(ctx context.Context, marks ...store.Mark) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	if len(marks) == 0 {
		return nil
	}
	writes := make([]mongo.WriteModel, 0, len(marks))
	for _, m := range marks {
		writes = append(writes, mongo.NewUpdateOneModel().
			SetFilter(exactly(m)).SetUpdate(set(bson.D{{Key: "pending", Value: false}})))
	}
	_, err = s.records.BulkWrite(c, writes, options.BulkWrite().SetOrdered(false))
	return c.written(err, 0)
}
