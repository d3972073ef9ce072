package mongo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
)

// maxNesting leaves room below the 100 levels that a document may have.
const maxNesting = 90

// asText is the advice for what JSON can say and a document can't.
const asText = "; declare as: text"

// encodeJSON returns the BSON of a canonical JSON text: documents, arrays,
// strings, truth values, and each number in a form that gives its text back.
func encodeJSON(text string, can limits) (any, error) {
	if text == "null" {
		return nil, errors.New("JSON's null can't be told from NULL in a document" + asText)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	v, err := encodeNext(dec, can, 1)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the text is more than one JSON value")
	}
	return v, nil
}

func encodeNext(dec *json.Decoder, can limits, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("the text is no JSON: %w", err)
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("the JSON is nested more than %d deep"+asText, maxNesting)
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return encodeArray(dec, can, depth)
		}
		return encodeObject(dec, can, depth)
	case json.Number:
		return encodeNumber(token.String(), can)
	}
	return token, nil // a string, a truth value or null
}

func encodeArray(dec *json.Decoder, can limits, depth int) (any, error) {
	list := bson.A{}
	for dec.More() {
		v, err := encodeNext(dec, can, depth+1)
		if err != nil {
			return nil, err
		}
		if _, nested := v.(bson.A); nested && !can.nestedArrays {
			return nil, errors.New("the embedded server can't hold an array in an array; a real MongoDB can" + asText)
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}

func encodeObject(dec *json.Decoder, can limits, depth int) (any, error) {
	doc := bson.D{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		switch {
		case strings.HasPrefix(key, "$"):
			return nil, fmt.Errorf("the JSON has the key %.60q, which begins with a dollar sign"+asText, key)
		case strings.Contains(key, "."):
			return nil, fmt.Errorf("the JSON has the key %.60q, with a dot in it"+asText, key)
		case strings.Contains(key, "\x00"):
			return nil, fmt.Errorf("the JSON has the key %.60q, with a NUL in it"+asText, key)
		}
		v, err := encodeNext(dec, can, depth+1)
		if err != nil {
			return nil, err
		}
		doc = append(doc, bson.E{Key: key, Value: v})
	}
	_, err := dec.Token()
	return doc, err
}

// encodeNumber takes the first form whose text is the number's: int64, double,
// Decimal128.
func encodeNumber(text string, can limits) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && plainDouble(f) == text && strings.Contains(text, ".") {
		return f, nil
	}
	d, err := encodeDecimal(text, can)
	if err != nil {
		return nil, fmt.Errorf("the JSON has the number %.60s, which is no 64-bit integer and not the text of a double: %w", text, err)
	}
	return d, nil
}

func plainDouble(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// decodeJSON returns the JSON value that a BSON value says.
func decodeJSON(raw bson.RawValue) (record.Value, error) {
	b, err := appendJSON(nil, raw)
	if err != nil {
		return record.Value{}, err
	}
	return record.OfJSON(string(b))
}

func appendJSON(b []byte, raw bson.RawValue) ([]byte, error) {
	switch raw.Type {
	case bson.TypeNull:
		return append(b, "null"...), nil
	case bson.TypeBoolean:
		return strconv.AppendBool(b, raw.Boolean()), nil
	case bson.TypeInt32, bson.TypeInt64:
		n, _ := raw.AsInt64OK()
		return strconv.AppendInt(b, n, 10), nil
	case bson.TypeDouble:
		if f := raw.Double(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return append(b, plainDouble(f)...), nil
		}
	case bson.TypeDecimal128:
		text, err := plainDecimal(raw.Decimal128())
		return append(b, text...), err
	case bson.TypeString:
		return appendJSONText(b, raw.StringValue())
	case bson.TypeEmbeddedDocument:
		return appendObject(b, raw.Document())
	case bson.TypeArray:
		return appendArray(b, raw.Array())
	}
	return nil, fmt.Errorf("holds a %s, which JSON has not", raw.Type)
}

func appendJSONText(b []byte, s string) ([]byte, error) {
	text, err := json.Marshal(s)
	return append(b, text...), err
}

func appendObject(b []byte, doc bson.Raw) ([]byte, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, err
	}
	b = append(b, '{')
	for n, e := range elements {
		if n > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSONText(b, e.Key()); err != nil {
			return nil, err
		}
		if b, err = appendJSON(append(b, ':'), e.Value()); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendArray(b []byte, array bson.RawArray) ([]byte, error) {
	values, err := array.Values()
	if err != nil {
		return nil, err
	}
	b = append(b, '[')
	for n, v := range values {
		if n > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, v); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}
