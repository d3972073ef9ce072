package embeddedmongo

import (
	"context"
	"math"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"pgregory.net/rapid"
)

func raw(t testing.TB, d any) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPredicate(t *testing.T) {
	stored := doc("int", int32(5), "long", int64(5), "double", 5.5, "big", int64(math.MaxInt64), "nan", math.NaN(),
		"text", "b", "empty", "", "true", true, "null", nil, "array", bson.A{1, 2}, "doc", doc("a", 1), "oid", bson.ObjectID{1})
	for _, test := range []struct {
		filter bson.D
		want   verdict
	}{
		{doc(), yes},
		{doc("int", int32(5)), yes},
		{doc("int", int64(5)), yes},
		{doc("int", 5.0), yes},
		{doc("int", 5.5), no},
		{doc("int", "5"), no},
		{doc("long", doc("$lt", 5.5)), yes},
		{doc("long", doc("$lt", 5.0)), no},
		{doc("long", doc("$lte", 5.0)), yes},
		{doc("long", doc("$gt", 4, "$lt", 6)), yes},
		{doc("long", doc("$gt", -5.5)), yes},
		{doc("double", doc("$lt", int64(6))), yes},
		{doc("double", doc("$gt", int64(5))), yes},
		{doc("double", doc("$gte", int64(6))), no},
		{doc("big", doc("$lt", float64(1<<63))), yes},
		{doc("big", float64(math.MaxInt64)), no}, // 2⁶³, which is one more
		{doc("big", doc("$gt", math.Inf(-1))), yes},
		{doc("big", doc("$gt", math.Inf(1))), no},
		{doc("nan", 1), unsure},
		{doc("int", math.NaN()), unsure},
		{doc("text", "b"), yes},
		{doc("text", doc("$lt", "ba")), yes},
		{doc("text", doc("$gt", "B")), yes},
		{doc("text", doc("$lt", 9)), no},
		{doc("text", doc("$gt", 9)), no},
		{doc("empty", doc("$lt", "a")), yes},
		{doc("true", true), yes},
		{doc("true", false), no},
		{doc("true", 1), no},
		{doc("null", nil), yes},
		{doc("none", nil), yes},
		{doc("none", doc("$ne", nil)), no},
		{doc("none", doc("$ne", 1)), yes},
		{doc("none", 1), no},
		{doc("none", doc("$lt", 1)), no},
		{doc("int", nil), no},
		{doc("oid", bson.ObjectID{1}), yes},
		{doc("oid", bson.ObjectID{2}), no},
		{doc("array", 1), unsure},
		{doc("array", 9), unsure},
		{doc("array", 1, "int", 6), no},
		{doc("doc", 1), unsure},
		{doc("doc.a", 1), yes},
		{doc("doc.a", doc("$lt", int64(1))), no},
		{doc("doc.b", nil), yes},
		{doc("doc.a.b", nil), yes},
		{doc("doc.a.b", 1), no},
		{doc("none.b", 1), no},
		{doc("none.b", doc("$ne", 1)), yes},
		{doc("array.a", 1), unsure},
		{doc("array.0", 1), unsure},
		{doc("$or", bson.A{doc("array", 1), doc("int", 5)}), yes},
		{doc("$or", bson.A{doc("array", 1), doc("int", 6)}), unsure},
		{doc("$and", bson.A{doc("int", 5), doc("$or", bson.A{doc("text", "x"), doc("long", 5)})}), yes},
		{doc("$and", bson.A{doc("int", 5), doc("long", 6)}), no},
	} {
		p, ok := parsePredicate(raw(t, test.filter))
		if !ok {
			t.Errorf("%s: not understood", text(test.filter))
			continue
		}
		if got := p.match(raw(t, stored)); got != test.want {
			t.Errorf("%s: %d, want %d", text(test.filter), got, test.want)
		}
	}
}

func TestUnknownForms(t *testing.T) {
	for _, filter := range []bson.D{
		doc("a..b", 1), doc(".a", 1), doc("a.", 1), doc("a", doc("$in", bson.A{1})), doc("a", doc("$lt", nil)), doc("a", doc("$lt", true)),
		doc("a", doc("$exists", true)), doc("a", doc("b", 1)), doc("a", doc()), doc("a", bson.A{1}),
		doc("a", bson.Regex{Pattern: "x"}), doc("a", doc("$not", doc("$lt", 1))), doc("$nor", bson.A{doc("a", 1)}),
		doc("$expr", true), doc("$comment", "x"), doc("$or", bson.A{}), doc("$or", bson.A{1}), doc("$and", 1),
		doc("$and", bson.A{doc("a..b", 1)}), doc("", 1), doc("a", bson.NewDecimal128(0, 1)),
	} {
		if _, ok := parsePredicate(raw(t, filter)); ok {
			t.Errorf("%s is understood, but it isn't", text(filter))
		}
	}
}

func TestSplitID(t *testing.T) {
	for _, test := range []struct {
		filter bson.D
		ok     bool
		rest   int
	}{
		{doc("_id", "a"), true, 0},
		{doc("_id", bson.ObjectID{1}, "b", 1), true, 1},
		{doc("b", 1, "_id", "a"), true, 1},
		{doc("_id", doc("$eq", "a", "$lt", "b")), true, 1},
		{doc("_id", 1, "b", 1), true, 1},
		{doc("_id", doc("shop", "a", "number", int64(1)), "b", 1), true, 1},
		{doc("_id", bson.Binary{Subtype: 4, Data: make([]byte, 16)}, "b", 1), true, 1},
		{doc("_id", doc("$eq", doc("shop", "a"))), true, 0},
		{doc("_id", 1.5, "b", 1), false, 0},
		{doc("_id", doc("shop", doc("name", "a")), "b", 1), false, 0},
		{doc("_id", bson.D{}, "b", 1), false, 0},
		{doc("_id", doc("$lt", "a"), "b", 1), false, 0},
		{doc("$and", bson.A{doc("_id", "a")}), false, 0},
		{doc("b", 1), false, 0},
	} {
		id, rest, ok := splitID(raw(t, test.filter))
		if ok != test.ok || ok && (id.IsZero() || len(rest.parts) != test.rest) {
			t.Errorf("%s: id %v, %d more, %v", text(test.filter), id, len(rest.parts), ok)
		}
	}
}

// Whatever is decided here, FerretDB decides too, by its own evaluation of the
// whole filter: for one example of each verdict, and for filters at random.
func TestPredicateAgreesWithBackend(t *testing.T) {
	s := start(t, t.TempDir())
	c := agreement{
		bare:  connect(t, s.bareURI()).Database("todo").Collection("tasks"),
		gated: connect(t, s.URI()).Database("todo").Collection("tasks"),
	}
	stored := doc("_id", "x", "a", bson.A{1, 2}, "b", 1)
	for _, test := range []struct {
		filter bson.D
		want   verdict
	}{
		{doc("_id", "x", "$or", bson.A{doc("a", 1), doc("b", 1)}), yes},
		{doc("_id", "x", "$and", bson.A{doc("a", 1), doc("b", 2)}), no},
		{doc("_id", "x", "$and", bson.A{doc("a", 1), doc("b", 1)}), unsure},
		{doc("_id", "x", "$and", bson.A{doc("a", 3), doc("b", 1)}), unsure},
	} {
		if got := c.check(t, stored, test.filter); got != test.want {
			t.Errorf("%s on %s: %d, want %d", text(test.filter), text(stored), got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		stored := storedDocument.Draw(t, "stored")
		filter := doc("_id", "x", rapid.SampledFrom([]string{"$and", "$or"}).Draw(t, "op"), conditions.Draw(t, "conditions"))
		c.check(t, stored, filter)
	})
}

// agreement asks FerretDB, past the gatekeeper and through it.
type agreement struct{ bare, gated *mongo.Collection }

// failing is a test of either kind.
type failing interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func (c agreement) check(t failing, stored, filter bson.D) verdict {
	t.Helper()
	if err := c.bare.Drop(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
	if _, err := c.bare.InsertOne(t.Context(), stored); err != nil {
		t.Fatalf("%v", err)
	}
	want, err := c.bare.CountDocuments(t.Context(), filter)
	if err != nil {
		t.Fatalf("%v", err)
	}
	b, err := bson.Marshal(filter)
	if err != nil {
		t.Fatalf("%v", err)
	}
	document, err := bson.Marshal(stored)
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, rest, ok := splitID(b)
	if !ok {
		t.Fatalf("%s: not understood", text(filter))
	}
	got := rest.match(document)
	if got != unsure && got != decided(want == 1) {
		t.Errorf("%s on %s: %d, but FerretDB finds %d", text(filter), text(stored), got, want)
	}
	r, err := c.gated.UpdateOne(t.Context(), filter, set("z", 1))
	if err != nil || r.MatchedCount != want {
		t.Errorf("%s on %s: update matched %+v, %v; want %d", text(filter), text(stored), r, err, want)
	}
	return got
}

var (
	anyValue = rapid.OneOf(
		rapid.Map(rapid.Int32Range(-2, 2), func(n int32) any { return n }),
		rapid.Map(rapid.Int64Range(-2, 2), func(n int64) any { return n }),
		rapid.Map(rapid.IntRange(-4, 4), func(n int) any { return float64(n) / 2 }),
		rapid.SampledFrom([]any{nil, true, false, "", "a", "b", "B", "é", "😀", bson.ObjectID{1}, bson.ObjectID{2}}),
	)
	orderedValue = anyValue.Filter(func(v any) bool {
		switch v.(type) {
		case nil, bool, bson.ObjectID:
			return false
		}
		return true
	})
	anyField  = rapid.SampledFrom([]string{"a", "b", "c", "d.a", "d.b", "d.c", "d.a.b", "a.b"})
	condition = rapid.OneOf(
		rapid.Custom(func(t *rapid.T) bson.D { return doc(anyField.Draw(t, "field"), anyValue.Draw(t, "value")) }),
		rapid.Custom(func(t *rapid.T) bson.D {
			op := rapid.SampledFrom([]string{"$eq", "$ne"}).Draw(t, "op")
			return doc(anyField.Draw(t, "field"), doc(op, anyValue.Draw(t, "value")))
		}),
		rapid.Custom(func(t *rapid.T) bson.D {
			op := rapid.SampledFrom([]string{"$lt", "$lte", "$gt", "$gte"}).Draw(t, "op")
			return doc(anyField.Draw(t, "field"), doc(op, orderedValue.Draw(t, "value")))
		}),
	)
	conditions = rapid.Custom(func(t *rapid.T) bson.A {
		var parts bson.A
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			parts = append(parts, condition.Draw(t, "part"))
		}
		return parts
	})
	storedDocument = rapid.Custom(func(t *rapid.T) bson.D {
		stored := doc("_id", "x")
		for _, f := range []string{"a", "b"} {
			v := anyValue.Draw(t, "stored "+f)
			if rapid.IntRange(0, 9).Draw(t, "array") == 0 {
				v = bson.A{v, int32(1)}
			}
			stored = append(stored, bson.E{Key: f, Value: v})
		}
		return append(stored, bson.E{Key: "d", Value: stored[1:]})
	})
)
