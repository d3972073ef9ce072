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

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// causal runs a read that sees every write which was acknowledged before, by
// whomever. A majority write of our own comes after all of those, and the read
// after it: in one causally consistent session where the deployment has them;
// on a standalone by using the same connection, of which this client has one.
// (A read alone may be answered by a primary that doesn't know yet that it was
// deposed, with the past; a majority write can't.)
func (s *Store) causal(c *call, read func(context.Context) error) error {
	if s.looks {
		return c.unread(read(c))
	}
	session, err := s.metaClient.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil {
		return c.unread(err)
	}
	defer session.EndSession(c)
	ctx := mongo.NewSessionContext(c, session)
	// Nobody waits for the probe itself: if it fails, the read could not be made.
	if _, err := s.tryUpsert(ctx, c, probeID, newToken()); err != nil {
		return c.unread(err)
	}
	return c.unread(read(ctx))
}

// maxUpserts bounds the attempts at an upsert that lost a race to create.
const maxUpserts = 5

// upsert sets fields of one document of the migration's own.
func (s *Store) upsert(c *call, id string, fields bson.D) error {
	before, err := s.tryUpsert(c, c, id, fields)
	return c.written(err, before)
}

// tryUpsert returns the driver's error, and c.sent as it was before the last
// attempt. ctx is c or made from it.
func (s *Store) tryUpsert(ctx context.Context, c *call, id string, fields bson.D) (before int32, err error) {
	for range maxUpserts {
		before = c.sent.Load()
		_, err = s.meta.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, set(fields), options.UpdateOne().SetUpsert(true))
		if codes := answerCodes(err); len(codes) == 0 || !all(codes, codeDuplicate) {
			break
		}
	}
	return before, err
}

// Mirror implements [store.NewMeta].
func (s *Store) Mirror(ctx context.Context) (store.Mirror, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return store.Mirror{}, err
	}
	defer c.end()
	held, err := s.identity(c)
	if err != nil || held == nil || held.Epoch == 0 {
		return store.Mirror{}, err
	}
	return store.Mirror{Migration: held.Migration, Epoch: held.Epoch, Primary: held.Primary}, nil
}

// RaiseMirror implements [store.NewMeta]. ErrStranger if the database was not
// prepared for the mirror's migration.
func (s *Store) RaiseMirror(ctx context.Context, m store.Mirror) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	result, err := s.meta.UpdateOne(c, bson.D{
		{Key: "_id", Value: identityID},
		{Key: "migration", Value: m.Migration},
		{Key: "epoch", Value: bson.D{{Key: "$lt", Value: m.Epoch}}},
	}, set(bson.D{{Key: "epoch", Value: m.Epoch}, {Key: "primary", Value: m.Primary}}))
	if err != nil {
		return c.written(err, 0)
	}
	if result.MatchedCount == 0 { // it is there already, or it is a stranger's
		return s.checkIdentity(c, m.Migration)
	}
	return nil
}

// The kinds of documents of which there are several.
const (
	kindRegistration = "registration"
	kindCompared     = "compared"
)

type registered struct {
	Registration store.Registration `bson:"registration"`
}

// Register implements [store.NewMeta].
func (s *Store) Register(ctx context.Context, r store.Registration) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, registrationID(r.Instance), bson.D{{Key: "kind", Value: kindRegistration}, {Key: "registration", Value: r}})
}

func registrationID(instance string) string { return kindRegistration + " " + instance }

// Deregister implements [store.NewMeta].
func (s *Store) Deregister(ctx context.Context, instance string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	_, err = s.meta.DeleteOne(c, bson.D{{Key: "_id", Value: registrationID(instance)}})
	return c.written(err, 0)
}

// Registrations implements [store.NewMeta], in order of instances.
func (s *Store) Registrations(ctx context.Context) ([]store.Registration, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	var docs []registered
	err = s.causal(c, func(ctx context.Context) error {
		cursor, err := s.meta.Find(ctx, bson.D{{Key: "kind", Value: kindRegistration}}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			return err
		}
		return cursor.All(ctx, &docs)
	})
	if err != nil {
		return nil, err
	}
	all := make([]store.Registration, 0, len(docs))
	for _, d := range docs {
		all = append(all, d.Registration)
	}
	return all, nil
}

// progress is the document of one epoch.
type progress struct {
	After    bson.RawValue       `bson:"after"` // see checkpoint
	Copied   int64               `bson:"copied"`
	Complete bool                `bson:"complete"`
	Verify   *store.VerifyResult `bson:"verify"`
}

// comparison is what one instance has reported for one epoch.
type comparison struct {
	Compared []compared `bson:"compared"`
}

type compared struct {
	Collection string         `bson:"collection"`
	Counts     store.Compared `bson:"counts"`
}

// Progress implements [store.NewMeta].
func (s *Store) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return store.Progress{}, err
	}
	defer c.end()
	var (
		p    progress
		docs []comparison
	)
	err = s.causal(c, func(ctx context.Context) error {
		err := s.meta.FindOne(ctx, bson.D{{Key: "_id", Value: progressID(epoch)}}).Decode(&p)
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
		cursor, err := s.meta.Find(ctx, bson.D{{Key: "kind", Value: kindCompared}, {Key: "epoch", Value: epoch}})
		if err != nil {
			return err
		}
		return cursor.All(ctx, &docs)
	})
	if err != nil {
		return store.Progress{}, err
	}
	return store.Progress{
		Epoch: epoch, After: after(p.After), Copied: p.Copied, Complete: p.Complete, Verify: p.Verify, Compared: sum(docs),
	}, nil
}

// sum adds up what the instances reported, by collection; nil if none has.
func sum(docs []comparison) map[string]store.Compared {
	var total map[string]store.Compared
	for _, d := range docs {
		for _, one := range d.Compared {
			if total == nil {
				total = map[string]store.Compared{}
			}
			total[one.Collection] = total[one.Collection].Plus(one.Counts)
		}
	}
	return total
}

// after reads a position, which is kept as its bytes: not each one is UTF-8.
func after(kept bson.RawValue) record.ID {
	_, data, _ := kept.BinaryOK()
	return record.ID(data)
}

func progressID(epoch int64) string { return fmt.Sprintf("progress %d", epoch) }

// SaveCheckpoint implements [store.NewMeta].
func (s *Store) SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "after", Value: bson.Binary{Data: []byte(after)}}, {Key: "copied", Value: copied}})
}

// MarkComplete implements [store.NewMeta].
func (s *Store) MarkComplete(ctx context.Context, epoch int64) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "complete", Value: true}})
}

// SaveVerify implements [store.NewMeta].
func (s *Store) SaveVerify(ctx context.Context, epoch int64, result store.VerifyResult) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "verify", Value: result}})
}

func (s *Store) saveProgress(ctx context.Context, epoch int64, fields bson.D) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, progressID(epoch), fields)
}

// SaveCompared implements [store.NewMeta].
func (s *Store) SaveCompared(ctx context.Context, epoch int64, instance string, counts map[string]store.Compared) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	list := []compared{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, compared{name, counts[name]})
	}
	return s.upsert(c, fmt.Sprintf("%s %d %s", kindCompared, epoch, instance), bson.D{
		{Key: "kind", Value: kindCompared}, {Key: "epoch", Value: epoch}, {Key: "compared", Value: list},
	})
}
