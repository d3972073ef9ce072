package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// identityID names the document that says whose database this is. The mirror
// is in the same document, so that it can't rise in another migration's.
const identityID = "migration"

// format is the number of the layout that this program writes and reads. The
// first one had no number.
const format = 2

type identity struct {
	ID          string        `bson:"_id"`
	Format      int64         `bson:"format"`
	Migration   string        `bson:"migration"`
	Declaration string        `bson:"declaration"` // the canonical one
	Epoch       int64         `bson:"epoch"`       // of the mirror; 0: never set
	Primary     store.Primary `bson:"primary"`
}

// identity reads it causally; nil if there is none.
func (s *Store) identity(c *call) (held *identity, err error) {
	err = s.causal(c, func(ctx context.Context) error {
		held, err = s.findIdentity(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return held, s.ours(c, held)
}

// readIdentity reads it without writing anything before.
func (s *Store) readIdentity(c *call) (*identity, error) {
	held, err := s.findIdentity(c)
	if err != nil {
		return nil, c.unread(err)
	}
	return held, s.ours(c, held)
}

func (s *Store) findIdentity(ctx context.Context) (*identity, error) {
	var held identity
	err := s.meta.FindOne(ctx, bson.D{{Key: "_id", Value: identityID}}).Decode(&held)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &held, nil
}

// ours returns ErrStranger for a database of another layout or of another
// declaration.
func (s *Store) ours(c *call, held *identity) error {
	switch {
	case held == nil:
		return s.refuseFormer(c)
	case held.Format != format:
		return fmt.Errorf("%w: database %q has format %d, this program writes %d; go on with the version of migrate that wrote it",
			store.ErrStranger, s.cfg.Database, held.Format, format)
	case held.Declaration != s.declaration:
		return fmt.Errorf("%w: database %q was prepared for another declaration of its collections: %s",
			store.ErrStranger, s.cfg.Database, record.Difference(held.Declaration, s.declaration))
	}
	return nil
}

// formerCollection is the one that the first layout could have.
const formerCollection = "tasks"

// refuseFormer returns ErrStranger if a walk is there that the first layout is of.
func (s *Store) refuseFormer(c *call) error {
	for _, name := range slices.Compact(append([]string{formerCollection}, s.names...)) {
		meta := name + "_migrate"
		err := s.db.Collection(meta).FindOne(c, bson.D{{Key: "_id", Value: identityID}}).Err()
		switch {
		case errors.Is(err, mongo.ErrNoDocuments):
		case err != nil:
			return c.unread(err)
		default:
			return fmt.Errorf("%w: database %q holds a walk in an earlier format (its collection is %s); finish that walk with the version of migrate that began it",
				store.ErrStranger, s.cfg.Database, meta)
		}
	}
	return nil
}

// checkIdentity returns ErrStranger unless the database is of this migration.
func (s *Store) checkIdentity(c *call, migration string) error {
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

func strangers(held, given string) error {
	return fmt.Errorf("%w: the new one is of %q, not %q", store.ErrStranger, held, given)
}

// Identify returns the migration id that the database has; empty if it has
// none. It changes nothing.
func (s *Store) Identify(ctx context.Context) (string, error) {
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
