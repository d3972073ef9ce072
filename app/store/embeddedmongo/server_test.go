package embeddedmongo

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

// bareURI leads to FerretDB past the gatekeeper.
func (s *Server) bareURI() string { return "mongodb://" + url.PathEscape(s.socket) + "/" }

// connect returns a driver's client for the length of the test.
func connect(t testing.TB, uri string) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetRetryWrites(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(t.Context()) }) // over by then: it waits for no server
	return client
}

// doc makes a document of keys and values in turn.
func doc(pairs ...any) bson.D {
	d := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		d = append(d, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return d
}

func set(pairs ...any) bson.D { return doc("$set", doc(pairs...)) }

func mustInsert(t testing.TB, c *mongo.Collection, docs ...any) {
	t.Helper()
	if _, err := c.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
}

func TestDataOutlivesServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	s := start(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v; want it for this user only", info, err)
	}
	mustInsert(t, connect(t, s.URI()).Database("todo").Collection("tasks"), doc("_id", "a", "rev", int64(1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after Close")
	}
	tasks := connect(t, start(t, dir).URI()).Database("todo").Collection("tasks")
	if err := tasks.FindOne(t.Context(), doc("_id", "a")).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if _, err := Start(t.Context(), Config{Dir: dir, Listen: "127.0.0.1:0"}); !errors.Is(err, ErrDirInUse) {
		t.Errorf("same folder: %v, want ErrDirInUse", err)
	}
	other := t.TempDir()
	_, err := Start(t.Context(), Config{Dir: other, Listen: s.Addr()})
	if err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("same port: %v, want an error that names it", err)
	}
	if _, err := Start(t.Context(), Config{}); err == nil {
		t.Error("no folder: no error")
	}
	start(t, other) // nothing is held by the attempt that failed
}

func TestLongFolderName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	s := start(t, dir)
	mustInsert(t, connect(t, s.URI()).Database("todo").Collection("tasks"), doc("_id", "a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(s.socket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is left: %v", err)
	}
}

// swap hammers one document with compare-and-swaps until it has seen rounds
// revisions, and returns how many swaps succeeded at each.
func hammer(t *testing.T, c *mongo.Collection, writers, rounds int) []int64 {
	t.Helper()
	mustInsert(t, c, doc("_id", "x", "rev", int64(0), "epoch", int64(1)))
	wins := make([]atomic.Int64, rounds+1)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for rev := int64(0); rev < int64(rounds); {
				result, err := c.UpdateOne(t.Context(),
					doc("_id", "x", "rev", rev, "epoch", int64(1)),
					set("rev", rev+1, "writer", w))
				if err != nil {
					t.Errorf("swap: %v", err)
					return
				}
				if result.MatchedCount == 1 {
					wins[rev+1].Add(1)
				}
				var now struct{ Rev int64 }
				if err := c.FindOne(t.Context(), doc("_id", "x")).Decode(&now); err != nil {
					t.Errorf("read: %v", err)
					return
				}
				rev = now.Rev
			}
		})
	}
	group.Wait()
	counts := make([]int64, rounds)
	for i := range counts {
		counts[i] = wins[i+1].Load()
	}
	return counts
}

// doubles counts the revisions that were not won exactly once.
func doubles(wins []int64) (n int) {
	for _, w := range wins {
		if w != 1 {
			n++
		}
	}
	return n
}

func TestOneWinnerPerRevision(t *testing.T) {
	s := start(t, t.TempDir())
	c := connect(t, s.URI()).Database("todo").Collection("tasks")
	if wins := hammer(t, c, 8, 150); doubles(wins) > 0 {
		t.Errorf("swaps that succeeded at each revision: %v, want 1", wins)
	}
}

// Without the gatekeeper the same hammer finds revisions that were won twice:
// what the test above can see, and why the gatekeeper is there.
func TestBareServerLosesSwaps(t *testing.T) {
	s := start(t, t.TempDir())
	db := connect(t, s.bareURI()).Database("todo")
	for round := range 20 {
		if n := doubles(hammer(t, db.Collection(fmt.Sprint("tasks", round)), 8, 150)); n > 0 {
			t.Logf("round %d: %d of 150 revisions not won exactly once", round, n)
			return
		}
	}
	t.Error("FerretDB lost no swap in 20 rounds: if it is atomic by now, the gatekeeper can go")
}
