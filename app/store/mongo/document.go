package mongo

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate/app/store"
)

// maxDocument leaves room below MongoDB's 16 MiB for what surrounds a document
// in a command. In bytes of BSON.
const maxDocument = 15<<20 + 1<<19

// envelope is what every document has beside the body's fields.
type envelope struct {
	ID      string `bson:"_id"`
	Rev     int64  `bson:"rev"`
	Epoch   int64  `bson:"epoch"`
	Pending bool   `bson:"pending"`
	Deleted bool   `bson:"deleted"`
	Request string `bson:"request"`
}

// encode returns all fields of a record's document but the _id. An ErrUnfit
// names the record.
func encode[B any](r store.Record[B]) (bson.D, error) {
	if r.Deleted {
		var zero B
		r.Body = zero
	}
	body, err := bodyFields(r.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", store.ErrUnfit, r.ID, err)
	}
	size := len(r.ID) + len(r.Request)
	for _, e := range body {
		v := e.Value.(bson.RawValue)
		size += len(e.Key) + len(v.Value)
		if !validText(v) {
			return nil, fmt.Errorf("%w: %q: its %s is not valid UTF-8", store.ErrUnfit, r.ID, e.Key)
		}
	}
	if !utf8.ValidString(r.ID) || !utf8.ValidString(r.Request) {
		return nil, fmt.Errorf("%w: %q: its id or request is not valid UTF-8", store.ErrUnfit, r.ID)
	}
	if size > maxDocument {
		return nil, fmt.Errorf("%w: %.100q: %d bytes, a document may have %d", store.ErrUnfit, r.ID, size, maxDocument)
	}
	return append(bson.D{
		{Key: "rev", Value: r.Rev},
		{Key: "epoch", Value: r.Epoch},
		{Key: "pending", Value: r.Pending},
		{Key: "deleted", Value: r.Deleted},
		{Key: "request", Value: r.Request},
	}, body...), nil
}

// bodyFields returns the body's fields, each value a bson.RawValue.
func bodyFields[B any](body B) (bson.D, error) {
	raw, err := bson.Marshal(body)
	if err != nil {
		return nil, err
	}
	elements, err := bson.Raw(raw).Elements()
	if err != nil {
		return nil, err
	}
	fields := make(bson.D, 0, len(elements))
	for _, e := range elements {
		fields = append(fields, bson.E{Key: e.Key(), Value: e.Value()})
	}
	return fields, nil
}

// validText reports whether every text in v is UTF-8, which the driver doesn't check.
func validText(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeString:
		return utf8.ValidString(v.StringValue())
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		elements, err := bson.Raw(v.Value).Elements()
		if err != nil {
			return false
		}
		for _, e := range elements {
			if !utf8.ValidString(e.Key()) || !validText(e.Value()) {
				return false
			}
		}
	}
	return true
}

var errNotOurs = errors.New("a document that this program did not write")

func decode[B any](raw bson.Raw) (store.Record[B], error) {
	var e envelope
	if err := bson.Unmarshal(raw, &e); err != nil {
		return store.Record[B]{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	r := store.Record[B]{
		ID: e.ID, Pair: store.Pair{Rev: e.Rev, Epoch: e.Epoch},
		Deleted: e.Deleted, Pending: e.Pending, Request: e.Request,
	}
	if r.Deleted {
		return r, nil
	}
	if err := bson.Unmarshal(raw, &r.Body); err != nil {
		return store.Record[B]{}, fmt.Errorf("%w: %q: %w", errNotOurs, e.ID, err)
	}
	return r, nil
}
