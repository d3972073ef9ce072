package embeddedmongo

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// plan asks how a look-up by _id is carried out, after one was: SQLite
// explains from what the connection last knew of the tables.
func plan(t *testing.T, db *mongo.Database, collection string) string {
	t.Helper()
	if err := db.Collection(collection).FindOne(t.Context(), doc("_id", "x")).Err(); err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		t.Fatal(err)
	}
	var reply bson.Raw
	find := doc("find", collection, "filter", doc("_id", "x"))
	if err := db.RunCommand(t.Context(), doc("explain", find)).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return reply.Lookup("queryPlanner").String()
}

func TestLookupsUseAnIndex(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	db := connect(t, s.URI()).Database("todo")
	check := func(collection string) {
		t.Helper()
		if p := plan(t, db, collection); !strings.Contains(p, "SEARCH") {
			t.Errorf("%s: %s", collection, p)
		}
	}
	mustInsert(t, db.Collection("inserted"), doc("_id", "x"))
	check("inserted")
	if _, err := db.Collection("up-serted é").UpdateByID(t.Context(), "x", set("a", 1), options.UpdateOne().SetUpsert(true)); err != nil {
		t.Fatal(err)
	}
	check("up-serted é")
	if err := db.CreateCollection(t.Context(), "created"); err != nil {
		t.Fatal(err)
	}
	check("created")
	if err := db.Collection("inserted").Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, db.Collection("inserted"), doc("_id", "x"))
	check("inserted")
	if err := db.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, db.Collection("inserted"), doc("_id", "x"))
	check("inserted")

	// A command that was refused has made no collection: the next one does.
	refused := doc("createIndexes", "late", "indexes", bson.A{doc("key", doc("a", 1), "name", "a", "partialFilterExpression", doc("a", 1))})
	if err := db.RunCommand(t.Context(), refused).Err(); err == nil {
		t.Fatal("FerretDB takes partial indexes now: refuse something else")
	}
	mustInsert(t, db.Collection("late"), doc("_id", "x"))
	check("late")

	t.Run("bare", func(t *testing.T) { // FerretDB's own index does not serve; once it does, ours can go
		bare := connect(t, s.bareURI()).Database("bare")
		mustInsert(t, bare.Collection("tasks"), doc("_id", "x"))
		if p := plan(t, bare, "tasks"); !strings.Contains(p, "SCAN") {
			t.Errorf("without our index: %s", p)
		}
	})

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db = connect(t, start(t, dir).URI()).Database("todo")
	check("inserted")
}
