package embeddedmongo

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// errAsItIs says that a command is of no form that is rewritten: the backend
// gets it unchanged. It is returned only while nothing has been changed.
var errAsItIs = errors.New("goes through as it is")

// command is one command, being carried out by its holder of the turn.
type command struct {
	*backend
	req        *request
	db         string
	collection string
}

// answer carries out a request and returns the message that answers it. FerretDB
// reads the whole collection unless the filter is exactly an _id. So whatever
// names an _id and more is looked up by it here, and the rest is judged here:
// nothing can change in between, as the caller has the turn.
func (b *backend) answer(req *request) ([]byte, error) {
	reply, err := b.rewrite(req)
	if errors.Is(err, errAsItIs) {
		return b.roundTrip(req.message())
	}
	if err != nil {
		return nil, err
	}
	b.last++
	return newMessage(reply, b.last, req.requestID), nil
}

func (b *backend) rewrite(req *request) (bson.Raw, error) {
	name, err := req.body.IndexErr(0)
	if err != nil {
		return nil, errAsItIs
	}
	collection, isString := name.Value().StringValueOK()
	db, hasDB := req.body.Lookup("$db").StringValueOK()
	c := command{backend: b, req: req, db: db, collection: collection}
	if flaw := c.refused(); flaw != nil {
		return flaw.reply()
	}
	if !isString || !hasDB {
		return nil, errAsItIs
	}
	if array := arrays[name.Key()]; array != "" {
		return c.write(array)
	}
	if name.Key() == "find" {
		return c.find()
	}
	return nil, errAsItIs
}

// lookup returns the document with this id, nil if there is none.
func (c command) lookup(id bson.RawValue) (bson.Raw, error) {
	if !indexed(id) {
		doc, err := c.shelf.find(c.ctx, c.db, c.collection, id)
		if err != nil {
			return nil, errAsItIs // the backend finds it, or says what is wrong
		}
		return doc, nil
	}
	docs, err := c.firstBatch(bson.D{
		{Key: "find", Value: c.collection},
		{Key: "filter", Value: byID(id)},
		{Key: "limit", Value: int64(1)},
		{Key: "singleBatch", Value: true},
		{Key: "$db", Value: c.db},
	})
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	return docs[0], nil
}

// firstBatch has a find done and returns its documents. If the backend refuses
// it, errAsItIs: the backend will refuse the client's command in its own words.
func (c command) firstBatch(find bson.D) ([]bson.Raw, error) {
	doc, err := bson.Marshal(find)
	if err != nil {
		return nil, err
	}
	reply, err := c.run(doc)
	if err != nil {
		return nil, err
	}
	if !succeeded(reply) {
		return nil, errAsItIs
	}
	batch, ok := reply.Lookup("cursor", "firstBatch").ArrayOK()
	if !ok {
		return nil, fmt.Errorf("%w: an answer to find without documents", errBackend)
	}
	values, err := batch.Values()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	docs := make([]bson.Raw, len(values))
	for i, v := range values {
		if docs[i], ok = v.DocumentOK(); !ok {
			return nil, fmt.Errorf("%w: an answer to find without documents", errBackend)
		}
	}
	return docs, nil
}

func byID(id bson.RawValue) bson.D { return bson.D{{Key: "_id", Value: id}} }

func succeeded(reply bson.Raw) bool {
	ok, _ := reply.Lookup("ok").AsInt64OK()
	return ok == 1
}

// splitID takes a filter apart into the _id that it demands and the rest. It
// reports false for a filter that names no such _id, or of another form.
func splitID(filter bson.Raw) (id bson.RawValue, rest predicate, ok bool) {
	all, ok := parsePredicate(filter)
	if !ok {
		return bson.RawValue{}, predicate{}, false
	}
	rest.op = "$and"
	for _, part := range all.parts {
		if id.IsZero() && part.field == "_id" && part.op == "$eq" && (indexed(part.value) || shelved(part.value)) {
			id = part.value
			continue
		}
		rest.parts = append(rest.parts, part)
	}
	return id, rest, !id.IsZero()
}

// with returns the body of the command with one of its fields replaced.
func (c command) with(key string, value any) (bson.Raw, error) {
	elements, err := c.req.body.Elements()
	if err != nil {
		return nil, err
	}
	var changed bson.D
	for _, e := range elements {
		if e.Key() != key {
			changed = append(changed, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	return bson.Marshal(append(changed, bson.E{Key: key, Value: value}))
}
