package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// maxIDs bounds a look-up of many ids in one command.
const maxIDs = 1000

// Get implements [store.New].
func (s *Store) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	return s.get(c, ids)
}

func (s *Store) get(c *call, ids []record.ID) (map[record.ID]store.Record, error) {
	found := make(map[record.ID]store.Record, len(ids))
	askable := map[*collection]bson.A{}
	for _, id := range ids {
		of := s.collections[id.Collection()]
		if of == nil {
			continue
		}
		if natural, err := of.naturalID(id); err == nil { // nothing else can be there
			askable[of] = append(askable[of], natural)
		}
	}
	for of, rest := range askable {
		for len(rest) > 0 {
			n := min(maxIDs, len(rest))
			filter := bson.D{{Key: "_id", Value: rest[0]}}
			if n > 1 {
				filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: rest[:n]}}}}
			}
			batch, err := s.find(c, of, filter, options.Find().SetBatchSize(int32(n)), 0)
			if err != nil {
				return nil, err
			}
			for _, r := range batch.records {
				found[r.ID] = r
			}
			rest = rest[n:]
		}
	}
	return found, nil
}

// prepareToSend returns the records' documents. Only where the values are such
// that not every server holds them is the server looked at before.
func (s *Store) prepareToSend(c *call, recs ...store.Record) ([]encoded, error) {
	can := real
	for _, r := range recs {
		if of := s.collections[r.ID.Collection()]; of != nil && of.needsLook() {
			var err error
			if can, err = s.limits(c); err != nil {
				return nil, err
			}
			break
		}
	}
	docs := make([]encoded, len(recs))
	for n, r := range recs {
		var err error
		if docs[n], err = s.encode(r, can); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// CompareAndSwap implements [store.New]: an insert, or an update of the
// document with the expected pair.
func (s *Store) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	docs, err := s.prepareToSend(c, rec)
	if err != nil {
		return err
	}
	doc, before := docs[0], c.sent.Load()
	if expect == (store.Pair{}) {
		_, err := doc.of.docs.InsertOne(c, append(bson.D{{Key: "_id", Value: doc.id}}, doc.fields...))
		err = named(rec.ID, c.written(err, before))
		if errors.Is(err, store.ErrConflict) {
			return s.notInTheWay(c, rec.ID, err)
		}
		return err
	}
	result, err := doc.of.docs.UpdateOne(c, exactly(doc.id, expect), set(doc.fields))
	if err != nil {
		return named(rec.ID, c.written(err, before))
	}
	if result.MatchedCount == 0 && c.sent.Load() > before+1 {
		// The driver has sent it twice, and the first may have been what matched.
		return fmt.Errorf("%w: %s was sent again and no longer matched", store.ErrUnknown, quoted(rec.ID))
	}
	if result.MatchedCount == 0 {
		return fmt.Errorf("%w: %s is no longer at %v", store.ErrConflict, quoted(rec.ID), expect)
	}
	return nil
}

// named says which record the server found unfit.
func named(id record.ID, err error) error {
	if errors.Is(err, store.ErrUnfit) {
		return fmt.Errorf("collection %s, id %s: %w", id.Collection(), quoted(id), err)
	}
	return err
}

// notInTheWay returns err unless what met a record is a document that somebody
// put there past the protocol: nothing is written over that.
func (s *Store) notInTheWay(c *call, id record.ID, err error) error {
	held, getErr := s.get(c, []record.ID{id})
	if stored, there := held[id]; getErr == nil && there && stored.Pair == (store.Pair{}) {
		return inTheWay(id)
	}
	return err
}

// inTheWay: it may go, so it is a rule as things are.
func inTheWay(id record.ID) error {
	return fmt.Errorf("%w: collection %s, id %s: %w; take it out of the new database", store.ErrRule, id.Collection(), quoted(id), errNotOurs)
}

// exactly matches one copy of one record.
func exactly(id any, p store.Pair) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: revPath, Value: p.Rev}, {Key: epochPath, Value: p.Epoch}}
}

// olderThan matches the record if it is there and older.
func olderThan(id any, p store.Pair) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "$or", Value: bson.A{
		bson.D{{Key: revPath, Value: bson.D{{Key: "$lt", Value: p.Rev}}}},
		bson.D{{Key: revPath, Value: p.Rev}, {Key: epochPath, Value: bson.D{{Key: "$lt", Value: p.Epoch}}}},
	}}}
}

func set(fields bson.D) bson.D { return bson.D{{Key: "$set", Value: fields}} }

// maxRounds bounds how often PutIfNewer looks again at records that others
// keep creating or changing meanwhile.
const maxRounds = 20

// put is a record on its way.
type put struct {
	rec store.Record
	doc encoded
}

// PutIfNewer implements [store.New]. Each record is an upsert of what is
// older. If a newer one is there, nothing matches, so the server inserts and
// fails on the duplicate key; but it also does when another has just created
// an older one. So what is not known to be done is read again, and what turns
// out to be newer still is put again.
func (s *Store) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	wanted := make([]store.Record, 0, len(recs))
	for _, r := range recs {
		if r.Newer(store.Pair{}) { // else it has the pair of no record
			r.Pending = false
			wanted = append(wanted, r)
		}
	}
	docs, err := s.prepareToSend(c, wanted...)
	if err != nil {
		return err // and nothing has been sent
	}
	puts := map[string][]put{}
	for n, r := range wanted {
		puts[docs[n].of.Name] = append(puts[docs[n].of.Name], put{r, docs[n]})
	}
	applied := false // some of them may be
	for _, name := range s.names {
		if len(puts[name]) == 0 {
			continue
		}
		if err := s.putAll(c, puts[name], applied); err != nil {
			return err
		}
		applied = true
	}
	return nil
}

// putAll puts records of one collection. It takes an outcome for unknown if
// others of the call have been applied before a server was out of reach.
func (s *Store) putAll(c *call, rest []put, applied bool) error {
	for range maxRounds {
		err := s.putOnce(c, rest)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrUnavailable) && applied:
			return fmt.Errorf("%w: others have been written: %v", store.ErrUnknown, err)
		case !errors.Is(err, store.ErrConflict):
			return err
		}
		if rest, err = s.stillNewer(c, rest); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
		applied = true
	}
	return fmt.Errorf("%w: %s and %d more changed %d times meanwhile", store.ErrUnknown, quoted(rest[0].rec.ID), len(rest)-1, maxRounds)
}

// putOnce sends the upserts in one command, or in several when they are too
// large for one. ErrConflict: at least one met a duplicate key.
func (s *Store) putOnce(c *call, puts []put) error {
	writes := make([]mongo.WriteModel, 0, len(puts))
	for _, p := range puts {
		writes = append(writes, mongo.NewUpdateOneModel().
			SetFilter(olderThan(p.doc.id, p.rec.Pair)).SetUpdate(set(p.doc.fields)).SetUpsert(true))
	}
	before := c.sent.Load()
	_, err := puts[0].doc.of.docs.BulkWrite(c, writes, options.BulkWrite().SetOrdered(false))
	// A server may stop at the first duplicate; the rest is found by reading.
	if codes := answerCodes(err); len(codes) > 0 && all(codes, codeDuplicate) && duplicateID(err) {
		return c.wrap(store.ErrConflict, err)
	}
	err = c.written(err, before)
	var bulk mongo.BulkWriteException
	if errors.Is(err, store.ErrUnfit) && errors.As(err, &bulk) && len(bulk.WriteErrors) > 0 {
		if i := bulk.WriteErrors[0].Index; i >= 0 && i < len(puts) {
			return named(puts[i].rec.ID, err)
		}
	}
	return err
}

// stillNewer returns those records that are newer than what is stored.
func (s *Store) stillNewer(c *call, puts []put) ([]put, error) {
	ids := make([]record.ID, 0, len(puts))
	for _, p := range puts {
		ids = append(ids, p.rec.ID)
	}
	held, err := s.get(c, ids)
	if err != nil {
		// Some of the batch may have been applied.
		return nil, fmt.Errorf("%w: which of the copies are newer could not be read: %v", store.ErrUnknown, err)
	}
	var newer []put
	for _, p := range puts {
		stored, there := held[p.rec.ID]
		if there && stored.Pair == (store.Pair{}) {
			return nil, inTheWay(p.rec.ID)
		}
		if p.rec.Newer(stored.Pair) {
			newer = append(newer, p)
		}
	}
	return newer, nil
}

// ClearPending implements [store.New].
func (s *Store) ClearPending(ctx context.Context, marks ...store.Mark) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	writes := map[string][]mongo.WriteModel{}
	for _, m := range marks {
		of := s.collections[m.ID.Collection()]
		if of == nil {
			continue
		}
		id, err := of.naturalID(m.ID)
		if err != nil {
			continue // nothing of that name is there
		}
		writes[of.Name] = append(writes[of.Name], mongo.NewUpdateOneModel().
			SetFilter(exactly(id, m.Pair)).SetUpdate(set(bson.D{{Key: pendingPath, Value: false}})))
	}
	for _, name := range s.names {
		if len(writes[name]) == 0 {
			continue
		}
		if _, err := s.collections[name].docs.BulkWrite(c, writes[name], options.BulkWrite().SetOrdered(false)); err != nil {
			return c.written(err, 0)
		}
	}
	return nil
}
