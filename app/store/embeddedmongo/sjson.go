package embeddedmongo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// FerretDB keeps a document as JSON, with the types of its values beside it, in
// the member $s. What is here reads and writes that form, for the types that
// documents of a migration have; a document with others is left to FerretDB.

// schema is the types of a document's fields.
type schema struct {
	Properties map[string]element `json:"p,omitempty"`
	Keys       []string           `json:"$k,omitempty"` // in the document's order
}

// element is the type of one value.
type element struct {
	Type    string    `json:"t"`
	Schema  *schema   `json:"$s,omitempty"` // of an object
	Items   []element `json:"i,omitempty"`  // of an array
	Subtype *byte     `json:"s,omitempty"`  // of binData
}

// MarshalJSON always writes the items of an array: FerretDB wants them.
func (e element) MarshalJSON() ([]byte, error) {
	type plain element
	if e.Type != "array" || len(e.Items) > 0 {
		return json.Marshal(plain(e))
	}
	return []byte(`{"t":"array","i":[]}`), nil
}

var errForm = errors.New("of a form that is left to the backend")

// writeSJSON returns a document as FerretDB keeps it.
func writeSJSON(doc bson.Raw) ([]byte, error) {
	types, value, err := sjsonDocument(doc)
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(types)
	if err != nil {
		return nil, err
	}
	b := append([]byte(`{"$s":`), head...)
	if len(types.Keys) > 0 {
		b = append(b, ',')
	}
	return append(b, value[1:]...), nil
}

// sjsonDocument returns the types of a document and its JSON.
func sjsonDocument(doc bson.Raw) (*schema, []byte, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, nil, err
	}
	s := &schema{Properties: map[string]element{}}
	b := []byte{'{'}
	for n, e := range elements {
		key := e.Key()
		name, err := json.Marshal(key)
		if err != nil {
			return nil, nil, err
		}
		typ, value, err := sjsonValue(e.Value())
		if err != nil {
			return nil, nil, err
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), value...)
		s.Properties[key], s.Keys = typ, append(s.Keys, key)
	}
	return s, append(b, '}'), nil
}

// sjsonValue returns the type of a value and its JSON.
func sjsonValue(v bson.RawValue) (element, []byte, error) {
	simple := func(typ string, value any) (element, []byte, error) {
		b, err := json.Marshal(value)
		return element{Type: typ}, b, err
	}
	switch v.Type {
	case bson.TypeNull:
		return simple("null", nil)
	case bson.TypeString:
		return simple("string", v.StringValue())
	case bson.TypeBoolean:
		return simple("bool", v.Boolean())
	case bson.TypeInt32:
		return simple("int", v.Int32())
	case bson.TypeInt64:
		return simple("long", v.Int64())
	case bson.TypeDouble:
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return element{}, nil, errForm
		}
		return simple("double", v.Double())
	case bson.TypeDateTime:
		return simple("date", v.DateTime())
	case bson.TypeObjectID:
		return simple("objectId", v.ObjectID().Hex())
	case bson.TypeBinary:
		subtype, data := v.Binary()
		e, b, err := simple("binData", append([]byte{}, data...))
		e.Subtype = &subtype
		return e, b, err
	case bson.TypeEmbeddedDocument:
		s, b, err := sjsonDocument(v.Document())
		return element{Type: "object", Schema: s}, b, err
	case bson.TypeArray:
		return sjsonArray(v.Array())
	}
	return element{}, nil, errForm
}

func sjsonArray(array bson.RawArray) (element, []byte, error) {
	values, err := array.Values()
	if err != nil {
		return element{}, nil, err
	}
	e, b := element{Type: "array"}, []byte{'['}
	for n, v := range values {
		typ, value, err := sjsonValue(v)
		if err != nil {
			return element{}, nil, err
		}
		if n > 0 {
			b = append(b, ',')
		}
		e.Items, b = append(e.Items, typ), append(b, value...)
	}
	return e, append(b, ']'), nil
}

// readSJSON returns the document that FerretDB keeps like this.
func readSJSON(text []byte) (bson.Raw, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	var types schema
	if err := json.Unmarshal(members["$s"], &types); err != nil {
		return nil, err
	}
	delete(members, "$s")
	doc, err := bsonDocument(types, members)
	if err != nil {
		return nil, err
	}
	return bson.Marshal(doc)
}

func bsonDocument(types schema, members map[string]json.RawMessage) (bson.D, error) {
	if len(types.Keys) != len(members) {
		return nil, fmt.Errorf("%w: %d fields have %d types", errForm, len(members), len(types.Keys))
	}
	doc := make(bson.D, 0, len(types.Keys))
	for _, key := range types.Keys {
		v, err := bsonValue(types.Properties[key], members[key])
		if err != nil {
			return nil, err
		}
		doc = append(doc, bson.E{Key: key, Value: v})
	}
	return doc, nil
}

func bsonValue(e element, text json.RawMessage) (any, error) {
	if bytes.Equal(text, []byte("null")) {
		return nil, nil
	}
	switch e.Type {
	case "string":
		return parsed[string](text)
	case "bool":
		return parsed[bool](text)
	case "int":
		return parsed[int32](text)
	case "long":
		return parsed[int64](text)
	case "double":
		return parsed[float64](text)
	case "date":
		ms, err := parsed[int64](text)
		return bson.DateTime(ms), err
	case "objectId":
		digits, err := parsed[string](text)
		if err != nil {
			return nil, err
		}
		var id bson.ObjectID
		if n, err := hex.Decode(id[:], []byte(digits)); err != nil || n != len(id) || len(digits) != 2*len(id) {
			return nil, errForm
		}
		return id, nil
	case "binData":
		data, err := parsed[[]byte](text)
		if err != nil || e.Subtype == nil {
			return nil, errForm
		}
		return bson.Binary{Subtype: *e.Subtype, Data: data}, nil
	case "object":
		return bsonObject(e, text)
	case "array":
		return bsonArray(e, text)
	}
	return nil, errForm
}

func bsonObject(e element, text json.RawMessage) (any, error) {
	members, err := parsed[map[string]json.RawMessage](text)
	if err != nil {
		return nil, err
	}
	if e.Schema == nil {
		return nil, errForm
	}
	return bsonDocument(*e.Schema, members)
}

func bsonArray(e element, text json.RawMessage) (any, error) {
	texts, err := parsed[[]json.RawMessage](text)
	if err != nil {
		return nil, err
	}
	if len(texts) != len(e.Items) {
		return nil, errForm
	}
	list := make(bson.A, len(texts))
	for n := range texts {
		if list[n], err = bsonValue(e.Items[n], texts[n]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func parsed[T any](text json.RawMessage) (v T, err error) {
	return v, json.Unmarshal(text, &v)
}
