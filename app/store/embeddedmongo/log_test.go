package embeddedmongo

import (
	"os"
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// logSize is the size of the log of the database "todo".
func logSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "todo.sqlite-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// grow updates one document until the log has reached a size, and returns the
// largest that it had. An update adds 12 kB.
func grow(t *testing.T, c *mongo.Collection, dir string, updates int) (most int64) {
	t.Helper()
	for n := range updates {
		if _, err := c.UpdateOne(t.Context(), doc("_id", "x"), set("n", n)); err != nil {
			t.Fatal(err)
		}
		most = max(most, logSize(t, dir))
	}
	return most
}

// However many updates come, and no insert among them, the log stays small.
func TestLogIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	mustInsert(t, tasks, doc("_id", "x"))
	const updates = 4 * maxLog / 12_000
	most := grow(t, tasks, dir, updates)
	if most < maxLog/2 {
		t.Fatalf("the log had %d bytes at most: this proves nothing", most)
	}
	if most > maxLog+maxLog/4 {
		t.Errorf("the log grew to %d bytes, want about %d", most, maxLog)
	}
	var left struct{ N int }
	if err := tasks.FindOne(t.Context(), doc("_id", "x")).Decode(&left); err != nil || left.N != updates-1 {
		t.Errorf("the last update left %d, %v; want %d", left.N, err, updates-1)
	}
}

// A cursor that is open meanwhile goes on, and fails nobody; once it is closed
// the log is begun anew.
func TestLogUnderAnOpenCursor(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	docs := []any{doc("_id", "x")}
	for range 200 {
		docs = append(docs, doc("_id", bson.NewObjectID()))
	}
	mustInsert(t, tasks, docs...)
	cursor, err := tasks.Find(t.Context(), doc(), options.Find().SetBatchSize(10))
	if err != nil {
		t.Fatal(err)
	}
	const updates = 3 * maxLog / 2 / 12_000
	if most := grow(t, tasks, dir, updates); most <= maxLog {
		t.Fatalf("the log had %d bytes at most: no cursor was open", most)
	}
	seen := 0
	for cursor.Next(t.Context()) {
		seen++
	}
	if err := cursor.Err(); err != nil || seen != len(docs) {
		t.Errorf("the cursor gave %d documents of %d, %v", seen, len(docs), err)
	}
	grow(t, tasks, dir, updates)
	if size := logSize(t, dir); size > maxLog {
		t.Errorf("once the cursor is closed the log still has %d bytes", size)
	}
}
