package embeddedmongo

import (
	"bytes"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxDocument is how large a document may be, in bytes of BSON.
const maxDocument = 16 << 20

// setting returns what an update sets, if it is {$set: {…}} and no more, of
// fields other than the _id.
func setting(statement bson.Raw) ([]bson.RawElement, bool) {
	u, ok := statement.Lookup("u").DocumentOK()
	if !ok {
		return nil, false
	}
	operators, err := u.Elements()
	if err != nil || len(operators) != 1 || operators[0].Key() != "$set" {
		return nil, false
	}
	fields, ok := operators[0].Value().DocumentOK()
	if !ok {
		return nil, false
	}
	elements, err := fields.Elements()
	if err != nil || len(elements) == 0 {
		return nil, false
	}
	seen := map[string]bool{}
	for _, e := range elements {
		for n, name := range strings.Split(e.Key(), ".") {
			if name == "" || name[0] == '$' || n == 0 && name == "_id" || strings.Trim(name, "0123456789") == "" {
				return nil, false
			}
			if n == 0 && seen[name] {
				return nil, false // it may be a conflict, which the backend tells
			}
			if n == 0 {
				seen[name] = true
			}
		}
	}
	return elements, true
}

// withSet returns the document with the fields set. It reports false where
// something that is no document is on the way, or if the document is too large.
func withSet(doc bson.Raw, fields []bson.RawElement) (bson.Raw, bool) {
	for _, f := range fields {
		var ok bool
		if doc, ok = withField(doc, f.Key(), f.Value()); !ok {
			return nil, false
		}
	}
	return doc, len(doc) <= maxDocument
}

// withField sets one field, at a path.
func withField(doc bson.Raw, path string, value bson.RawValue) (bson.Raw, bool) {
	name, rest, deeper := strings.Cut(path, ".")
	elements, err := doc.Elements()
	if err != nil {
		return nil, false
	}
	changed, found := make(bson.D, 0, len(elements)+1), false
	for _, e := range elements {
		v := e.Value()
		if e.Key() == name {
			found = true
			if deeper {
				inner, ok := v.DocumentOK()
				if !ok {
					return nil, false
				}
				if inner, ok = withField(inner, rest, value); !ok {
					return nil, false
				}
				v = bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: inner}
			} else {
				v = value
			}
		}
		changed = append(changed, bson.E{Key: e.Key(), Value: v})
	}
	if !found {
		var v any = value
		if deeper {
			inner, ok := withField(emptyDocument(), rest, value)
			if !ok {
				return nil, false
			}
			v = inner
		}
		changed = append(changed, bson.E{Key: name, Value: v})
	}
	raw, err := bson.Marshal(changed)
	return raw, err == nil
}

func emptyDocument() bson.Raw { return bson.Raw{5, 0, 0, 0, 0} }

// update carries out a statement about a document that the shelf has found;
// errForm if only FerretDB can.
func (c command) update(doc bson.Raw, s statement) (bson.Raw, error) {
	fields, ok := setting(s.doc)
	if !ok {
		return nil, errForm
	}
	changed, ok := withSet(doc, fields)
	if !ok {
		return nil, errForm
	}
	modified := int32(0)
	if !bytes.Equal(changed, doc) {
		modified = 1
		if err := c.shelf.replace(c.ctx, c.db, c.collection, changed); err != nil {
			return nil, err
		}
	}
	return bson.Marshal(bson.D{{Key: "n", Value: int32(1)}, {Key: "nModified", Value: modified}, {Key: "ok", Value: 1.0}})
}

// create inserts the document that an upsert makes of the equalities of its
// filter and of what it sets; errForm if only FerretDB can.
func (c command) create(s statement, equalities bson.D) (bson.Raw, error) {
	fields, ok := setting(s.doc)
	if !ok {
		return nil, errForm
	}
	doc, err := bson.Marshal(append(byID(s.id), equalities...))
	if err != nil {
		return nil, errForm
	}
	if doc, ok = withSet(doc, fields); !ok {
		return nil, errForm
	}
	insert := bson.D{{Key: "insert", Value: c.collection}, {Key: "documents", Value: bson.A{bson.Raw(doc)}}, {Key: "$db", Value: c.db}}
	raw, err := bson.Marshal(insert)
	if err != nil {
		return nil, err
	}
	reply, err := c.run(raw)
	if err != nil {
		return nil, err
	}
	if _, failed := reply.Lookup("writeErrors").ArrayOK(); failed || !succeeded(reply) {
		return reply, nil
	}
	return bson.Marshal(bson.D{
		{Key: "n", Value: int32(1)}, {Key: "nModified", Value: int32(0)},
		{Key: "upserted", Value: bson.A{bson.D{{Key: "index", Value: int32(0)}, {Key: "_id", Value: s.id}}}},
		{Key: "ok", Value: 1.0},
	})
}
