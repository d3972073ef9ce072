package embeddedmongo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"
)

const childDir = "EMBEDDEDMONGO_TEST_DIR"

// TestMain is a server, until it is killed, when a test runs it as a child.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func child(dir string) int {
	s, err := Start(context.Background(), Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.URI())
	<-s.Done()
	return 1
}

// startChild starts a server in a process of its own.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	uri, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the child said %q: %v", uri, err)
	}
	return cmd, strings.TrimSpace(uri)
}

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string]int64) // by id, the last revision
	for round := range 3 {
		cmd, uri := startChild(t, dir)
		writeUntilKilled(t, cmd, connect(t, uri).Database("todo").Collection("tasks"), round, acknowledged)
	}
	if len(acknowledged) < 60 {
		t.Fatalf("only %d documents were acknowledged", len(acknowledged))
	}
	c := connect(t, start(t, dir).URI()).Database("todo").Collection("tasks")
	if ids := lost(t, c, acknowledged); len(ids) > 0 {
		t.Errorf("lost: %v", ids)
	}
	acknowledged["0-0-0"] = 3
	acknowledged["never written"] = 1
	if ids := lost(t, c, acknowledged); len(ids) != 2 {
		t.Errorf("the check finds %v, but a revision and a document that never were are missing", ids)
	}
}

// lost returns the ids of those documents that are missing or older than was
// acknowledged.
func lost(t *testing.T, c *mongo.Collection, acknowledged map[string]int64) (ids []string) {
	t.Helper()
	for id, rev := range acknowledged {
		var got struct{ Rev int64 }
		err := c.FindOne(t.Context(), bson.M{"_id": id}).Decode(&got)
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			t.Fatal(err)
		}
		if got.Rev < rev {
			ids = append(ids, id)
		}
	}
	return ids
}

// writeUntilKilled inserts and updates documents from several goroutines,
// kills the server in the middle, and notes what was acknowledged.
func writeUntilKilled(t *testing.T, cmd *exec.Cmd, c *mongo.Collection, round int, acknowledged map[string]int64) {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	enough := make(chan struct{})
	count := 0
	note := func(id string, rev int64) {
		mu.Lock()
		defer mu.Unlock()
		acknowledged[id] = rev
		if count++; count == 100 {
			close(enough)
		}
	}
	for w := range 4 {
		group.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", round, w, n)
				if _, err := c.InsertOne(t.Context(), bson.M{"_id": id, "rev": int64(1)}); err != nil {
					return
				}
				note(id, 1)
				result, err := c.UpdateOne(t.Context(), bson.M{"_id": id, "rev": int64(1)}, set("rev", int64(2)))
				if err != nil {
					return
				}
				if result.MatchedCount != 1 {
					t.Errorf("%s: its own document is not there", id)
					return
				}
				note(id, 2)
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("the writers don't get on")
	}
	if err := cmd.Process.Kill(); err != nil { // SIGKILL
		t.Error(err)
	}
	_ = cmd.Wait()
	group.Wait()
}
