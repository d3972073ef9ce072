package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

const contactVariable = "MIGRATE_SQLITE_TEST_CONTACT"

// TestMain lets the tests start this program as another process that makes first contact.
func TestMain(m *testing.M) {
	path := os.Getenv(contactVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path, Create: true, BusyTimeout: time.Minute, Collections: tasks()})
	if err == nil {
		var c sqlite.Contact
		c, err = s.FirstContact(context.Background())
		fmt.Println(c.Migration, c.Fresh)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func contactProcess(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), contactVariable+"="+path)
	return cmd
}

func TestRacingFirstContacts(t *testing.T) {
	insert := `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000)
		INSERT INTO tasks SELECT 'task '||(i%2900),'Bill','x',0 FROM n`
	for _, path := range []string{legacy(t, insert), filepath.Join(dir(t), "todo.sqlite")} {
		var (
			mu      sync.Mutex
			group   sync.WaitGroup
			answers []string
		)
		for range 4 {
			group.Go(func() {
				out, err := contactProcess(t, path).CombinedOutput()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				answers = append(answers, strings.TrimSpace(string(out)))
			})
			group.Go(func() {
				s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path, Create: true, BusyTimeout: time.Minute, Collections: tasks()})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				c, err := s.FirstContact(context.Background())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				answers = append(answers, fmt.Sprint(c.Migration, " ", c.Fresh))
			})
		}
		group.Wait()
		s := open(t, sqlite.Config{Path: path})
		f, err := s.Fence(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		firsts := 0
		for _, a := range answers {
			switch a {
			case f.Migration + " true":
				firsts++
			case f.Migration + " false":
			default:
				t.Errorf("an answer is %q, the migration %s", a, f.Migration)
			}
		}
		wantRecords, wantCopies := 0, 0
		if strings.Contains(rows(t, plain(t, path), `SELECT count(*) FROM sqlite_master WHERE name='migrate_tasks.repeated'`), "int64:1") {
			wantRecords, wantCopies = 2900, 1
		}
		if got := scan(t, s); firsts != 1 || len(got) != wantRecords || len(copies(t, path)) != wantCopies {
			t.Errorf("%d were first; %d records, copies %v", firsts, len(got), copies(t, path))
		}
	}
}

// TestFirstContactKilled kills processes that make first contact, each a little
// later than the one before: what is left is a file that is as it was, or one
// that the next contact completes.
func TestFirstContactKilled(t *testing.T) {
	path := legacy(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000)
		INSERT INTO tasks SELECT printf('%06d',i%19990),'Bill','x',0 FROM n`)
	before, after, through := 0, 0, false
	for n := 0; !through; n++ {
		cmd := contactProcess(t, path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(n)*10*time.Millisecond, func() { cmd.Process.Kill() })
		through = cmd.Wait() == nil
		kill.Stop()
		s := open(t, sqlite.Config{Path: path})
		_, err := s.Fence(context.Background())
		if err == nil {
			err = s.Guarded(context.Background())
			after++
		} else if errors.Is(err, store.ErrStranger) {
			before++
			err = nil
		}
		if err != nil {
			t.Fatalf("after kill %d: %v", n, err)
		}
		s.Close()
	}
	if before == 0 || after < 2 {
		t.Errorf("%d kills before the fence was there, %d after", before, after)
	}
	s := open(t, sqlite.Config{Path: path})
	if err := errors.Join(s.Filled(context.Background()), s.Guarded(context.Background())); err != nil {
		t.Error(err)
	}
	if _, n, err := s.Quarantine(context.Background(), 1); n != 10 || err != nil {
		t.Errorf("%d rows in quarantine, %v", n, err)
	}
	got := scan(t, s)
	for id, r := range got {
		if r.Pair != (store.Pair{Rev: 1}) || r.Pending {
			t.Fatalf("%s is at %v", id, r.Pair)
		}
	}
	if len(got) != 19_990 || rows(t, plain(t, path), `SELECT count(*) FROM migrate_tasks`) != "int64:19990" {
		t.Errorf("%d records", len(got))
	}
}

// TestFirstContactFails: half a contact is none, and its copy isn't needed.
func TestFirstContactFails(t *testing.T) {
	path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','repeated',0)`, `CREATE TABLE migrate_tasks(theirs)`)
	before := rows(t, plain(t, path), `SELECT * FROM tasks`) + rows(t, plain(t, path), `SELECT name FROM sqlite_master`)
	s := open(t, sqlite.Config{Path: path})
	c, err := s.FirstContact(context.Background())
	only(t, "first contact", err, store.ErrUnsuited)
	if c != (sqlite.Contact{}) || len(copies(t, path)) != 0 {
		t.Errorf("%+v, copies %v", c, copies(t, path))
	}
	if after := rows(t, plain(t, path), `SELECT * FROM tasks`) + rows(t, plain(t, path), `SELECT name FROM sqlite_master`); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
	if _, err := plain(t, path).Exec(`DROP TABLE migrate_tasks`); err != nil {
		t.Fatal(err)
	}
	if c := contact(t, s); c.Copy == "" || c.Rows != 3 || c.Quarantined != 1 {
		t.Errorf("%+v", c)
	}
}

// TestFirstContactGivenUp: one that couldn't get the lock leaves nothing behind.
func TestFirstContactGivenUp(t *testing.T) {
	path := legacy(t, abc, `PRAGMA journal_mode=WAL`)
	db := plain(t, path)
	if _, err := db.Exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	s := open(t, sqlite.Config{Path: path, BusyTimeout: 100 * time.Millisecond})
	if c, err := s.FirstContact(context.Background()); !errors.Is(err, store.ErrUnavailable) || c != (sqlite.Contact{}) {
		t.Errorf("under a lock: %+v, %v", c, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	patient := open(t, sqlite.Config{Path: path})
	if c, err := patient.FirstContact(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) || c != (sqlite.Contact{}) {
		t.Errorf("within 50 ms: %+v, %v", c, err)
	}
	if found := copies(t, path); len(found) != 0 {
		t.Errorf("left behind: %v", found)
	}
	if _, err := db.Exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	contact(t, s)
}
