package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/store"
)

// Prepare implements [store.NewMeta]. The migration id is entered last, so that
// where it is, everything else is too. A collection that already holds
// documents while no migration id is there is somebody else's: ErrStranger.
func (s *Store) Prepare(ctx context.Context, migration string) error {
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
	for _, name := range s.names {
		if err := s.createIndexes(c, s.collections[name]); err != nil {
			return err
		}
	}
	before := c.sent.Load()
	_, err = s.meta.InsertOne(c, identity{ID: identityID, Format: format, Migration: migration, Declaration: s.declaration})
	if codes := answerCodes(err); len(codes) == 0 || !all(codes, codeDuplicate) {
		return c.written(err, before)
	}
	return s.checkIdentity(c, migration)
}

// refuseForeign refuses a database that holds documents of somebody else's.
func (s *Store) refuseForeign(c *call) error {
	for _, name := range s.names {
		err := s.collections[name].docs.FindOne(c, bson.D{}).Err()
		switch {
		case errors.Is(err, mongo.ErrNoDocuments):
		case err != nil:
			return c.unread(err)
		default:
			return fmt.Errorf("%w: collection %s.%s holds documents but no migration id", store.ErrStranger, s.cfg.Database, name)
		}
	}
	return nil
}

// Names of the indexes; each list has one of its own, counted from 1.
const (
	listIndex    = "migrate_list"
	pendingIndex = "migrate_pending"
)

// indexKeys returns the keys of the collection's indexes by name. The id comes
// last, so that a page goes on where the one before ended.
func (c *collection) indexKeys() map[string]bson.D {
	keys := map[string]bson.D{pendingIndex: {{Key: pendingPath, Value: int32(1)}, {Key: "_id", Value: int32(1)}}}
	for n, fields := range c.Lists {
		var list bson.D
		for _, field := range fields {
			list = append(list, bson.E{Key: c.path(field), Value: int32(1)})
		}
		if last := list[len(list)-1].Key; last != "_id" {
			list = append(list, bson.E{Key: "_id", Value: int32(1)})
		}
		keys[fmt.Sprintf("%s_%d", listIndex, n+1)] = list
	}
	return keys
}

// createIndexes makes the collection too. The outbox's index holds only what
// is pending, where the server can do that.
func (s *Store) createIndexes(c *call, of *collection) error {
	keys := of.indexKeys()
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		before := c.sent.Load()
		o := options.Index().SetName(name)
		if name == pendingIndex {
			o.SetPartialFilterExpression(bson.D{{Key: pendingPath, Value: true}})
		}
		_, err := of.docs.Indexes().CreateOne(c, mongo.IndexModel{Keys: keys[name], Options: o})
		if codes := answerCodes(err); name == pendingIndex && len(codes) > 0 && all(codes, codeNotImplemented) {
			s.cfg.Logger.Debug("no partial indexes here: the outbox gets a plain one", "error", err)
			before = c.sent.Load()
			_, err = of.docs.Indexes().CreateOne(c, mongo.IndexModel{Keys: keys[name], Options: options.Index().SetName(name)})
		}
		if err != nil {
			return c.written(fmt.Errorf("index %s of collection %s: %w", name, of.Name, err), before)
		}
	}
	return nil
}

// Prepared implements [store.NewMeta].
func (s *Store) Prepared(ctx context.Context) (string, error) {
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
		return "", fmt.Errorf("%w: database %q has no migration id", store.ErrStranger, s.cfg.Database)
	}
	for _, name := range s.names {
		if err := s.checkIndexes(c, s.collections[name]); err != nil {
			return "", err
		}
	}
	return held.Migration, nil
}

// checkIndexes returns ErrStranger if a collection or one of its indexes is
// missing or another.
func (s *Store) checkIndexes(c *call, of *collection) error {
	specs, err := of.docs.Indexes().ListSpecifications(c)
	if codes := answerCodes(err); len(codes) > 0 && all(codes, codeNamespaceNotFound) {
		specs, err = nil, nil
	}
	if err != nil {
		return c.unread(err)
	}
	if len(specs) == 0 {
		return fmt.Errorf("%w: collection %s.%s is missing", store.ErrStranger, s.cfg.Database, of.Name)
	}
	there := map[string]bson.Raw{}
	for _, spec := range specs {
		there[spec.Name] = spec.KeysDocument
	}
	for name, keys := range of.indexKeys() {
		if !sameKeys(there[name], keys) {
			return fmt.Errorf("%w: index %s of collection %s.%s is missing or another", store.ErrStranger, name, s.cfg.Database, of.Name)
		}
	}
	return nil
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
func (s *Store) Probe(ctx context.Context) error {
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
func (s *Store) LastProbe(ctx context.Context) (string, error) {
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

// ProbeRecord implements [store.NewMeta]. The record's _id is an ObjectID, which
// no declared id is: no page shows it, and it can't meet a record's. One that was
// left by a death in the middle is never seen either, nor is it a stranger.
func (s *Store) ProbeRecord(ctx context.Context) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	for _, name := range s.names {
		if err := s.probeRecord(c, s.collections[name].docs); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) probeRecord(c *call, docs *mongo.Collection) error {
	token := bson.NewObjectID()
	self := bson.D{{Key: "_id", Value: token}}
	before := c.sent.Load()
	doc := bson.D{{Key: "_id", Value: token}, {Key: reserved, Value: bson.D{{Key: "probe", Value: true}}}}
	if _, err := docs.InsertOne(c, doc); err != nil {
		return c.written(err, before)
	}
	if err := docs.FindOne(c, self).Err(); err != nil {
		return c.unread(fmt.Errorf("the probe's record can't be read back: %w", err))
	}
	before = c.sent.Load()
	result, err := docs.DeleteOne(c, self)
	if err == nil && result.DeletedCount != 1 {
		return c.unread(errors.New("the probe's record can't be deleted"))
	}
	return c.written(err, before)
}
