package mongo_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"migrate/app/store"
	"migrate/app/store/embeddedmongo"
	"migrate/app/store/mongo"
	"migrate/app/store/storetest"
	"migrate/app/task"
)

type taskStore = mongo.Store[task.Task, task.Filter]

// serverURI is a real server if one is given, else the embedded one.
var (
	serverURI string
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	serverURI = os.Getenv("MIGRATE_TEST_MONGO_URI")
	if serverURI == "" {
		dir, err := os.MkdirTemp("", "mongo-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		server, err := embeddedmongo.Start(context.Background(), embeddedmongo.Config{Dir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Close()
		serverURI = server.URI()
	}
	before := goleak.IgnoreCurrent()
	code := m.Run()
	if err := goleak.Find(before); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func filter(f task.Filter) bson.D {
	d := bson.D{}
	if f.Assignee != "" {
		d = append(d, bson.E{Key: "assignee", Value: f.Assignee})
	}
	if f.Done != nil {
		d = append(d, bson.E{Key: "done", Value: *f.Done})
	}
	return d
}

// freshDatabase names a database that is dropped after the test, and returns
// a plain client for looking at it.
func freshDatabase(t *testing.T) (string, *driver.Database) {
	t.Helper()
	name := fmt.Sprintf("migrate_test_%d_%d", os.Getpid(), databases.Add(1))
	client, err := driver.Connect(options.Client().ApplyURI(serverURI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := client.Database(name).Drop(ctx); err != nil {
			t.Errorf("drop %s: %v", name, err)
		}
		if err := client.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return name, client.Database(name)
}

func open(t *testing.T, uri, database string, timeout time.Duration) *taskStore {
	t.Helper()
	s, err := mongo.Open[task.Task, task.Filter](t.Context(), mongo.Config[task.Filter]{
		URI: uri, Database: database, Filter: filter, ListKeys: []string{"assignee", "done"}, Timeout: timeout,
	})
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

func fresh(t *testing.T) (*taskStore, *driver.Database) {
	t.Helper()
	name, db := freshDatabase(t)
	return open(t, serverURI, name, time.Minute), db
}

func TestStore(t *testing.T) {
	storetest.RunNew(t, func(t *testing.T) store.New[task.Task, task.Filter] {
		s, _ := fresh(t)
		return s
	})
}
