package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A copy of a database has its migration id, and not what is written to the one
// in use from then on: nothing may go on with it, or acknowledged writes would be
// hidden.
func TestCopyIsNotTheDatabaseInUse(t *testing.T) {
	t.Parallel()
	needShell(t)
	s := newSite(t)
	folder := t.TempDir()
	old, copied := filepath.Join(folder, "todo.sqlite"), filepath.Join(folder, "copy.sqlite")
	if err := makeLegacy(old); err != nil {
		t.Fatal(err)
	}
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must("--sqlite", old, "advance", "--until", "1")
	if out, err := exec.Command("sqlite3", old, ".backup "+copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other := []string{copied + " is not " + old, "a copy or another name of it", "leave --old out"}
	s.refused(2, other, "--sqlite", copied, "spawn", "--step", "2")
	s.refused(2, other, "--sqlite", copied, "advance")
	s.must("advance", "--until", "3")
	for _, args := range [][]string{{"spawn", "--step", "4"}, {"backfill"}, {"verify"}, {"verify", "--dry-run"}} {
		s.refused(2, other, append([]string{"--sqlite", copied}, args...)...)
	}
	s.cloneNew("todo", "clone")
	other = []string{"/, clone is another one of the same migration", "leave --new and --mongo-db as they were"}
	for _, args := range [][]string{{"spawn", "--step", "4"}, {"backfill"}, {"verify"}} {
		s.refused(2, other, append([]string{"--mongo-db", "clone"}, args...)...)
	}
	// Another name of the file is refused, too: SQLite keeps a -wal beside each.
	link := filepath.Join(folder, "link.sqlite")
	if err := os.Link(old, link); err != nil {
		t.Fatal(err)
	}
	s.refused(2, []string{"nothing was changed"}, "--sqlite", link, "verify")
	s.must("--mongo-uri", fmt.Sprintf("mongodb://localhost:%d/todo", s.first+39), "backfill")

	// A file may be moved once no instance has it open.
	moved := filepath.Join(folder, "moved.sqlite")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	s.must("stop", "--all", "--yes")
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.refused(2, []string{link + " is not " + old}, "--sqlite", link, "spawn", "--step", "3")
	move(old, moved)
	s.must("--sqlite", moved, "spawn", "--step", "3")
	s.must("switch")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		move(moved+suffix, old+suffix)
	}
	s.refused(2, []string{moved + ", which is no longer there", "migrate", "stop --all --yes"}, "--sqlite", old, "spawn", "--step", "4")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		move(old+suffix, moved+suffix)
	}
	s.must("spawn", "--step", "4")
}

// cloneNew copies one database of the site's embedded server to another.
func (s *site) cloneNew(from, to string) {
	s.t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(fmt.Sprintf("mongodb://127.0.0.1:%d/", s.first+39)))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	defer client.Disconnect(ctx)
	names, err := client.Database(from).ListCollectionNames(ctx, bson.D{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		cursor, err := client.Database(from).Collection(name).Find(ctx, bson.D{})
		if err != nil {
			s.t.Fatal(err)
		}
		var docs []bson.D
		if err := cursor.All(ctx, &docs); err != nil {
			s.t.Fatal(err)
		}
		if len(docs) == 0 {
			continue
		}
		if _, err := client.Database(to).Collection(name).InsertMany(ctx, docs); err != nil {
			s.t.Fatal(err)
		}
	}
}
