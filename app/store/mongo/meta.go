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

// causal runs a read that sees every write which was acknowledged before, by
// whomever. A majority write of our own comes after all of those, and the read
// after it: in one causally consistent session where the deployment has them;
// on a standalone by using the same connection, of which this client has one.
// (A read alone may be answered by a primary that doesn't know yet that it was
// deposed, with the past; a majority write can't.)
func (s *Store[B, F]) causal(c *call, read func(context.Context) error) error {
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
func (s *Store[B, F]) upsert(c *call, id string, fields bson.D) error {
	before, err := s.tryUpsert(c, c, id, fields)
	return c.written(err, before)
}

// tryUpsert returns the driver's error, and c.sent as it was before the last
// attempt. ctx is c or made from it.
func (s *Store[B, F]) tryUpsert(ctx context.Context, c *call, id string, fields bson.D) (before int32, err error) {
	for range maxUpserts {
		before = c.sent.Load()
		_, err = s.meta.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, set(fields), options.UpdateOne().SetUpsert(true))
		if codes := answerCodes(err); len(codes) == 0 || !all(codes, codeDuplicate) {
			break
		}
	}
	return before, err
}

// identityID names the document that says whose database this is. The mirror
// is in the same document, so that it can't rise in another migration's.
const identityID = "migration"

type identity struct {
	ID        string        `bson:"_id"`
	Migration string        `bson:"migration"`
	Epoch     int64         `bson:"epoch"` // of the mirror; 0: never set
	Primary   store.Primary `bson:"primary"`
}

// identity reads it causally; nil if there is none.
func (s *Store[B, F]) identity(c *call) (held *identity, err error) {
	err = s.causal(c, func(ctx context.Context) error {
		held, err = s.findIdentity(ctx)
		return err
	})
	return held, err
}

// readIdentity reads it without writing anything before.
func (s *Store[B, F]) readIdentity(c *call) (*identity, error) {
	held, err := s.findIdentity(c)
	return held, c.unread(err)
}

func (s *Store[B, F]) findIdentity(ctx context.Context) (*identity, error) {
	var held identity
	err := s.meta.FindOne(ctx, bson.D{{Key: "_id", Value: identityID}}).Decode(&held)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return &held, err
}

// checkIdentity returns ErrStranger unless the database is of this migration.
func (s *Store[B, F]) checkIdentity(c *call, migration string) error {
	held, err := s.identity(c)
	switch {
	case err != nil:
		return err
	case held == nil:
		return strangers("", migration)
	case held.Migration != migration:
		return strangers(held.Migration, migration)
	}
	return nil
}

// Mirror implements [store.NewMeta].
func (s *Store[B, F]) Mirror(ctx context.Context) (store.Mirror, error) {
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
func (s *Store[B, F]) RaiseMirror(ctx context.Context, m store.Mirror) error {
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
func (s *Store[B, F]) Register(ctx context.Context, r store.Registration) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, registrationID(r.Instance), bson.D{{Key: "kind", Value: kindRegistration}, {Key: "registration", Value: r}})
}

func registrationID(instance string) string { return kindRegistration + " " + instance }

// Deregister implements [store.NewMeta].
func (s *Store[B, F]) Deregister(ctx context.Context, instance string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	_, err = s.meta.DeleteOne(c, bson.D{{Key: "_id", Value: registrationID(instance)}})
	return c.written(err, 0)
}

// Registrations implements [store.NewMeta], in order of instances.
func (s *Store[B, F]) Registrations(ctx context.Context) ([]store.Registration, error) {
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

type comparison struct {
	Compared store.Compared `bson:"compared"`
}

// Progress implements [store.NewMeta].
func (s *Store[B, F]) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
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

func sum(docs []comparison) store.Compared {
	var total store.Compared
	for _, d := range docs {
		c := d.Compared
		total.Equal += c.Equal
		total.Behind += c.Behind
		total.Late += c.Late
		total.Different += c.Different
		total.Errors += c.Errors
		// Percentiles don't add up; the worst instance speaks for all.
		total.OldP99 = max(total.OldP99, c.OldP99)
		total.NewP99 = max(total.NewP99, c.NewP99)
	}
	return total
}

// checkpoint is an id as it is kept: a text or, if it is none in UTF-8, its
// bytes. Some servers keep other characters in their place, and a pass that went
// on behind those would leave records out.
func checkpoint(id string) any {
	if utf8.ValidString(id) {
		return id
	}
	return bson.Binary{Data: []byte(id)}
}

func after(kept bson.RawValue) string {
	if _, data, ok := kept.BinaryOK(); ok {
		return string(data)
	}
	id, _ := kept.StringValueOK()
	return id
}

func progressID(epoch int64) string { return fmt.Sprintf("progress %d", epoch) }

// SaveCheckpoint implements [store.NewMeta].
func (s *Store[B, F]) SaveCheckpoint(ctx context.Context, epoch int64, after string, copied int64) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "after", Value: checkpoint(after)}, {Key: "copied", Value: copied}})
}

// MarkComplete implements [store.NewMeta].
func (s *Store[B, F]) MarkComplete(ctx context.Context, epoch int64) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "complete", Value: true}})
}

// SaveVerify implements [store.NewMeta].
func (s *Store[B, F]) SaveVerify(ctx context.Context, epoch int64, result store.VerifyResult) error {
	return s.saveProgress(ctx, epoch, bson.D{{Key: "verify", Value: result}})
}

func (s *Store[B, F]) saveProgress(ctx context.Context, epoch int64, fields bson.D) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, progressID(epoch), fields)
}

// SaveCompared implements [store.NewMeta].
func (s *Store[B, F]) SaveCompared(ctx context.Context, epoch int64, instance string, compared store.Compared) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	return s.upsert(c, fmt.Sprintf("%s %d %s", kindCompared, epoch, instance), bson.D{
		{Key: "kind", Value: kindCompared}, {Key: "epoch", Value: epoch}, {Key: "compared", Value: compared},
	})
}
