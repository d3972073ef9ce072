package embeddedmongo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// unheldValues are legal in MongoDB, and FerretDB can't hold them.
func unheldValues(t *testing.T) map[string]any {
	t.Helper()
	decimal, err := bson.ParseDecimal128("1.5")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"NaN": math.NaN(), "infinity": math.Inf(1), "-infinity": math.Inf(-1), "-0": math.Copysign(0, -1), "decimal": decimal,
		"nested arrays": bson.A{bson.A{1}}, "$ key": doc("$a", 1), "dotted key": doc("a.b", 1), "a reference": doc("$ref", "x", "$id", 1),
		"MinKey": bson.MinKey{}, "MaxKey": bson.MaxKey{}, "symbol": bson.Symbol("x"), "undefined": bson.Undefined{},
		"JavaScript": bson.JavaScript("x"), "scope": bson.CodeWithScope{Code: "x", Scope: doc()},
		"pointer": bson.DBPointer{DB: "x"}, "not UTF-8": "a\xffb", "the same key twice": bson.D{{Key: "a", Value: 1}, {Key: "a", Value: 2}},
	}
}

// sequenced moves an array of a command into a section of kind 1, as drivers do.
func sequenced(t *testing.T, command bson.D, array string) []byte {
	t.Helper()
	var docs []bson.Raw
	body := bson.D{}
	for _, e := range command {
		if e.Key != array {
			body = append(body, e)
			continue
		}
		for _, d := range e.Value.(bson.A) {
			docs = append(docs, raw(t, d))
		}
	}
	message := newMessage(raw(t, body), 7, 0)
	start := len(message) + 1
	message = append(append(message, 1, 0, 0, 0, 0), array...)
	message = append(message, 0)
	for _, d := range docs {
		message = append(message, d...)
	}
	binary.LittleEndian.PutUint32(message[start:], uint32(len(message)-start))
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	return message
}

// Each value that can't be held is refused in words, wherever it stands in a
// write, by body and by document sequence; the connection goes on, and nothing
// was changed.
func TestUnheldValuesAreRefused(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	kept := doc("_id", "kept", "v", "as it was", "list", bson.A{"x"})
	mustInsert(t, tasks, kept)
	for name, bad := range unheldValues(t) {
		for place, v := range map[string]any{"itself": bad, "deep": doc("a", bson.A{doc("b", doc("c", bad))})} {
			statement := func(u bson.D) bson.A { return bson.A{doc("q", doc("_id", "kept"), "u", u)} }
			upsert := func(q, u bson.D) bson.A { return bson.A{doc("q", q, "u", u, "upsert", true)} }
			commands := map[string]bson.D{
				"insert":      doc("insert", "tasks", "documents", bson.A{doc("_id", "new", "v", v)}),
				"replace":     doc("update", "tasks", "updates", statement(doc("v", v))),
				"set":         doc("update", "tasks", "updates", statement(set("v", v))),
				"set by path": doc("update", "tasks", "updates", statement(set("v.w", v))),
				"push":        doc("update", "tasks", "updates", statement(doc("$push", doc("list", v)))),
				"push each":   doc("update", "tasks", "updates", statement(doc("$push", doc("list", doc("$each", bson.A{1, v}))))),
				"add":         doc("update", "tasks", "updates", statement(doc("$addToSet", doc("list", v)))),
				"upsert":      doc("update", "tasks", "updates", upsert(doc("_id", "new", "rev", 1), doc("$setOnInsert", doc("v", v)))),
				"seed":        doc("update", "tasks", "updates", upsert(doc("_id", "new", "v", doc("$eq", v)), set("w", 1))),
				"modify":      doc("findAndModify", "tasks", "query", doc("_id", "kept"), "update", set("v", v)),
				"modify seed": doc("findAndModify", "tasks", "query", doc("_id", "new", "v", doc("$eq", v)), "update", set("w", 1), "upsert", true),
				"modify all":  doc("findAndModify", "tasks", "query", doc("_id", "kept"), "update", doc("v", v)),
			}
			for how, command := range commands {
				command = append(command, bson.E{Key: "$db", Value: "todo"})
				messages := map[string][]byte{"body": newMessage(raw(t, command), 7, 0)}
				if array := arrays[command[0].Key]; array != "" {
					messages["sequence"] = sequenced(t, command, array)
				}
				for form, message := range messages {
					conn := dial(t, s.Addr())
					reply := exchange(t, conn, message)
					code, text := refusal(reply)
					if code != codeCannotStore || !strings.Contains(text, "the embedded server can't hold") {
						t.Errorf("%s, %s, %s, %s: %s", name, place, how, form, reply)
					}
					if !succeeded(exchange(t, conn, newMessage(raw(t, doc("ping", 1, "$db", "todo")), 8, 0))) {
						t.Errorf("%s, %s, %s, %s: the connection does not go on", name, place, how, form)
					}
				}
			}
		}
	}
	var all []bson.D
	cursor, err := tasks.Find(t.Context(), doc())
	if err == nil {
		err = cursor.All(t.Context(), &all)
	}
	if err != nil || len(all) != 1 || !bytes.Equal(raw(t, all[0]), raw(t, kept)) {
		t.Errorf("left in the collection: %v, %v", all, err)
	}
}

// refusal is the code and the text of a command's error or of its first
// statement's.
func refusal(reply bson.Raw) (int64, string) {
	if first, ok := reply.Lookup("writeErrors", "0").DocumentOK(); ok && succeeded(reply) {
		reply = first
	}
	code, _ := reply.Lookup("code").AsInt64OK()
	text, _ := reply.Lookup("errmsg").StringValueOK()
	return code, text
}

// One statement that is refused fails no other, nor any before it.
func TestUnheldValueAmongOthers(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	docs := []any{doc("_id", "a"), doc("_id", "b", "v", math.NaN()), doc("_id", "c"), doc("_id", "d", "v", doc("a.b", 1)), doc("_id", "a")}
	var bulk mongo.BulkWriteException
	_, err := tasks.InsertMany(t.Context(), docs)
	if !errors.As(err, &bulk) || len(bulk.WriteErrors) != 1 || bulk.WriteErrors[0].Index != 1 || bulk.WriteErrors[0].Code != codeCannotStore {
		t.Errorf("ordered: %v", err)
	}
	if n, err := tasks.CountDocuments(t.Context(), doc()); n != 1 || err != nil {
		t.Errorf("ordered: %d documents, %v; want the one before", n, err)
	}
	_, err = tasks.InsertMany(t.Context(), docs, options.InsertMany().SetOrdered(false))
	var at []string
	if errors.As(err, &bulk) {
		for _, e := range bulk.WriteErrors {
			at = append(at, fmt.Sprint(e.Index, " ", e.Code))
		}
	}
	if got, want := fmt.Sprint(at), "[0 11000 1 121 3 121 4 11000]"; got != want {
		t.Errorf("unordered: %s, want %s (%v)", got, want, err)
	}
	models := []mongo.WriteModel{
		mongo.NewUpdateOneModel().SetFilter(doc("_id", "a", "rev", doc("$exists", false))).SetUpdate(set("rev", 1)),
		mongo.NewUpdateOneModel().SetFilter(doc("_id", "c")).SetUpdate(set("rev", math.Inf(1))),
		mongo.NewUpdateOneModel().SetFilter(doc("_id", "c")).SetUpdate(set("rev", 2)),
		mongo.NewDeleteOneModel().SetFilter(doc("_id", "a", "v", math.NaN())),
	}
	result, err := tasks.BulkWrite(t.Context(), models, options.BulkWrite().SetOrdered(false))
	at = nil
	if errors.As(err, &bulk) {
		for _, e := range bulk.WriteErrors {
			at = append(at, fmt.Sprint(e.Index, " ", e.Code))
		}
	}
	if got, want := fmt.Sprint(at, result.MatchedCount), "[1 121 3 2] 2"; got != want {
		t.Errorf("updates: %s, want %s (%v)", got, want, err)
	}
}

// A command that can't be read is refused in words, too.
func TestUnreadableCommandsAreRefused(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	mustInsert(t, db.Collection("tasks"), doc("_id", "a", "v", 1))
	for _, bad := range []any{math.NaN(), bson.MinKey{}, bson.JavaScript("x")} {
		for _, command := range []bson.D{
			doc("find", "tasks", "filter", doc("v", doc("$gt", bad))),
			doc("aggregate", "tasks", "cursor", doc(), "pipeline", bson.A{doc("$match", doc("v", bad))}),
			doc("count", "tasks", "query", doc("v", bad)),
			doc("distinct", "tasks", "key", "v", "query", doc("v", bad)),
			doc("findAndModify", "tasks", "query", doc("v", bad), "remove", true),
			doc("ping", 1, "comment", bad),
			doc("hello", 1, "comment", bad),
		} {
			err := db.RunCommand(t.Context(), command).Err()
			var refused mongo.CommandError
			if !errors.As(err, &refused) || refused.Code != codeBadValue || !strings.Contains(refused.Message, "the embedded server can't read") {
				t.Errorf("%v: %v", command, err)
			}
		}
	}
}

// What commands themselves say with dollar signs and dots goes through, and so
// does everything that can be held or be asked for.
func TestLegalCommandsGoThrough(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.URI()).Database("todo")
	mustInsert(t, db.Collection("tasks"), doc("_id", "a", "v", doc("w", 1), "list", bson.A{doc("x", bson.A{1})}, "n", 0.0))
	by := func(u any) bson.A { return bson.A{doc("q", doc("_id", "a"), "u", u)} }
	for n, command := range []bson.D{
		doc("insert", "tasks", "documents", bson.A{doc("_id", "b", "-$", 1, "a$b", doc("", 1), "s", "\x00😀", "big", math.MaxFloat64, "min", int64(math.MinInt64))}),
		doc("update", "tasks", "updates", by(set("v.w", 2, "list.0.x", bson.A{3})), "$readPreference", doc("mode", "primary")),
		doc("update", "tasks", "updates", by(doc("$push", doc("list", doc("$each", bson.A{doc("y", 1)}))))),
		doc("update", "tasks", "updates", by(doc("$pull", doc("list", doc("y", doc("$gte", 1)))))),
		doc("update", "tasks", "updates", by(doc("$unset", doc("v.w", "")))),
		doc("update", "tasks", "updates", by(doc("$inc", doc("n", -1)))),
		doc("update", "tasks", "updates", bson.A{doc("q", doc("$and", bson.A{doc("_id", "c"), doc("v.w", doc("$exists", false))}), "u", doc("$setOnInsert", doc("n", 1)), "upsert", true)}),
		doc("findAndModify", "tasks", "query", doc("$or", bson.A{doc("_id", "a"), doc("n", math.Inf(1))}), "update", set("n", 5)),
		doc("find", "tasks", "filter", doc("$or", bson.A{doc("v.w", 1), doc("n", doc("$lt", math.Inf(1)))})),
		doc("find", "tasks", "filter", doc("n", math.Copysign(0, -1))),
		doc("aggregate", "tasks", "cursor", doc(), "pipeline", bson.A{doc("$match", doc("v.w", doc("$ne", 3))), doc("$group", doc("_id", nil, "n", doc("$sum", 1)))}),
		doc("delete", "tasks", "deletes", bson.A{doc("q", doc("v.w", doc("$in", bson.A{7})), "limit", 0)}),
		doc("createIndexes", "tasks", "indexes", bson.A{doc("key", doc("v.w", 1), "name", "by_w")}),
	} {
		reply, err := db.RunCommand(t.Context(), command).Raw()
		if err != nil || !succeeded(reply) {
			t.Errorf("%d, %s: %v, %s", n, command[0].Key, err, reply)
		}
	}
}

// FerretDB takes such a name of a field at the top, and can't read the collection
// ever again. In a document within they do no harm.
func TestNamesThatBreakACollectionAreRefused(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	mustInsert(t, tasks, doc("_id", "kept", "v", 1))
	for _, name := range []string{`a"b`, `a\b`, `a\u0062`, "a\nb", "\x01", `"`} {
		upsert := options.UpdateOne().SetUpsert(true)
		_, inserted := tasks.InsertOne(t.Context(), doc("_id", "new", name, 1))
		_, replaced := tasks.ReplaceOne(t.Context(), doc("_id", "kept"), doc(name, 1))
		_, updated := tasks.UpdateOne(t.Context(), doc("_id", "kept"), set(name, 1))
		_, deeper := tasks.UpdateOne(t.Context(), doc("_id", "kept"), set(name+".x", 1))
		_, renamed := tasks.UpdateOne(t.Context(), doc("_id", "kept"), doc("$rename", doc("v", name)))
		_, upserted := tasks.UpdateOne(t.Context(), doc("_id", "new", name, 1), set("v", 1), upsert)
		modified := tasks.FindOneAndUpdate(t.Context(), doc("_id", "kept"), set(name, 1)).Err()
		for how, err := range map[string]error{
			"insert": inserted, "replace": replaced, "set": updated, "set in it": deeper, "rename": renamed, "upsert": upserted, "modify": modified,
		} {
			if err == nil || !strings.Contains(err.Error(), "the embedded server can't hold a field whose name") {
				t.Errorf("%q, %s: %v", name, how, err)
			}
		}
		inner := doc("_id", "inner "+name, "v", doc(name, doc(name, "x")))
		mustInsert(t, tasks, inner)
		got, err := tasks.FindOne(t.Context(), doc("_id", "inner "+name)).Raw()
		if err != nil || !bytes.Equal(got, raw(t, inner)) {
			t.Errorf("%q within: %v, %v", name, got, err)
		}
	}
	if got, err := tasks.FindOne(t.Context(), doc("_id", "kept")).Raw(); err != nil || !bytes.Equal(got, raw(t, doc("_id", "kept", "v", 1))) {
		t.Errorf("what was there: %v, %v", got, err)
	}
}
