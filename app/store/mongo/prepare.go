package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate/app/store"
)

// Prepare implements [store.NewMeta]. The migration id is entered last, so that
// where it is, everything else is too. A collection that already holds
// documents while no migration id is there is somebody else's: ErrStranger.
func (s *Store[B, F]) Prepare(ctx context.Context, migration string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	held, err := s.readIdentity(c)
	if err != nil {
		return err
	}
	if held == nil {
		if err := s.refuseForeign(c); err != nil {
			return err
		}
	} else if held.Migration != migration {
		return strangers(held.Migration, migration)
	}
	if err := s.createIndexes(c); err != nil {
		return err
	}
	before := c.sent.Load()
	_, err = s.meta.InsertOne(c, identity{ID: identityID, Migration: migration})
	if codes := answerCodes(err); len(codes) == 0 || !all(codes, codeDuplicate) {
		return c.written(err, before)
	}
	return s.checkIdentity(c, migration)
}

// Identify returns the migration id that the database has; empty if it has
// none. It changes nothing.
func (s *Store[B, F]) Identify(ctx context.Context) (string, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	held, err := s.readIdentity(c)
	if err != nil || held == nil {
		return "", err
	}
	return held.Migration, nil
}

func strangers(held, given string) error {
	return fmt.Errorf("%w: the new one is of %q, not %q", store.ErrStranger, held, given)
}

func (s *Store[B, F]) refuseForeign(c *call) error {
	err := s.records.FindOne(c, bson.D{}).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	if err != nil {
		return c.unread(err)
	}
	return fmt.Errorf("%w: collection %s.%s holds documents but no migration id", store.ErrStranger, s.cfg.Database, s.cfg.Collection)
}

// Names of the indexes.
const (
	listIndex    = "migrate_list"
	pendingIndex = "migrate_pending"
)

func (s *Store[B, F]) indexKeys() map[string]bson.D {
	list := bson.D{}
	for _, key := range append(s.cfg.ListKeys[:len(s.cfg.ListKeys):len(s.cfg.ListKeys)], "_id") {
		list = append(list, bson.E{Key: key, Value: 1})
	}
	keys := map[string]bson.D{pendingIndex: {{Key: "pending", Value: 1}, {Key: "_id", Value: 1}}}
	if len(list) > 1 { // the _id alone is always indexed
		keys[listIndex] = list
	}
	return keys
}

// createIndexes makes the collection too. The outbox's index holds only what
// is pending, where the server can do that.
func (s *Store[B, F]) createIndexes(c *call) error {
	for name, keys := range s.indexKeys() {
		before := c.sent.Load()
		o := options.Index().SetName(name)
		if name == pendingIndex {
			o.SetPartialFilterExpression(bson.D{{Key: "pending", Value: true}})
		}
		_, err := s.records.Indexes().CreateOne(c, mongo.IndexModel{Keys: keys, Options: o})
		if codes := answerCodes(err); name == pendingIndex && len(codes) > 0 && all(codes, codeNotImplemented) {
			s.cfg.Logger.Debug("no partial indexes here: the outbox gets a plain one", "error", err)
			before = c.sent.Load()
			_, err = s.records.Indexes().CreateOne(c, mongo.IndexModel{Keys: keys, Options: options.Index().SetName(name)})
		}
		if err != nil {
			return c.written(fmt.Errorf("index %s: %w", name, err), before)
		}
	}
	return nil
}

// Prepared implements [store.NewMeta].
func (s *Store[B, F]) Prepared(ctx context.Context) (string, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	held, err := s.identity(c)
	if err != nil {
		return "", err
	}
	if held == nil {
		return "", fmt.Errorf("%w: database %q has no migration id for collection %q", store.ErrStranger, s.cfg.Database, s.cfg.Collection)
	}
	specs, err := s.records.Indexes().ListSpecifications(c)
	if codes := answerCodes(err); len(codes) > 0 && all(codes, codeNamespaceNotFound) {
		specs, err = nil, nil
	}
	if err != nil {
		return "", c.unread(err)
	}
	if len(specs) == 0 {
		return "", fmt.Errorf("%w: collection %s.%s is missing", store.ErrStranger, s.cfg.Database, s.cfg.Collection)
	}
	there := map[string]bson.Raw{}
	for _, spec := range specs {
		there[spec.Name] = spec.KeysDocument
	}
	for name, keys := range s.indexKeys() {
		if !sameKeys(there[name], keys) {
			return "", fmt.Errorf("%w: index %s of collection %s.%s is missing or another", store.ErrStranger, name, s.cfg.Database, s.cfg.Collection)
		}
	}
	return held.Migration, nil
}

func sameKeys(raw bson.Raw, want bson.D) bool {
	elements, err := raw.Elements()
	if err != nil || len(elements) != len(want) {
		return false
	}
	for i, e := range elements {
		if direction, ok := e.Value().AsInt64OK(); !ok || direction != 1 || e.Key() != want[i].Key {
			return false
		}
	}
	return true
}

// Probe implements [store.NewMeta].
func (s *Store[B, F]) Probe(ctx context.Context) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, probeID, newToken())
}

// probeID names the document that a probe writes.
const probeID = "probe"

// newToken makes each probe differ from the one before: a write that changes
// nothing might wait for nobody.
func newToken() bson.D { return bson.D{{Key: "token", Value: bson.NewObjectID()}} }

// LastProbe returns the token of the last probe; empty before any. It changes
// nothing.
func (s *Store[B, F]) LastProbe(ctx context.Context) (string, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.end()
	var held struct {
		Token bson.ObjectID `bson:"token"`
	}
	err = s.meta.FindOne(c, bson.D{{Key: "_id", Value: probeID}}).Decode(&held)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return "", nil
	}
	return held.Token.Hex(), c.unread(err)
}

// ProbeRecord implements [store.NewMeta]. The record's _id is an ObjectID, where
// all others have a text: no page shows it, and it can't meet a record's. One
// that was left by a death in the middle is never seen either.
func (s *Store[B, F]) ProbeRecord(ctx context.Context) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	token := bson.NewObjectID()
	self := bson.D{{Key: "_id", Value: token}}
	if _, err := s.records.InsertOne(c, bson.D{{Key: "_id", Value: token}, {Key: "probe", Value: true}}); err != nil {
		return c.written(err, 0)
	}
	if err := s.records.FindOne(c, self).Err(); err != nil {
		return c.unread(fmt.Errorf("the probe's record can't be read back: %w", err))
	}
	before := c.sent.Load()
	result, err := s.records.DeleteOne(c, self)
	if err == nil && result.DeletedCount != 1 {
		return c.unread(errors.New("the probe's record can't be deleted"))
	}
	return c.written(err, before)
}
