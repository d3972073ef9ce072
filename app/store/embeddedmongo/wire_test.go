package embeddedmongo

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// FuzzRequest feeds any bytes to what reads a client's messages, and what is
// read to everything that takes commands apart.
func FuzzRequest(f *testing.F) {
	update := raw(f, doc("update", "tasks", "ordered", false, "$db", "todo"))
	upsert := raw(f, doc("q", notNewer("x", 3, 1), "u", set("rev", 3), "upsert", true))
	whole := (&request{body: update, sequences: []sequence{{name: "updates", docs: []bson.Raw{upsert, upsert}}}}).message()
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	for _, command := range []bson.D{
		doc("find", "tasks", "filter", doc("_id", doc("$in", bson.A{"a", bson.ObjectID{1}, "a"})), "$db", "todo"),
		doc("find", "tasks", "filter", doc("_id", "a", "rev", doc("$lt", 2.5), "gone", nil), "$db", "todo"),
		doc("delete", "tasks", "deletes", bson.A{doc("q", doc("_id", doc("$eq", "x"), "done", true), "limit", 1)}, "$db", "todo"),
		doc("hello", 1, "code", bson.CodeWithScope{Code: "x", Scope: doc("a", bson.A{doc()})}, "$db", "admin"),
		doc(),
	} {
		f.Add(newMessage(raw(f, command), 1, 0))
	}
	document := raw(f, doc("_id", "x", "rev", int64(2), "tags", bson.A{"a"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if message, err := readMessage(bytes.NewReader(b)); err == nil &&
			(len(message) != int(parseHeader(message).length) || !bytes.HasPrefix(b, message)) {
			t.Fatalf("read %d bytes of a message of %d", len(message), parseHeader(message).length)
		}
		if len(b) < headerLen {
			return
		}
		message := bytes.Clone(b)
		putHeader(message, 1, 0) // a right length, or hardly any would get further
		req, err := parseRequest(message)
		if err != nil {
			return
		}
		again, err := parseRequest(req.message())
		if err != nil {
			t.Fatalf("put together again it is malformed: %v", err)
		}
		if !bytes.Equal(again.body, req.body) || len(again.sequences) != len(req.sequences) {
			t.Fatal("put together again it is another message")
		}
		if filter, ok := req.body.Lookup("filter").DocumentOK(); ok {
			idList(filter)
			_, rest, _ := splitID(filter)
			rest.match(document)
		}
		for array := range understood {
			docs, _ := req.array(array)
			for _, d := range docs {
				s := parse(array, d)
				s.rest.match(document)
				s.rest.equalities()
			}
		}
	})
}
