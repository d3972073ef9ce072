package mongo

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// maxDocument leaves room below MongoDB's 16 MiB for what surrounds a document
// in a command. In bytes of BSON.
const maxDocument = 15<<20 + 1<<19

// maxID is how long an _id may be, in bytes. Servers before 4.2 refuse a longer
// key of an index; it bounds what a message quotes.
const maxID = 1 << 20

// reserved is the sub-document that holds what is the protocol's own.
const reserved = "_migrate"

// The paths of its fields.
const (
	revPath     = reserved + ".rev"
	epochPath   = reserved + ".epoch"
	pendingPath = reserved + ".pending"
	deletedPath = reserved + ".deleted"
)

// envelope is the reserved sub-document.
type envelope struct {
	Rev     int64  `bson:"rev"`
	Epoch   int64  `bson:"epoch"`
	Pending bool   `bson:"pending"`
	Deleted bool   `bson:"deleted"`
	Request string `bson:"request"`
}

// encoded is a record as it is sent: its _id, and every other field that is ours.
type encoded struct {
	of     *collection
	id     any
	fields bson.D
}

// unfit says which value of which record the database can't hold.
func unfit(id record.ID, field string, reason error) error {
	if field != "" {
		return fmt.Errorf("%w: collection %s, id %s, field %s: %w", store.ErrUnfit, id.Collection(), quoted(id), field, reason)
	}
	return fmt.Errorf("%w: collection %s, id %s: %w", store.ErrUnfit, id.Collection(), quoted(id), reason)
}

// quoted shows an id in a message, which it must not make too long.
func quoted(id record.ID) string {
	text := id.String()
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}

const maxQuoted = 200

// encode returns a record's document. An ErrUnfit names collection, id, field
// and reason.
func (s *Store) encode(r store.Record, can limits) (encoded, error) {
	c := s.collections[r.ID.Collection()]
	if c == nil {
		return encoded{}, unfit(r.ID, "", errors.New("the collection is not declared"))
	}
	id, err := c.naturalID(r.ID)
	if err != nil {
		return encoded{}, unfit(r.ID, "", err)
	}
	if len(r.ID) > maxID {
		return encoded{}, unfit(r.ID, "", fmt.Errorf("the id has %d bytes, of %d", len(r.ID), maxID))
	}
	if !utf8.ValidString(r.Request) {
		return encoded{}, unfit(r.ID, "", errors.New("the request is not valid UTF-8"))
	}
	fields, err := c.encodeBody(r, can)
	if err != nil {
		return encoded{}, err
	}
	fields = append(fields, bson.E{Key: reserved, Value: bson.D{
		{Key: "rev", Value: r.Rev}, {Key: "epoch", Value: r.Epoch}, {Key: "pending", Value: r.Pending},
		{Key: "deleted", Value: r.Deleted}, {Key: "request", Value: r.Request},
	}})
	if err := fits(r); err != nil {
		return encoded{}, err
	}
	return encoded{c, id, fields}, nil
}

// encodeBody returns every declared field that is not in the id; of a tombstone,
// each one as null.
func (c *collection) encodeBody(r store.Record, can limits) (bson.D, error) {
	values := r.Body.Values()
	if !r.Deleted && len(values) != len(c.fields) {
		return nil, unfit(r.ID, "", fmt.Errorf("the body has %d fields, not %d", len(values), len(c.fields)))
	}
	fields := make(bson.D, len(c.fields), len(c.fields)+1)
	for n, f := range c.fields {
		fields[n].Key = f.Name
		if r.Deleted {
			continue
		}
		v := values[n]
		switch {
		case v.IsNull() && f.NotNull:
			return nil, unfit(r.ID, f.Name, errors.New("is NULL"))
		case !v.IsNull() && v.Type() != f.Type:
			return nil, unfit(r.ID, f.Name, fmt.Errorf("is %s, not %s", v.Type(), f.Type))
		}
		stored, err := encodeValue(f, v, can)
		if err != nil {
			return nil, unfit(r.ID, f.Name, err)
		}
		fields[n].Value = stored
	}
	return fields, nil
}

// fits refuses what is too large, by an estimate that is cheap: the server
// measures what the estimate lets through.
func fits(r store.Record) error {
	if size := len(r.ID) + len(r.Body) + len(r.Request); size > maxDocument {
		return unfit(r.ID, "", fmt.Errorf("%d bytes, a document may have %d", size, maxDocument))
	}
	return nil
}

var (
	errNotOurs = errors.New("a document that this program did not write")
	// errNoID: such a document, whose _id can't even be a record's.
	errNoID = fmt.Errorf("%w: it has an _id of another form", errNotOurs)
)

// decode returns the record that a document holds. One that the migration has
// not written has the zero pair.
func (c *collection) decode(raw bson.Raw) (store.Record, error) {
	own, ours := raw.Lookup(reserved).DocumentOK()
	id, err := c.id(raw.Lookup("_id"))
	switch {
	case err != nil && !ours:
		return store.Record{}, errNoID
	case err != nil:
		return store.Record{}, fmt.Errorf("%w: collection %s, _id %.100s: %w", errNotOurs, c.Name, raw.Lookup("_id"), err)
	case !ours:
		return store.Record{ID: id}, nil
	}
	var e envelope
	if err := bson.Unmarshal(own, &e); err != nil {
		return store.Record{}, fmt.Errorf("%w: collection %s, id %s: %w", errNotOurs, c.Name, quoted(id), err)
	}
	r := store.Record{
		ID: id, Pair: store.Pair{Rev: e.Rev, Epoch: e.Epoch},
		Deleted: e.Deleted, Pending: e.Pending, Request: e.Request,
	}
	if r.Deleted {
		return r, nil
	}
	values := make([]record.Value, len(c.fields))
	for n, f := range c.fields {
		if values[n], err = decodeValue(f, raw.Lookup(f.Name)); err != nil {
			return store.Record{}, fmt.Errorf("%w: collection %s, id %s, field %s: %w", errNotOurs, c.Name, quoted(id), f.Name, err)
		}
	}
	r.Body = record.NewBody(values...)
	return r, nil
}
