package embeddedmongo

import (
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// codeDuplicateKey is what MongoDB answers when an _id is already there.
const codeDuplicateKey = 11000

// statement is one of the writes in an insert, an update or a delete command.
type statement struct {
	doc    bson.Raw // as the client sent it
	upsert bool
	flaw   *flaw // why it can't be carried out; nil if it can

	// Of a statement that is understood here; else id is zero.
	id    bson.RawValue
	plain bool // the filter is an _id and no more
	rest  predicate
}

// understood are the fields of a statement that change nothing in what is done
// here; another one (a collation, say) changes what the filter means. "multi"
// makes no difference to one document.
var understood = map[string][]string{
	"updates": {"q", "u", "upsert", "multi"},
	"deletes": {"q", "limit"},
}

// parse reads one of the statements of a command that writes.
func parse(array string, doc bson.Raw) statement {
	s := statement{doc: doc}
	elements, err := doc.Elements()
	if err != nil {
		return s
	}
	var filter bson.Raw
	for _, e := range elements {
		ok := slices.Contains(understood[array], e.Key())
		switch {
		case !ok:
		case e.Key() == "q":
			filter, ok = e.Value().DocumentOK()
		case e.Key() == "upsert":
			s.upsert, ok = e.Value().BooleanOK()
		}
		if !ok {
			return statement{doc: doc}
		}
	}
	s.understand(filter)
	return s
}

func (s *statement) understand(filter bson.Raw) {
	if filter == nil {
		return
	}
	if id, rest, ok := splitID(filter); ok {
		s.id, s.rest, s.plain = id, rest, plainID(filter)
	}
}

// write carries out a command that writes, statement by statement if it must:
// FerretDB counts wrongly and ignores "ordered" when it gets several updates at
// once, and a statement that it can't carry out must not fail the others.
func (c command) write(array string) (bson.Raw, error) {
	docs, ok := c.req.array(array)
	if !ok {
		return nil, errAsItIs
	}
	statements := make([]statement, len(docs))
	rewritten := array == "updates" && len(docs) > 1
	for i, doc := range docs {
		if array != "documents" {
			statements[i] = parse(array, doc)
		}
		statements[i].doc, statements[i].flaw = doc, flawed(array, doc)
		rewritten = rewritten || !statements[i].id.IsZero() && !(statements[i].plain && indexed(statements[i].id)) || statements[i].flaw != nil
	}
	if !rewritten {
		return nil, errAsItIs
	}
	ordered, isBool := c.req.body.Lookup("ordered").BooleanOK()
	ordered = ordered || !isBool
	var result writeResult
	for i, s := range statements {
		if i > 0 {
			c.yield()
		}
		reply, err := c.writeOne(array, s)
		if err != nil {
			return nil, err
		}
		if i == 0 && !succeeded(reply) {
			return reply, nil // nothing was done: the command itself is refused
		}
		if failed := result.add(i, reply); failed && ordered {
			break
		}
	}
	return result.reply(array == "updates")
}

// writeOne carries out one statement and returns the backend's answer to it,
// or the answer that MongoDB would give.
func (c command) writeOne(array string, s statement) (bson.Raw, error) {
	if s.flaw != nil {
		return s.flaw.writeError()
	}
	if s.id.IsZero() || s.plain && indexed(s.id) {
		return c.forward(array, s.doc)
	}
	if _, ok := setting(s.doc); !ok && !indexed(s.id) {
		return c.forward(array, s.doc)
	}
	doc, err := c.lookup(s.id)
	if errors.Is(err, errAsItIs) {
		return c.forward(array, s.doc)
	}
	if err != nil {
		return nil, err
	}
	if doc == nil {
		if !s.upsert {
			return bson.Marshal(bson.D{{Key: "n", Value: int32(0)}, {Key: "ok", Value: 1.0}})
		}
		fields, ok := s.rest.equalities()
		if !ok {
			return c.forward(array, s.doc)
		}
		return c.shelveOr(s, array, append(byID(s.id), fields...), func() (bson.Raw, error) { return c.create(s, fields) })
	}
	switch match := s.rest.match(doc); {
	case match == unsure:
		return c.forward(array, s.doc)
	case match == yes:
		return c.shelveOr(s, array, byID(s.id), func() (bson.Raw, error) { return c.update(doc, s) })
	case s.upsert:
		return bson.Marshal(bson.D{
			{Key: "n", Value: int32(0)},
			{Key: "writeErrors", Value: bson.A{c.duplicateKey(s.id)}},
			{Key: "ok", Value: 1.0},
		})
	default:
		return bson.Marshal(bson.D{{Key: "n", Value: int32(0)}, {Key: "ok", Value: 1.0}})
	}
}

// shelveOr does what FerretDB would read the whole collection for, unless the
// statement is of a form that only FerretDB carries out.
func (c command) shelveOr(s statement, array string, filter bson.D, do func() (bson.Raw, error)) (bson.Raw, error) {
	if !indexed(s.id) {
		reply, err := do()
		if !errors.Is(err, errForm) {
			return reply, err
		}
	}
	return c.forwardBy(array, s, filter)
}

func (c command) duplicateKey(id bson.RawValue) bson.D {
	return bson.D{
		{Key: "index", Value: int32(0)},
		{Key: "code", Value: int32(codeDuplicateKey)},
		{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: int32(1)}}},
		{Key: "keyValue", Value: byID(id)},
		{Key: "errmsg", Value: fmt.Sprintf("E11000 duplicate key error collection: %s.%s index: _id_ dup key: { _id: %s }",
			c.db, c.collection, id)},
	}
}

// forwardBy sends a statement with another filter.
func (c command) forwardBy(array string, s statement, filter bson.D) (bson.Raw, error) {
	elements, err := s.doc.Elements()
	if err != nil {
		return nil, err
	}
	changed := bson.D{{Key: "q", Value: filter}}
	for _, e := range elements {
		if e.Key() != "q" {
			changed = append(changed, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	doc, err := bson.Marshal(changed)
	if err != nil {
		return nil, err
	}
	return c.forward(array, doc)
}

// forward sends the client's command with one statement instead of all.
func (c command) forward(array string, statement bson.Raw) (bson.Raw, error) {
	changed, err := c.with(array, bson.A{statement})
	if err != nil {
		return nil, err
	}
	return c.run(changed)
}

// writeResult adds up the answers to several statements.
type writeResult struct {
	n, modified int64
	upserted    []bson.D
	errors      []bson.D
}

// add takes in the answer to statement i, and reports whether that failed.
func (r *writeResult) add(i int, reply bson.Raw) (failed bool) {
	if !succeeded(reply) {
		r.errors = append(r.errors, bson.D{
			{Key: "index", Value: int32(i)},
			{Key: "code", Value: reply.Lookup("code")},
			{Key: "errmsg", Value: reply.Lookup("errmsg")},
		})
		return true
	}
	count := func(key string) int64 {
		n, _ := reply.Lookup(key).AsInt64OK()
		return n
	}
	r.n += count("n")
	r.modified += count("nModified")
	r.upserted = append(r.upserted, renumber(reply.Lookup("upserted"), i)...)
	errors := renumber(reply.Lookup("writeErrors"), i)
	r.errors = append(r.errors, errors...)
	return len(errors) > 0
}

// renumber returns the documents of an array with their index set to i.
func renumber(array bson.RawValue, i int) []bson.D {
	raw, _ := array.ArrayOK()
	values, _ := raw.Values()
	var docs []bson.D
	for _, v := range values {
		doc, _ := v.DocumentOK()
		elements, _ := doc.Elements()
		changed := bson.D{{Key: "index", Value: int32(i)}}
		for _, e := range elements {
			if e.Key() != "index" {
				changed = append(changed, bson.E{Key: e.Key(), Value: e.Value()})
			}
		}
		docs = append(docs, changed)
	}
	return docs
}

func (r *writeResult) reply(update bool) (bson.Raw, error) {
	reply := bson.D{{Key: "n", Value: int32(r.n)}}
	if update {
		reply = append(reply, bson.E{Key: "nModified", Value: int32(r.modified)})
	}
	if len(r.upserted) > 0 {
		reply = append(reply, bson.E{Key: "upserted", Value: r.upserted})
	}
	if len(r.errors) > 0 {
		reply = append(reply, bson.E{Key: "writeErrors", Value: r.errors})
	}
	return bson.Marshal(append(reply, bson.E{Key: "ok", Value: 1.0}))
}
