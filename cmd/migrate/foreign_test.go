package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// alien is something that the plain sqlite3 shell does at a step, which # is
// in the text. Each one matches rows of its own under every step: a statement
// that matches none reports success under any fence.
type alien struct {
	name, sql string
	fails     bool // before the primary moves, too
}

var aliens = []alien{
	{"insert by position", `INSERT INTO tasks VALUES('in-#','Ann','inserted at #',0)`, false},
	{"insert rows", `INSERT INTO tasks VALUES('many-#-1','Bob','it''s ☃',0),('many-#-2','Bob','',1)`, false},
	{"insert by name", `INSERT INTO tasks(description,id,done,assignee) VALUES('named at #','named-#',1,'Ann')`, false},
	{"replace", `REPLACE INTO tasks VALUES('rep-#','Cid','replaced at #',1)`, false},
	{"replace a new one", `INSERT OR REPLACE INTO tasks VALUES('fresh-#','Cid','came at #',0)`, false},
	{"update rows", `UPDATE tasks SET description=description||', # was here', done=NOT done WHERE id LIKE 'upd-#-_'`, false},
	{"update what the service made", `UPDATE tasks SET assignee='Dot' WHERE description LIKE 'by the service at %'`, false},
	{"change an id", `UPDATE tasks SET id='to-#' WHERE id='from-#'`, false},
	{"change ids", `UPDATE tasks SET id=id||'-moved' WHERE id LIKE 'mov-#-_'`, false},
	{"change an id to another's", `UPDATE OR REPLACE tasks SET id='won-#' WHERE id='one-#'`, false},
	{"delete", `DELETE FROM tasks WHERE id='del-#'`, false},
	{"delete rows", `DELETE FROM tasks WHERE id LIKE 'des-#-_'`, false},
	{"delete and insert", `DELETE FROM tasks WHERE id='rev-#'; INSERT INTO tasks VALUES('rev-#','Eve','revived at #',0)`, false},
	{"a transaction", `BEGIN IMMEDIATE; UPDATE tasks SET done=1 WHERE id='tra-#'; INSERT INTO tasks VALUES('trb-#','Eve','with it',0); COMMIT`, false},
	{"insert an id that is taken", `INSERT INTO tasks VALUES('tra-#','Eve','again',0)`, true},
	{"change an id to one that is taken", `UPDATE tasks SET id='tra-#' WHERE id='keep-#'`, true},
	{"insert no id", `INSERT INTO tasks VALUES(NULL,'Eve','nameless',0)`, true},
	{"half a transaction", `BEGIN IMMEDIATE; DELETE FROM tasks WHERE id='keep-#'; INSERT INTO tasks VALUES('tra-#','Eve','again',0); COMMIT`, true},
	// Last, since it makes pending all that others left as it was.
	{"update them all", `UPDATE tasks SET description=description||' #'`, false},
}

// at is the text for a step.
func (a alien) at(step int) string { return strings.ReplaceAll(a.sql, "#", fmt.Sprint(step)) }

// shell runs statements in the plain sqlite3 program.
func shell(t *testing.T, file, statements string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", "-cmd", ".timeout 30000", file, statements)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 1) {
		t.Fatalf("sqlite3 %s: %v: %s", statements, err, &stderr)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &stderr)
	}
	return stdout.String(), err
}

// mustShell wants exit code 0.
func mustShell(t *testing.T, file, statements string) string {
	t.Helper()
	out, err := shell(t, file, statements)
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	return out
}

// rows is every row that others see, and what the service keeps beside it,
// but for whether it is copied, which changes by itself.
func rows(t *testing.T, file string) string {
	t.Helper()
	return mustShell(t, file, `SELECT rowid,quote(id),quote(assignee),quote(description),quote(done) FROM tasks ORDER BY rowid;
		SELECT quote(k1),rev,epoch,deleted FROM migrate_tasks ORDER BY k1`)
}

// twin is a file that no service knows. The shell does there what it was
// granted beside the service, so that SQLite says what must come of it.
type twin struct {
	t    *testing.T
	file string
	gone map[string]bool // ids that were there once
	now  map[string]seenTask
}

type seenTask struct {
	Assignee, Description string
	Done                  bool
}

// do repeats statements, and reports whether they changed anything.
func (w *twin) do(statements string) (changed bool) {
	w.t.Helper()
	mustShell(w.t, w.file, statements)
	db, err := sql.Open("sqlite", "file:"+w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(w.t.Context(), `SELECT id, assignee, description, done FROM tasks`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer found.Close()
	before := w.now
	w.now = map[string]seenTask{}
	for found.Next() {
		var id string
		var s seenTask
		if err := found.Scan(&id, &s.Assignee, &s.Description, &s.Done); err != nil {
			w.t.Fatal(err)
		}
		w.now[id] = s
		changed = changed || before[id] != s
	}
	if err := found.Err(); err != nil {
		w.t.Fatal(err)
	}
	for id := range before {
		if _, there := w.now[id]; !there {
			w.gone[id], changed = true, true
		}
	}
	return changed
}

// check wants of the service what is in the twin: each task by its id, no
// other in the list of all, and none under an id that was given up.
func (w *twin) check(where string, b *browser) {
	w.t.Helper()
	var all []struct {
		ID string
		seenTask
	}
	if err := json.Unmarshal(b.do("GET", "/tasks?done=all", nil, 200), &all); err != nil {
		w.t.Fatal(err)
	}
	listed := map[string]seenTask{}
	for _, task := range all {
		listed[task.ID] = task.seenTask
	}
	for id, want := range w.now {
		var got seenTask
		if err := json.Unmarshal(b.do("GET", "/tasks/"+id, nil, 200), &got); err != nil || got != want {
			w.t.Errorf("%s: %s is %+v (%v), want %+v", where, id, got, err, want)
		}
		if listed[id] != want {
			w.t.Errorf("%s: %s is listed as %+v, want %+v", where, id, listed[id], want)
		}
	}
	if len(all) != len(w.now) {
		w.t.Errorf("%s: %d tasks are listed, want %d", where, len(all), len(w.now))
	}
	for id := range w.gone {
		if _, back := w.now[id]; !back {
			b.do("GET", "/tasks/"+id, nil, 404)
		}
	}
}

// The plain sqlite3 program goes on writing to the old database at steps 1 to
// 5. What it was granted is in the new one once the old one is gone; what it
// was refused changed nothing.
func TestForeignShellThroughTheWalk(t *testing.T) {
	t.Parallel()
	needShell(t)
	s := newSite(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "todo.sqlite")
	lay := `CREATE TABLE tasks(id text, assignee text, description text, done boolean);`
	for step := 1; step <= 5; step++ {
		for _, id := range []string{"rep-#", "upd-#-1", "upd-#-2", "upd-#-3", "from-#", "mov-#-1", "mov-#-2", "one-#", "won-#",
			"del-#", "des-#-1", "des-#-2", "rev-#", "tra-#", "keep-#"} {
			id = strings.ReplaceAll(id, "#", fmt.Sprint(step))
			lay += fmt.Sprintf("INSERT INTO tasks VALUES('%s','Ann','from before, %s',%d);", id, id, len(id)%2)
		}
	}
	mustShell(t, file, lay)
	w := &twin{t: t, file: filepath.Join(dir, "twin.sqlite"), gone: map[string]bool{}}
	w.do(lay + `CREATE UNIQUE INDEX one ON tasks(id)`) // as first contact makes it, or REPLACE would only insert

	s.startMongo()
	s.must("nginx", "start")
	b := &browser{t, s.url(), map[string]string{}}
	granted, refused := 0, 0
	for step := 1; step <= 5; step++ {
		s.must("advance", "--until", fmt.Sprint(step), "--backfill", "--sqlite", file)
		if got := b.step(); got != step {
			t.Fatalf("served by step %d, want %d", got, step)
		}
		if step < 5 { // from then on the old database may get it later
			var made struct{ ID string }
			description := fmt.Sprintf("by the service at %d", step)
			if err := json.Unmarshal(b.do("POST", "/tasks", url.Values{"assignee": {"Ann"}, "description": {description}}, 201), &made); err != nil {
				t.Fatal(err)
			}
			w.do(fmt.Sprintf("INSERT INTO tasks VALUES('%s','Ann','%s',0)", made.ID, description))
		}
		if step == 3 || step == 4 { // new has them as they were, and must not keep them so
			s.must("backfill")
		}
		before := rows(t, file)
		for _, a := range aliens {
			what, statements := fmt.Sprintf("step %d, %s", step, a.name), a.at(step)
			_, err := shell(t, file, statements)
			after := rows(t, file)
			was := before
			before = after
			if step < 5 && !a.fails {
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if !w.do(statements) || after == was {
					t.Errorf("%s: it changed nothing, and so proves nothing", what)
				}
				granted++
				continue
			}
			refused++
			if err == nil {
				t.Errorf("%s: it was let", what)
			} else if !a.fails && !strings.Contains(err.Error(), "writes have moved to the new database") {
				t.Errorf("%s: it is refused without the reason: %v", what, err)
			}
			if after != was {
				t.Errorf("%s: it was refused, yet\n%s\nbecame\n%s", what, was, after)
			}
		}
		w.check(fmt.Sprintf("step %d", step), b)
	}
	s.must("advance", "--until", "8", "--backfill")
	if got := b.step(); got != 8 {
		t.Fatalf("served by step %d, want 8", got)
	}
	w.check("step 8", b)
	t.Logf("granted %d, refused %d; %d tasks are there, %d ids are gone", granted, refused, len(w.now), len(w.gone))
	if granted == 0 || refused == 0 {
		t.Errorf("granted %d, refused %d: want some of both", granted, refused)
	}
}
