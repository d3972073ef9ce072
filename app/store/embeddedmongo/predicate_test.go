package embeddedmongo

import (
	"math"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
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
		doc("a.b", 1), doc("a", doc("$in", bson.A{1})), doc("a", doc("$lt", nil)), doc("a", doc("$lt", true)),
		doc("a", doc("$exists", true)), doc("a", doc("b", 1)), doc("a", doc()), doc("a", bson.A{1}),
		doc("a", bson.Regex{Pattern: "x"}), doc("a", doc("$not", doc("$lt", 1))), doc("$nor", bson.A{doc("a", 1)}),
		doc("$expr", true), doc("$comment", "x"), doc("$or", bson.A{}), doc("$or", bson.A{1}), doc("$and", 1),
		doc("$and", bson.A{doc("a.b", 1)}), doc("", 1), doc("a", bson.NewDecimal128(0, 1)),
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
		{doc("_id", 1, "b", 1), false, 0},
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
// whole filter.
func TestPredicateAgreesWithBackend(t *testing.T) {
	s := start(t, t.TempDir())
	bare := connect(t, s.bareURI()).Database("todo")
	gated := connect(t, s.URI()).Database("todo").Collection("tasks")
	value := rapid.OneOf(
		rapid.Map(rapid.Int32Range(-2, 2), func(n int32) any { return n }),
		rapid.Map(rapid.Int64Range(-2, 2), func(n int64) any { return n }),
		rapid.Map(rapid.IntRange(-4, 4), func(n int) any { return float64(n) / 2 }),
		rapid.SampledFrom([]any{nil, true, false, "", "a", "b", "B", "é", "😀", bson.ObjectID{1}, bson.ObjectID{2}}),
	)
	ordered := value.Filter(func(v any) bool {
		switch v.(type) {
		case nil, bool, bson.ObjectID:
			return false
		}
		return true
	})
	field := rapid.SampledFrom([]string{"a", "b", "c"})
	condition := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) bson.D { return doc(field.Draw(t, "field"), value.Draw(t, "value")) }),
		rapid.Custom(func(t *rapid.T) bson.D {
			op := rapid.SampledFrom([]string{"$eq", "$ne"}).Draw(t, "op")
			return doc(field.Draw(t, "field"), doc(op, value.Draw(t, "value")))
		}),
		rapid.Custom(func(t *rapid.T) bson.D {
			op := rapid.SampledFrom([]string{"$lt", "$lte", "$gt", "$gte"}).Draw(t, "op")
			return doc(field.Draw(t, "field"), doc(op, ordered.Draw(t, "value")))
		}),
	)
	seen := make(map[verdict]int)
	rapid.Check(t, func(t *rapid.T) {
		stored := doc("_id", "x")
		for _, f := range []string{"a", "b"} {
			v := value.Draw(t, "stored "+f)
			if rapid.IntRange(0, 9).Draw(t, "array") == 0 {
				v = bson.A{v, int32(1)}
			}
			stored = append(stored, bson.E{Key: f, Value: v})
		}
		var parts bson.A
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			parts = append(parts, condition.Draw(t, "part"))
		}
		filter := doc("_id", "x", rapid.SampledFrom([]string{"$and", "$or"}).Draw(t, "op"), parts)

		c := bare.Collection("tasks")
		if err := c.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.InsertOne(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		want, err := c.CountDocuments(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := bson.Marshal(filter)
		document, _ := bson.Marshal(stored)
		_, rest, ok := splitID(b)
		if !ok {
			t.Fatalf("%s: not understood", text(filter))
		}
		got := rest.match(document)
		seen[got]++
		if got != unsure && got != decided(want == 1) {
			t.Errorf("%s on %s: %d, but FerretDB finds %d", text(filter), text(stored), got, want)
		}
		r, err := gated.UpdateOne(t.Context(), filter, set("z", 1))
		if err != nil || r.MatchedCount != want {
			t.Errorf("%s on %s: update matched %+v, %v; want %d", text(filter), text(stored), r, err, want)
		}
	})
	if seen[yes] == 0 || seen[no] == 0 || seen[unsure] == 0 {
		t.Errorf("verdicts %v: some were never seen", seen)
	}
}
