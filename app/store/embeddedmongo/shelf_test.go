package embeddedmongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"pgregory.net/rapid"
)

// shelvedIDs are those that FerretDB has no look-up for.
var shelvedIDs = []any{
	int64(0), int64(-1), int64(1<<63 - 1), int64(-1 << 63), int32(7), bson.Binary{Subtype: 4, Data: make([]byte, 16)},
	bson.Binary{Subtype: 4, Data: []byte("<&>0123456789abc")}, bson.Binary{},
	doc("shop", "a", "number", int64(5)), doc("number", int64(5), "shop", "a"), doc("shop", "<\x00\"é\u2028>", "number", int64(-5)),
	doc("of", bson.Binary{Subtype: 4, Data: make([]byte, 16)}),
}

var (
	deepValue = rapid.OneOf(
		anyValue,
		rapid.SampledFrom([]any{
			int64(1<<63 - 1), int64(1<<53 + 1), 1e300, 5e-324, 0.1, 1e21, "\x00", "<&>\u2028\ufffd\"\\/", "{\"$s\":1}", bson.DateTime(1_900_000_000_123), bson.DateTime(-1),
			bson.Binary{Subtype: 4, Data: make([]byte, 16)}, bson.Binary{}, bson.D{}, bson.A{}, bson.A{nil, int32(1), "x"}, doc("$k", 1.5)[:0],
			doc("a", doc("_id", int64(1), "b", bson.A{doc("c", nil)})), // FerretDB moves an _id to the front
		}),
	)
	deepDocument = rapid.Custom(func(t *rapid.T) bson.D {
		d := doc("_id", rapid.SampledFrom(shelvedIDs).Draw(t, "id"))
		for n := range rapid.IntRange(0, 4).Draw(t, "fields") {
			key := fmt.Sprint(rapid.SampledFrom([]string{"a", "é", "s", "t", "<p>"}).Draw(t, "key"), n)
			d = append(d, bson.E{Key: key, Value: deepValue.Draw(t, "value")})
		}
		return d
	})
)

// What FerretDB has written is read from its file as it gives it out, and what
// is put into its file it gives out again.
func TestShelfAgreesWithBackend(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	bare := connect(t, s.bareURI()).Database("todo").Collection("tasks")
	onShelf := newShelf(dir)
	defer func() {
		if err := onShelf.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		stored := deepDocument.Draw(t, "stored")
		if _, err := bare.DeleteMany(ctx, bson.D{}); err != nil {
			t.Fatal(err)
		}
		if _, err := bare.InsertOne(ctx, stored); err != nil {
			t.Fatal(err)
		}
		given, err := bare.FindOne(ctx, bson.D{}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		found, err := onShelf.find(ctx, "todo", "tasks", given.Lookup("_id"))
		if err != nil || !bytes.Equal(found, given) {
			t.Fatalf("the file says %s, %v; FerretDB says %s", found, err, given)
		}
		other := deepDocument.Draw(t, "other")
		other[0] = stored[0]
		want, err := bson.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		if err := onShelf.replace(ctx, "todo", "tasks", want); err != nil {
			t.Fatal(err)
		}
		if given, err = bare.FindOne(ctx, bson.D{}).Raw(); err != nil || !bytes.Equal(given, want) {
			t.Fatalf("FerretDB says %s, %v; the file got %s", given, err, bson.Raw(want))
		}
	})
}

// An update of a document by such an _id does through the gatekeeper what it does
// past it.
func TestShelvedUpdatesAgreeWithBackend(t *testing.T) {
	s := start(t, t.TempDir())
	bare := connect(t, s.bareURI()).Database("todo").Collection("bare")
	gated := connect(t, s.URI()).Database("todo").Collection("gated")
	ctx := t.Context()
	paths := rapid.SampledFrom([]string{"a", "b", "n", "n.rev", "n.x.y", "a.b", "z"})
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom(shelvedIDs).Draw(t, "id")
		stored := append(doc("_id", id, "n", doc("rev", int64(3), "epoch", int64(1))), storedDocument.Draw(t, "stored")[1:]...)
		upsert, there := rapid.Bool().Draw(t, "upsert"), rapid.Bool().Draw(t, "there")
		filter := doc("_id", id)
		// FerretDB alone gives a new document nothing of an $and, as MongoDB does.
		if rapid.Bool().Draw(t, "more") && (there || !upsert) {
			filter = append(filter, bson.E{Key: rapid.SampledFrom([]string{"$and", "$or"}).Draw(t, "op"), Value: conditions.Draw(t, "conditions")})
		}
		if rapid.Bool().Draw(t, "rev") {
			filter = append(filter, bson.E{Key: "n.rev", Value: rapid.Int64Range(2, 3).Draw(t, "expected")})
		}
		change := bson.D{}
		for _, path := range rapid.SliceOfNDistinct(paths, 1, 2, rapid.ID[string]).Draw(t, "paths") {
			change = append(change, bson.E{Key: path, Value: deepValue.Draw(t, "to")})
		}
		var outcomes, contents [2]string
		for n, c := range []*mongo.Collection{bare, gated} {
			if _, err := c.DeleteMany(ctx, bson.D{}); err != nil {
				t.Fatal(err)
			}
			docs := []any{doc("_id", "another", "a", 1)}
			if there {
				docs = append(docs, stored)
			}
			if _, err := c.InsertMany(ctx, docs); err != nil {
				t.Fatal(err)
			}
			r, err := c.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: change}}, options.UpdateOne().SetUpsert(upsert))
			if r == nil {
				r = &mongo.UpdateResult{}
			}
			outcomes[n] = outcome(r.MatchedCount, r.ModifiedCount, r.UpsertedCount, err)
			contents[n] = sorted(t, c)
		}
		if there && upsert && outcomes[0] != outcomes[1] {
			// FerretDB alone, asked for an upsert, may insert beside what did not match, and fails.
			t.Skip("not what MongoDB does")
		}
		if outcomes[0] != outcomes[1] || contents[0] != contents[1] {
			t.Fatalf("%s of %s, upsert %v, there %v\nbare:  %s\n%s\ngated: %s\n%s", text(change), text(filter), upsert, there, outcomes[0], contents[0], outcomes[1], contents[1])
		}
	})
}

// sorted returns what a collection holds, each document's fields in order.
func sorted(t *rapid.T, c *mongo.Collection) string {
	cursor, err := c.Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []map[string]any
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(docs)
}

// Documents are found by such ids in every way that a store asks.
func TestFindByShelvedIDs(t *testing.T) {
	s := start(t, t.TempDir())
	c := connect(t, s.URI()).Database("todo").Collection("tasks")
	for n, id := range shelvedIDs {
		mustInsert(t, c, doc("_id", id, "n", n))
		if _, err := c.InsertOne(t.Context(), doc("_id", id)); !mongo.IsDuplicateKeyError(err) {
			t.Errorf("_id %v: inserted twice: %v", id, err)
		}
	}
	count := func(filter bson.D, opts ...options.Lister[options.FindOptions]) (numbers []int) {
		t.Helper()
		cursor, err := c.Find(t.Context(), filter, opts...)
		if err != nil {
			t.Fatalf("%s: %v", text(filter), err)
		}
		var found []struct{ N int }
		if err := cursor.All(t.Context(), &found); err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			numbers = append(numbers, f.N)
		}
		return numbers
	}
	for n, id := range shelvedIDs {
		for _, filter := range []bson.D{doc("_id", id), doc("_id", doc("$eq", id)), doc("_id", id, "n", n), doc("_id", doc("$in", bson.A{id}))} {
			if got := count(filter); len(got) != 1 || got[0] != n {
				t.Errorf("%s finds %v, want %d", text(filter), got, n)
			}
		}
		if got := count(doc("_id", id, "n", -1)); len(got) != 0 {
			t.Errorf("_id %v and another n finds %v", id, got)
		}
		if got := count(doc("_id", id), options.Find().SetSkip(1)); len(got) != 0 {
			t.Errorf("_id %v, skipped, finds %v", id, got)
		}
	}
	if got := count(doc("_id", doc("$in", append(bson.A{int64(99), "none"}, shelvedIDs...)))); len(got) != len(shelvedIDs) {
		t.Errorf("$in finds %d of %d", len(got), len(shelvedIDs))
	}
	if got := count(doc("_id", doc("$in", bson.A{int64(0), int32(7), int64(-1)})), options.Find().SetSort(doc("_id", 1))); fmt.Sprint(got) != "[1 0 4]" {
		t.Errorf("$in of numbers, sorted: %v", got)
	}
	// A text that looks like the UUID's is another _id.
	if got := count(doc("_id", "AAAAAAAAAAAAAAAAAAAAAA==")); len(got) != 0 {
		t.Errorf("a text finds the UUID: %v", got)
	}
	// Once the collection is gone, nothing of it is remembered.
	if err := c.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count(doc("_id", int64(0))); len(got) != 0 {
		t.Errorf("after drop: %v", got)
	}
	mustInsert(t, c, doc("_id", int64(0), "n", 100))
	if got := count(doc("_id", int64(0))); fmt.Sprint(got) != "[100]" {
		t.Errorf("after drop and insert: %v", got)
	}
	if err := c.Database().Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, c, doc("_id", int64(0), "n", 200))
	if got := count(doc("_id", int64(0))); fmt.Sprint(got) != "[200]" {
		t.Errorf("after dropDatabase and insert: %v", got)
	}
}

// spy notes the commands that go to the backend.
type spy struct {
	net.Conn
	sent chan<- string
}

func (s spy) Write(b []byte) (int, error) {
	if req, err := parseRequest(b); err == nil {
		s.sent <- req.command()
	}
	return s.Conn.Write(b)
}

// FerretDB, which would read the whole collection, is not asked for a document
// with such an _id, nor to change it.
func TestShelvedIDsAreNotAskedOfTheBackend(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan string, 10_000)
	quiet := slog.New(slog.DiscardHandler)
	gate := &gatekeeper{
		dial: func() (net.Conn, error) {
			conn, err := net.Dial("unix", s.socket)
			return spy{conn, sent}, err
		},
		logger: quiet, shelf: newShelf(dir),
		indexes: idIndexes{dir: dir, logger: quiet, seen: map[string]bool{}},
		logs:    logs{dir: dir, logger: quiet, most: maxLog, tried: map[string]int64{}},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- gate.serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, gate.shelf.close()); err != nil {
			t.Error(err)
		}
	})
	c := connect(t, "mongodb://"+listener.Addr().String()+"/").Database("todo").Collection("tasks")
	for n, id := range shelvedIDs {
		mustInsert(t, c, doc("_id", id, "m", doc("rev", int64(1)), "n", n))
	}
	asked := func() (commands []string) {
		for len(sent) > 0 {
			switch command := <-sent; command {
			case "find", "update", "insert":
				commands = append(commands, command)
			}
		}
		return commands
	}
	if got := asked(); len(got) != len(shelvedIDs) {
		t.Fatalf("the spy saw %v", got)
	}
	for _, id := range shelvedIDs {
		r, err := c.UpdateOne(t.Context(), doc("_id", id, "m.rev", int64(1)), set("m", doc("rev", int64(2))))
		if err != nil || r.ModifiedCount != 1 {
			t.Errorf("update of %v: %+v, %v", id, r, err)
		}
		r, err = c.UpdateOne(t.Context(), doc("_id", id, "$or", bson.A{doc("m.rev", doc("$lt", int64(2)))}), set("m.rev", int64(2)), options.UpdateOne().SetUpsert(true))
		if !mongo.IsDuplicateKeyError(err) {
			t.Errorf("upsert of %v, which is not older: %+v, %v", id, r, err)
		}
		if err := c.FindOne(t.Context(), doc("_id", id)).Err(); err != nil {
			t.Errorf("find of %v: %v", id, err)
		}
	}
	if err := c.FindOne(t.Context(), doc("_id", doc("$in", append(bson.A{}, shelvedIDs...)))).Err(); err != nil {
		t.Error(err)
	}
	if got := asked(); len(got) > 0 {
		t.Errorf("the backend was asked: %v", got)
	}
}
