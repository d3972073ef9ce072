package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// TestLockIsNamed: a program that keeps the file's lock is named, in either
// mode of the journal.
func TestLockIsNamed(t *testing.T) {
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path, BusyTimeout: 200 * time.Millisecond})
	for _, mode := range []string{"delete", "wal"} {
		if mode == "wal" {
			contact(t, s)
		}
		holder := exec.Command(shell(t), path)
		in, err := holder.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, "BEGIN IMMEDIATE; SELECT 'locked';\n")
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "locked") {
			t.Fatalf("%q, %v", line, err)
		}
		err = s.Writable(context.Background())
		only(t, "a write beside it", err, store.ErrUnavailable)
		if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("sqlite3 (process %d)", holder.Process.Pid)) {
			t.Errorf("%s: the program isn't named: %v", mode, err)
		}
		io.WriteString(in, "COMMIT;\n.quit\n")
		holder.Wait()
		if err := s.Writable(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestReaderThatKeepsItOutOfTheLog is named, and the file is left alone.
func TestReaderThatKeepsItOutOfTheLog(t *testing.T) {
	path := legacy(t, abc)
	reader := exec.Command(shell(t), path)
	in, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		reader.Wait()
	}()
	io.WriteString(in, "BEGIN; SELECT 'reads', count(*) FROM tasks;\n")
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "reads") {
		t.Fatalf("%q, %v", line, err)
	}
	s := open(t, sqlite.Config{Path: path, BusyTimeout: 200 * time.Millisecond})
	_, err = s.FirstContact(context.Background())
	only(t, "first contact", err, store.ErrUnavailable)
	if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("sqlite3 (process %d)", reader.Process.Pid)) {
		t.Errorf("the reader isn't named: %v", err)
	}
	if mode := rows(t, plain(t, path), `PRAGMA journal_mode`); mode != "string:delete" || len(copies(t, path)) != 0 {
		t.Errorf("journal mode %s, copies %v", mode, copies(t, path))
	}
	io.WriteString(in, "COMMIT;\n.quit\n")
	reader.Wait()
	contact(t, s)
}
