package sqlite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// foreignWriter is a program that knows nothing of the migration: it keeps its
// connection, waits for a lock for a second, and says what it has done.
const foreignWriter = `
import sqlite3, sys, time, os, json
path, rows = sys.argv[1], int(sys.argv[2])
c = sqlite3.connect(path, isolation_level=None, timeout=1)
done, failed, longest, n = {}, [], 0, 0
open(path + ".ready", "w").close()
while not os.path.exists(path + ".stop"):
    n += 1
    id = "%08d" % (1 + n * 7919 % rows)
    begun = time.monotonic()
    try:
        if n % 10 == 0:
            c.execute("INSERT INTO tasks VALUES(?,'them','new',0)", ("w%d" % n,))
            done["w%d" % n] = done.get("w%d" % n, 0) + 1
        else:
            c.execute("UPDATE tasks SET description=description||'!' WHERE id=?", (id,))
            done[id] = done.get(id, 0) + 1
    except Exception as e:
        failed.append(str(e))
    longest = max(longest, time.monotonic() - begun)
    time.sleep(0.002)
json.dump({"done": done, "failed": failed, "longest": longest, "writes": n}, sys.stdout)
`

// TestAdoptUnderLoad: a file with a unique id is taken over while a program that
// is patient for one second writes to it. None of its writes fails, and each is
// known to the protocol. How many rows: MIGRATE_ADOPT_ROWS.
func TestAdoptUnderLoad(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("MIGRATE_TEST_ALL") == "1" {
			t.Fatal("python3 is not installed")
		}
		t.Skip("LEFT OUT: python3 is not installed")
	}
	rows := 30_000
	if n, err := strconv.Atoi(os.Getenv("MIGRATE_ADOPT_ROWS")); err == nil {
		rows = n
	}
	path := filepath.Join(t.TempDir(), "todo.sqlite")
	db := plain(t, path)
	if _, err := db.Exec(fmt.Sprintf(`PRAGMA synchronous=OFF; CREATE TABLE tasks(id text primary key, assignee text, description text, done boolean);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
		INSERT INTO tasks SELECT printf('%%08d',i),'user '||(i%%5000),'something to do that is described at some length '||i,i%%2 FROM n`, rows)); err != nil {
		t.Fatal(err)
	}
	db.Close()
	writer := exec.Command(python, "-c", foreignWriter, path, strconv.Itoa(rows))
	answer := make(chan []byte, 1)
	go func() {
		out, err := writer.Output()
		if err != nil {
			t.Errorf("the program: %v", err)
		}
		answer <- out
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path + ".ready"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the program doesn't start")
		}
	}
	s := open(t, sqlite.Config{Path: path, BusyTimeout: time.Minute})
	begun := time.Now()
	a, err := s.Adopt(context.Background(), store.AdoptOptions{})
	took := time.Since(begun)
	if werr := os.WriteFile(path+".stop", nil, 0o600); werr != nil {
		t.Fatal(werr)
	}
	var said struct {
		Done    map[string]int64
		Failed  []string
		Longest float64
		Writes  int
	}
	if jerr := json.Unmarshal(<-answer, &said); jerr != nil || err != nil {
		t.Fatalf("%v, %v", jerr, err)
	}
	t.Logf("%d rows taken over in %v, while another program made %d writes: %d failed, the longest took %.0f ms; we held the file for %v at most",
		rows, took.Round(time.Millisecond), said.Writes, len(said.Failed), said.Longest*1000, a.Waited.Round(time.Microsecond))
	if len(said.Failed) > 0 || said.Writes == 0 {
		t.Errorf("%d writes, and these failed: %.300v", said.Writes, said.Failed)
	}
	checkTakenOver(t, s, rows, said.Done)
}

// checkTakenOver checks that every change since the take-over is known: a record
// that has changed is pending, and its text tells how often it did at least.
func checkTakenOver(t *testing.T, s *sqlite.Store, rows int, done map[string]int64) {
	t.Helper()
	if err := s.Filled(t.Context()); err != nil {
		t.Error(err)
	}
	records, known := 0, 0
	for after := record.ID(""); ; {
		page, _, err := s.Scan(t.Context(), after, 5000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			records++
			id := r.ID.String()
			if r.Pending {
				known++
			}
			changes := done[id]
			if id[0] == 'w' {
				changes--
			}
			if (r.Rev > 1 || r.Epoch > 0) != r.Pending || r.Rev > 1+changes {
				t.Fatalf("%s is at %v, pending %v, after %d changes", id, r.Pair, r.Pending, changes)
			}
			delete(done, id)
		}
		if page.End {
			break
		}
		after = page.Next
	}
	if records < rows || known == 0 || len(done) > 0 {
		t.Errorf("%d records of %d rows, %d with changes, %d writes lost", records, rows, known, len(done))
	}
}
