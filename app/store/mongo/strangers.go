package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/store"
)

// strange matches the documents that the migration has not written.
var strange = bson.D{{Key: reserved, Value: bson.D{{Key: "$exists", Value: false}}}}

// Strangers implements [store.Strange].
func (s *Store) Strangers(ctx context.Context, limit int) ([]store.Stranger, int64, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer c.end()
	var (
		found []store.Stranger
		total int64
	)
	for _, name := range s.names {
		docs := s.collections[name].docs
		n, err := docs.CountDocuments(c, strange)
		if err != nil {
			return nil, 0, c.unread(err)
		}
		total += n
		rest := limit - len(found)
		if n == 0 || rest <= 0 {
			continue
		}
		cursor, err := docs.Find(c, strange, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).
			SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(rest)))
		if err != nil {
			return nil, 0, c.unread(err)
		}
		var ids []bson.Raw
		if err := cursor.All(c, &ids); err != nil {
			return nil, 0, c.unread(err)
		}
		for _, id := range ids {
			found = append(found, store.Stranger{Collection: name, ID: s.collections[name].shown(id.Lookup("_id"))})
		}
	}
	return found, total, nil
}

// shown is an _id for people: as the record's id would be, or as it is.
func (c *collection) shown(raw bson.RawValue) string {
	if id, err := c.id(raw); err == nil {
		return id.String()
	}
	return raw.String()
}
