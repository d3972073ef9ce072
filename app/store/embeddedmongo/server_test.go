package embeddedmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// start runs a server for the length of the test.
func start(t testing.TB, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// connect returns a driver's client for the length of the test.
func connect(t testing.TB, uri string) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(t.Context()) })
	return client
}

func TestServerKeepsDataAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	if _, err := tasks.InsertOne(t.Context(), bson.D{{"_id", "a"}, {"rev", int64(1)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	tasks = connect(t, s.URI()).Database("todo").Collection("tasks")
	var got bson.D
	if err := tasks.FindOne(t.Context(), bson.D{{"_id", "a"}}).Decode(&got); err != nil {
		t.Fatal(err)
	}
}
