package mongo

import (
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"migrate.invalid/migrate/app/record"
)

// collection is a declared collection and where its documents are.
type collection struct {
	record.Collection
	key, fields []record.Field
	docs        *mongo.Collection // nil until the store is connected
}

// newCollections returns the declared collections by name, and their names in
// the order of ids.
func newCollections(declared []record.Collection) (map[string]*collection, []string, error) {
	all := map[string]*collection{}
	for _, c := range declared {
		if c.Name == metaName {
			return nil, nil, fmt.Errorf("mongo: a collection can't be called %q: the migration keeps its own documents there", metaName)
		}
		all[c.Name] = &collection{Collection: c, key: c.Key(), fields: c.Body()}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if record.Start(a) < record.Start(b) {
			return -1
		}
		return 1
	})
	return all, names, nil
}

// needsLook reports whether what the server can hold decides about some value.
func (c *collection) needsLook() bool {
	return slices.ContainsFunc(c.fields, func(f record.Field) bool {
		return f.Type == record.Float || f.As != "text" && (f.Type == record.Decimal || f.Type == record.JSON)
	})
}

// naturalID returns the _id of a record: the value of its one column, or a
// document of the columns in the order of the key. The error says which field
// is at fault.
func (c *collection) naturalID(id record.ID) (any, error) {
	values := id.Values()
	if id.Collection() != c.Name || len(values) != len(c.key) {
		return nil, fmt.Errorf("it is no id of collection %s", c.Name)
	}
	doc := make(bson.D, len(c.key))
	for n, f := range c.key {
		if values[n].Type() != f.Type {
			return nil, fmt.Errorf("field %s is %s, not %s", f.Name, values[n].Type(), f.Type)
		}
		v, err := encodeValue(f, values[n], limits{})
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		doc[n] = bson.E{Key: f.Name, Value: v}
	}
	if len(doc) == 1 {
		return doc[0].Value, nil
	}
	return doc, nil
}

// id returns the record's id that an _id says.
func (c *collection) id(raw bson.RawValue) (record.ID, error) {
	if len(c.key) == 1 {
		v, err := decodeValue(c.key[0], raw)
		if err != nil {
			return "", fmt.Errorf("field %s: %w", c.key[0].Name, err)
		}
		return c.MakeID(v)
	}
	doc, ok := raw.DocumentOK()
	if !ok {
		return "", fmt.Errorf("the _id %w", errOtherType)
	}
	elements, err := doc.Elements()
	if err != nil || len(elements) != len(c.key) {
		return "", fmt.Errorf("the _id has %d fields, not %d", len(elements), len(c.key))
	}
	values := make([]record.Value, len(c.key))
	for n, f := range c.key {
		if elements[n].Key() != f.Name {
			return "", fmt.Errorf("the _id has %.60q where %s should be", elements[n].Key(), f.Name)
		}
		if values[n], err = decodeValue(f, elements[n].Value()); err != nil {
			return "", fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	return c.MakeID(values...)
}

// from is the condition on _id of a page that begins after a position: after
// the id, or with the first value of the id's type. Such a comparison matches
// no value of another type, so it leaves the record of a probe out.
func (c *collection) from(after record.ID) (bson.D, error) {
	if after <= record.Start(c.Name) {
		return bson.D{{Key: "$gte", Value: c.least()}}, nil
	}
	id, err := c.naturalID(after)
	if err != nil {
		return nil, fmt.Errorf("the position %.100q: %w", after.String(), err)
	}
	return bson.D{{Key: "$gt", Value: id}}, nil
}

// least is the least _id of the type that the collection has.
func (c *collection) least() any {
	if len(c.key) > 1 {
		return bson.D{}
	}
	switch c.key[0].Type {
	case record.Int:
		return int64(-1 << 63)
	case record.UUID:
		return bson.Binary{Subtype: subtypeUUID, Data: make([]byte, 16)}
	}
	return ""
}

// path is where a field is in a document.
func (c *collection) path(field string) string {
	switch {
	case !slices.Contains(c.ID, field):
		return field
	case len(c.key) == 1:
		return "_id"
	}
	return "_id." + field
}
