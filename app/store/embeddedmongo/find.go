package embeddedmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxBatch bounds the one batch that look-ups are answered in, in bytes; a
// driver takes up to maxMessageLen.
const maxBatch = 32_000_000

// find answers a find whose filter is an _id and more, or a list of _ids.
func (c command) find() (bson.Raw, error) {
	filter, ok := c.req.body.Lookup("filter").DocumentOK()
	if !ok || len(c.req.sequences) > 0 || c.has("collation", "let") {
		return nil, errAsItIs
	}
	if ids, ok := idList(filter); ok {
		return c.findEach(ids)
	}
	id, rest, ok := splitID(filter)
	if !ok || rest.parts == nil && plainID(filter) && indexed(id) {
		return nil, errAsItIs
	}
	doc, err := c.lookup(id)
	if err != nil {
		return nil, err
	}
	match := no
	if doc != nil {
		match = rest.match(doc)
	}
	switch match {
	case yes:
		if !indexed(id) && c.hasOnly("find", "filter", "limit", "batchSize", "singleBatch", "sort", "maxTimeMS", "comment", "$db",
			"lsid", "$clusterTime", "$readPreference", "readConcern") && c.wantsOne() {
			return c.batch([]bson.Raw{doc})
		}
		// The backend does what else was asked: projection, skip and so on
		changed, err := c.with("filter", byID(id))
		if err != nil {
			return nil, err
		}
		return c.run(changed)
	case no:
		return c.batch(nil)
	default:
		return nil, errAsItIs
	}
}

// findEach looks the ids up one by one, in the order of the _id index.
func (c command) findEach(ids []bson.RawValue) (bson.Raw, error) {
	limit := int64(len(ids))
	projection := bson.D{}
	elements, err := c.req.body.Elements()
	if err != nil {
		return nil, errAsItIs
	}
	for _, e := range elements {
		switch v := e.Value(); e.Key() {
		case "find", "filter", "singleBatch", "maxTimeMS", "comment", "$db",
			"lsid", "$clusterTime", "$readPreference", "readConcern":
		case "projection":
			projection = bson.D{{Key: "projection", Value: v}}
		case "limit":
			n, ok := v.AsInt64OK()
			if !ok || n < 0 {
				return nil, errAsItIs
			}
			if n > 0 {
				limit = min(limit, n)
			}
		case "batchSize":
			if n, ok := v.AsInt64OK(); !ok || n < int64(len(ids)) {
				return nil, errAsItIs
			}
		case "sort":
			if sort, ok := v.DocumentOK(); !ok || !ascendingID(sort) {
				return nil, errAsItIs
			}
		default:
			return nil, errAsItIs
		}
	}
	var docs []bson.Raw
	size := 0
	for i, id := range ids {
		if int64(len(docs)) == limit {
			break
		}
		if i > 0 {
			c.yield()
		}
		if !indexed(id) && len(projection) == 0 {
			doc, err := c.lookup(id)
			if err != nil {
				return nil, err
			}
			if doc != nil {
				docs, size = append(docs, doc), size+len(doc)
			}
			if size > maxBatch {
				return nil, errAsItIs
			}
			continue
		}
		found, err := c.firstBatch(append(bson.D{
			{Key: "find", Value: c.collection},
			{Key: "filter", Value: byID(id)},
			{Key: "limit", Value: int64(1)},
			{Key: "singleBatch", Value: true},
			{Key: "$db", Value: c.db},
		}, projection...))
		if err != nil {
			return nil, err
		}
		for _, doc := range found {
			docs = append(docs, doc)
			size += len(doc)
		}
		if size > maxBatch {
			return nil, errAsItIs
		}
	}
	return c.batch(docs)
}

// batch answers a find with these documents and no more to come.
func (c command) batch(docs []bson.Raw) (bson.Raw, error) {
	if docs == nil {
		docs = []bson.Raw{}
	}
	return bson.Marshal(bson.D{
		{Key: "cursor", Value: bson.D{
			{Key: "firstBatch", Value: docs},
			{Key: "id", Value: int64(0)},
			{Key: "ns", Value: c.db + "." + c.collection},
		}},
		{Key: "ok", Value: 1.0},
	})
}

func (c command) has(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		_, err := c.req.body.LookupErr(key)
		return err == nil
	})
}

// hasOnly reports whether the command has no other fields.
func (c command) hasOnly(keys ...string) bool {
	elements, err := c.req.body.Elements()
	return err == nil && !slices.ContainsFunc(elements, func(e bson.RawElement) bool { return !slices.Contains(keys, e.Key()) })
}

// wantsOne reports whether a find's batch may hold the one document there is.
func (c command) wantsOne() bool {
	for _, key := range []string{"limit", "batchSize"} {
		v, err := c.req.body.LookupErr(key)
		if err != nil {
			continue
		}
		if n, ok := v.AsInt64OK(); !ok || n < 0 || n == 0 && key == "batchSize" {
			return false
		}
	}
	return true
}

// plainID reports whether the filter is an _id as FerretDB can use it.
func plainID(filter bson.Raw) bool {
	elements, err := filter.Elements()
	return err == nil && len(elements) == 1 && elements[0].Key() == "_id" &&
		elements[0].Value().Type != bson.TypeEmbeddedDocument
}

func ascendingID(sort bson.Raw) bool {
	elements, err := sort.Elements()
	if err != nil || len(elements) != 1 || elements[0].Key() != "_id" {
		return false
	}
	direction, ok := elements[0].Value().AsInt64OK()
	return ok && direction == 1
}

// idList returns the ids of a filter that is exactly {_id: {$in: […]}}, each
// once and in the order that BSON has.
func idList(filter bson.Raw) ([]bson.RawValue, bool) {
	elements, err := filter.Elements()
	if err != nil || len(elements) != 1 || elements[0].Key() != "_id" {
		return nil, false
	}
	operators, ok := elements[0].Value().DocumentOK()
	if !ok {
		return nil, false
	}
	if elements, err = operators.Elements(); err != nil || len(elements) != 1 || elements[0].Key() != "$in" {
		return nil, false
	}
	array, ok := elements[0].Value().ArrayOK()
	if !ok {
		return nil, false
	}
	ids, err := array.Values()
	if err != nil {
		return nil, false
	}
	for _, id := range ids {
		if !indexed(id) && !shelved(id) {
			return nil, false
		}
	}
	order := func(a, b bson.RawValue) int {
		order, _ := compareIDs(a, b)
		return order
	}
	slices.SortFunc(ids, order)
	return slices.CompactFunc(ids, func(a, b bson.RawValue) bool { return order(a, b) == 0 }), true
}
