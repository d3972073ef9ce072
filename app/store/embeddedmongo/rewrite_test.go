package embeddedmongo

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// contents returns what a collection holds, by id, as text.
func contents(t testing.TB, c *mongo.Collection) string {
	t.Helper()
	cursor, err := c.Find(t.Context(), bson.D{}, options.Find().SetSort(doc("_id", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(docs))
	for i, d := range docs {
		lines[i] = text(d)
	}
	return strings.Join(lines, "\n")
}

// text writes a document as relaxed JSON.
func text(d any) string {
	b, err := bson.MarshalExtJSON(d, false, false)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// outcome writes what an update, insert or delete did, the codes of its errors
// included.
func outcome(matched, modified, upserted int64, err error) string {
	s := fmt.Sprintf("matched %d modified %d upserted %d", matched, modified, upserted)
	var bulk mongo.BulkWriteException
	var write mongo.WriteException
	var command mongo.CommandError
	switch {
	case errors.As(err, &bulk):
		for _, e := range bulk.WriteErrors {
			s += fmt.Sprintf(" error %d at %d", e.Code, e.Index)
		}
	case errors.As(err, &write):
		for _, e := range write.WriteErrors {
			s += fmt.Sprintf(" error %d", e.Code)
		}
	case errors.As(err, &command):
		s += fmt.Sprintf(" refused %d", command.Code)
	case err != nil:
		s += " " + err.Error()
	}
	return s
}

// notNewer is the filter by which a copy replaces an older one.
func notNewer(id any, rev, epoch int64) bson.D {
	return doc("_id", id, "$or", bson.A{
		doc("rev", doc("$lt", rev)),
		doc("rev", rev, "epoch", doc("$lt", epoch)),
	})
}

func TestUpdate(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	const x = `{"_id":"x","rev":3,"epoch":1}`
	upsert := true
	for i, test := range []struct {
		name    string
		filter  bson.D
		update  any
		upsert  bool
		outcome string
		after   string
	}{
		{"id", doc("_id", "x"), set("rev", 4), false, "matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"pair", doc("_id", "x", "rev", int64(3), "epoch", int64(1)), set("rev", 4), false,
			"matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"$eq on id", doc("_id", doc("$eq", "x"), "rev", 3), set("rev", 4), false,
			"matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"another rev", doc("_id", "x", "rev", int64(2), "epoch", int64(1)), set("rev", 4), false, "matched 0 modified 0 upserted 0", x},
		{"another id", doc("_id", "y", "rev", int64(3)), set("rev", 4), false, "matched 0 modified 0 upserted 0", x},
		{"nothing to change", doc("_id", "x", "rev", 3), set("epoch", int64(1)), false, "matched 1 modified 0 upserted 0", x},
		{"replacement", doc("_id", "x", "rev", 3), doc("rev", 9), false, "matched 1 modified 1 upserted 0", `{"_id":"x","rev":9}`},
		{"null where there is no field", doc("_id", "x", "owner", nil), set("rev", 4), false,
			"matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"array in the document", doc("_id", "tags", "tags", "b"), set("rev", 4), false,
			"matched 1 modified 1 upserted 0", ""},
		{"unknown operator in the filter", doc("_id", "x", "rev", doc("$mod", bson.A{2, 1})), set("rev", 4), false,
			"matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"unknown operator in the update", doc("_id", "x", "rev", 3), doc("$what", doc("rev", 4)), false,
			"matched 0 modified 0 upserted 0 error 9", x},
		{"upsert, newer rev", notNewer("x", 4, 1), set("rev", 4), true, "matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
		{"upsert, newer epoch", notNewer("x", 3, 2), set("epoch", 2), true, "matched 1 modified 1 upserted 0", `{"_id":"x","rev":3,"epoch":2}`},
		{"upsert, the same", notNewer("x", 3, 1), set("epoch", 7), true, "matched 0 modified 0 upserted 0 error 11000", x},
		{"upsert, older", notNewer("x", 2, 9), set("epoch", 7), true, "matched 0 modified 0 upserted 0 error 11000", x},
		{"upsert, absent", notNewer("y", 4, 1), set("rev", 4), true,
			"matched 0 modified 0 upserted 1", x + "\n" + `{"_id":"y","rev":4}`},
		{"upsert, absent, replacement", notNewer("y", 4, 1), doc("rev", 4), true,
			"matched 0 modified 0 upserted 1", x + "\n" + `{"_id":"y","rev":4}`},
		{"upsert takes over equalities", doc("_id", "y", "$and", bson.A{doc("a", 1), doc("b", doc("$eq", 2))}, "c", doc("$lt", 3)),
			set("rev", 4), true, "matched 0 modified 0 upserted 1", x + "\n" + `{"_id":"y","a":1,"b":2,"rev":4}`},
		{"upsert takes over equalities in documents", doc("_id", "y", "m.rev", 1, "m.epoch", doc("$lt", 3)),
			set("rev", 4), true, "matched 0 modified 0 upserted 1", x + "\n" + `{"_id":"y","m":{"rev":1},"rev":4}`},
		{"upsert without an id", doc("rev", 3), set("rev", 4), true, "matched 1 modified 1 upserted 0", `{"_id":"x","rev":4,"epoch":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := db.Collection(fmt.Sprint("update", i))
			if test.after == "" {
				mustInsert(t, c, doc("_id", "tags", "tags", bson.A{"a", "b"}))
				test.after = `{"_id":"tags","tags":["a","b"],"rev":4}`
			} else {
				mustInsert(t, c, doc("_id", "x", "rev", int64(3), "epoch", int64(1)))
			}
			var model mongo.WriteModel = mongo.NewUpdateOneModel().SetFilter(test.filter).SetUpdate(test.update).SetUpsert(test.upsert)
			if d, ok := test.update.(bson.D); ok && d[0].Key[0] != '$' {
				model = &mongo.ReplaceOneModel{Filter: test.filter, Replacement: test.update, Upsert: &upsert}
				if !test.upsert {
					model = mongo.NewReplaceOneModel().SetFilter(test.filter).SetReplacement(test.update)
				}
			}
			r, err := c.BulkWrite(t.Context(), []mongo.WriteModel{model})
			got := strings.ReplaceAll(outcome(r.MatchedCount, r.ModifiedCount, r.UpsertedCount, err), " at 0", "")
			if got != test.outcome {
				t.Errorf("%s, want %s (%v)", got, test.outcome, err)
			}
			if diff := cmp.Diff(test.after, contents(t, c)); diff != "" {
				t.Errorf("afterwards (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDuplicateKeyNamesTheKey(t *testing.T) {
	s := start(t, t.TempDir())
	c := connect(t, s.URI()).Database("todo").Collection("tasks")
	mustInsert(t, c, doc("_id", "x", "rev", int64(3), "epoch", int64(1)))
	_, err := c.UpdateOne(t.Context(), notNewer("x", 2, 1), set("rev", 2), options.UpdateOne().SetUpsert(true))
	if !mongo.IsDuplicateKeyError(err) {
		t.Errorf("the driver doesn't take it for a duplicate key: %v", err)
	}
	for _, part := range []string{"E11000", "todo.tasks", "_id_", `"x"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: doesn't say %s", err, part)
		}
	}
}

func TestManyUpdatesInOneCommand(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	models := func() (m []mongo.WriteModel) {
		for _, u := range []struct {
			id         string
			rev, epoch int64
		}{{"a", 2, 1}, {"b", 1, 1}, {"new1", 5, 1}, {"c", 3, 1}, {"new2", 6, 1}} {
			m = append(m, mongo.NewUpdateOneModel().SetUpsert(true).
				SetFilter(notNewer(u.id, u.rev, u.epoch)).SetUpdate(set("rev", u.rev, "epoch", u.epoch)))
		}
		return m
	}
	for _, test := range []struct {
		ordered bool
		outcome string
		ids     map[int64]any
		after   string
	}{
		{true, "matched 1 modified 1 upserted 0 error 11000 at 1", map[int64]any{},
			`{"_id":"a","rev":2,"epoch":1}` + "\n" + `{"_id":"b","rev":9,"epoch":1}` + "\n" + `{"_id":"c","rev":1,"epoch":1}`},
		{false, "matched 2 modified 2 upserted 2 error 11000 at 1", map[int64]any{2: "new1", 4: "new2"},
			`{"_id":"a","rev":2,"epoch":1}` + "\n" + `{"_id":"b","rev":9,"epoch":1}` + "\n" + `{"_id":"c","rev":3,"epoch":1}` + "\n" +
				`{"_id":"new1","epoch":1,"rev":5}` + "\n" + `{"_id":"new2","epoch":1,"rev":6}`},
	} {
		t.Run(fmt.Sprint("ordered ", test.ordered), func(t *testing.T) {
			c := db.Collection(fmt.Sprint("many", test.ordered))
			mustInsert(t, c, doc("_id", "a", "rev", int64(1), "epoch", int64(1)),
				doc("_id", "b", "rev", int64(9), "epoch", int64(1)), doc("_id", "c", "rev", int64(1), "epoch", int64(1)))
			r, err := c.BulkWrite(t.Context(), models(), options.BulkWrite().SetOrdered(test.ordered))
			if got := outcome(r.MatchedCount, r.ModifiedCount, r.UpsertedCount, err); got != test.outcome {
				t.Errorf("%s, want %s", got, test.outcome)
			}
			if diff := cmp.Diff(test.ids, r.UpsertedIDs); diff != "" {
				t.Errorf("ids of new documents (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.after, contents(t, c)); diff != "" {
				t.Errorf("afterwards (-want +got):\n%s", diff)
			}
		})
	}
}

// The driver sends document sequences; a command can also hold its statements
// in itself.
func TestStatementsInTheBody(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	mustInsert(t, db.Collection("tasks"), doc("_id", "a", "rev", int64(1)), doc("_id", "b", "rev", int64(1)))
	for _, test := range []struct {
		command bson.D
		want    string
	}{
		{doc("update", "tasks", "updates", bson.A{
			doc("q", doc("_id", "a", "rev", 1), "u", set("rev", int64(2))),
			doc("q", doc("_id", "a", "rev", 1), "u", set("rev", int64(3))),
			doc("q", doc("rev", doc("$lt", 9)), "u", set("seen", true), "multi", true),
		}), `{"n":3,"nModified":3,"ok":1.0}`},
		{doc("delete", "tasks", "deletes", bson.A{
			doc("q", doc("_id", "a", "rev", 1), "limit", 1),
			doc("q", doc("_id", "b", "rev", 1), "limit", 1),
		}), `{"n":1,"ok":1.0}`},
		{doc("update", "tasks", "updates", bson.A{doc("q", doc("_id", "b", "rev", 1), "u", set("rev", 2))}), `{"n":0,"nModified":0,"ok":1.0}`},
	} {
		var got bson.Raw
		if err := db.RunCommand(t.Context(), test.command).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if text(got) != test.want {
			t.Errorf("%s: %s, want %s", text(test.command), text(got), test.want)
		}
	}
}

func TestDelete(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	for i, test := range []struct {
		filter  bson.D
		deleted int64
	}{
		{doc("_id", "x"), 1},
		{doc("_id", "x", "rev", 3), 1},
		{doc("_id", "x", "rev", 2), 0},
		{doc("_id", "y", "rev", 3), 0},
		{doc("_id", "x", "tags", "b"), 1},
		{doc("_id", "x", "tags", "c"), 0},
		{doc("rev", 3), 1},
	} {
		c := db.Collection(fmt.Sprint("delete", i))
		mustInsert(t, c, doc("_id", "x", "rev", int64(3), "tags", bson.A{"a", "b"}))
		r, err := c.DeleteOne(t.Context(), test.filter)
		if err != nil || r.DeletedCount != test.deleted {
			t.Errorf("%s: deleted %+v, %v; want %d", text(test.filter), r, err, test.deleted)
		}
		if left, err := c.CountDocuments(t.Context(), bson.D{}); err != nil || left != 1-test.deleted {
			t.Errorf("%s: %d left, %v", text(test.filter), left, err)
		}
	}
}

func TestFind(t *testing.T) {
	s := start(t, t.TempDir())
	c := connect(t, s.URI()).Database("todo").Collection("tasks")
	oid := bson.ObjectID{1, 2, 3}
	mustInsert(t, c, doc("_id", "b", "rev", 2), doc("_id", "a", "rev", 1), doc("_id", oid, "rev", 3),
		doc("_id", 7, "rev", 4), doc("_id", "tags", "tags", bson.A{"x"}))
	in := func(ids ...any) bson.D { return doc("_id", doc("$in", append(bson.A{}, ids...))) }
	for _, test := range []struct {
		filter bson.D
		opts   *options.FindOptionsBuilder
		want   string
	}{
		{doc("_id", "a"), nil, "a"},
		{doc("_id", doc("$eq", "a")), nil, "a"},
		{doc("_id", "a", "rev", 1), nil, "a"},
		{doc("_id", "a", "rev", 2), nil, ""},
		{doc("_id", "none", "rev", 2), nil, ""},
		{doc("_id", "tags", "tags", "x"), nil, "tags"},
		{doc("_id", "a", "rev", 1), options.Find().SetSkip(1), ""},
		{in(), nil, ""},
		{in("b", "none", "a", "b"), nil, "a b"},
		{in(oid, "b", "a"), nil, "a b " + oid.Hex()},
		{in("b", "a"), options.Find().SetSort(doc("_id", 1)), "a b"},
		{in("b", "a"), options.Find().SetSort(doc("_id", -1)), "b a"},
		{in("b", "a"), options.Find().SetLimit(1).SetSort(doc("_id", 1)), "a"},
		{in("b", "a"), options.Find().SetBatchSize(1).SetSort(doc("_id", 1)), "a b"},
		{in("b", "a"), options.Find().SetSkip(1).SetSort(doc("_id", 1)), "b"},
		{in("b", 7), options.Find().SetSort(doc("_id", -1)), "b 7"},
		{doc("_id", doc("$in", bson.A{"a", "b"}), "rev", 2), nil, "b"},
	} {
		cursor, err := c.Find(t.Context(), test.filter, test.opts)
		if err != nil {
			t.Errorf("%s: %v", text(test.filter), err)
			continue
		}
		var found []struct {
			ID any `bson:"_id"`
		}
		if err := cursor.All(t.Context(), &found); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, f := range found {
			if o, ok := f.ID.(bson.ObjectID); ok {
				f.ID = o.Hex()
			}
			ids = append(ids, fmt.Sprint(f.ID))
		}
		if got := strings.Join(ids, " "); got != test.want {
			t.Errorf("%s: %q, want %q", text(test.filter), got, test.want)
		}
	}
	var only bson.Raw
	projection := options.FindOne().SetProjection(doc("rev", 1, "_id", 0))
	if err := c.FindOne(t.Context(), in("a"), projection).Decode(&only); err != nil || text(only) != `{"rev":1}` {
		t.Errorf("projection: %s, %v", only, err)
	}
}

// Ids are compared as text by SQLite, inside JSON.
func TestStrangeIDs(t *testing.T) {
	s := start(t, t.TempDir())
	c := connect(t, s.URI()).Database("todo").Collection("tasks")
	for _, id := range []string{
		"", " ", `"`, `\`, "'", "a<b>&c", "\n\t", "\x00", "a\x00b", "\x7f", "\u2028", "\ufffd", "\uffff", "Ünï", "😀", "$x", "a.b",
		strings.Repeat("long", 300),
	} {
		mustInsert(t, c, doc("_id", id, "rev", int64(1)))
		r, err := c.UpdateOne(t.Context(), doc("_id", id, "rev", int64(1)), set("rev", int64(2)))
		if err != nil || r.MatchedCount != 1 || r.ModifiedCount != 1 {
			t.Errorf("id %q: update: %+v, %v", id, r, err)
		}
		if err := c.FindOne(t.Context(), doc("_id", doc("$in", bson.A{id}))).Err(); err != nil {
			t.Errorf("id %q: find: %v", id, err)
		}
		if _, err := c.InsertOne(t.Context(), doc("_id", id)); !mongo.IsDuplicateKeyError(err) {
			t.Errorf("id %q: inserted twice: %v", id, err)
		}
	}
}
