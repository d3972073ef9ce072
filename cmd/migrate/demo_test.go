package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/cmd/migrate/demo"
)

// The whole job, as a newcomer sees it, and again with one line of the ledger
// altered, which must be noticed.
func TestDemo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	out, errs, code := s.run("demo", "--keep")
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	t.Logf("\n%s", out)
	last := regexp.MustCompile(`(?m)^acknowledged (\d+), lost 0, stale 0, failed 0$`).FindStringSubmatch(out)
	if last == nil {
		t.Fatalf("no last line as it should be:\n%s", out)
	}
	var acknowledged int
	if fmt.Sscan(last[1], &acknowledged); acknowledged < demo.MinChecked {
		t.Errorf("%d acknowledged writes, at least %d wanted", acknowledged, demo.MinChecked)
	}
	if rows := regexp.MustCompile(`(?m)^[1-8] +[a-z]`).FindAllString(out, -1); len(rows) != 9 {
		t.Errorf("%d rows, want 9:\n%s", len(rows), out)
	}
	for _, words := range []string{"/static/taskProducer.html", "press Start", "no way back to step 7", "migrate stop --all"} {
		if !strings.Contains(errs, words) {
			t.Errorf("--keep does not say how to look: no %q in\n%s", words, errs)
		}
	}
	var st struct {
		Live      int
		Instances []struct{ Port, Step int }
	}
	s.json(&st, "status")
	if st.Live != s.first+8 || len(st.Instances) != 1 || st.Instances[0].Step != 8 {
		t.Errorf("what is kept: %+v", st)
	}
	for _, name := range []string{"todo.sqlite", "todo.sqlite-wal"} {
		if _, err := os.Stat(filepath.Join(s.dir, "data", name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}

	ledger := filepath.Join(s.dir, "ledger.jsonl")
	s.must("load", "--check", ledger, "--min", fmt.Sprint(demo.MinChecked))
	s.refused(7, []string{"migrate verify"}, "load", "--check", ledger, "--min", "1000000")
	whole, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	if err := alter(ledger); err != nil {
		t.Fatal(err)
	}
	s.refused(7, nil, "load", "--check", ledger)
	if err := os.WriteFile(ledger+".kept", whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(2, []string{"kept", "migrate stop --all"}, "demo")
	s.refused(2, []string{"kept"}, "demo", "--as-published")
	s.must("load", "--check", filepath.Join(s.dir, "ledger.jsonl.kept"), "--min", fmt.Sprint(demo.MinChecked)) // as it was
}

// A demonstration refuses a folder that is not its own, and leaves it alone:
// in the end it would remove it.
func TestDemoLeavesARealFolderAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	thesis := filepath.Join(s.dir, "thesis.txt")
	if err := errors.Join(os.MkdirAll(s.dir, 0o700), os.WriteFile(thesis, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.refused(2, []string{"not empty"}, "demo")
	if err := os.Remove(thesis); err != nil {
		t.Errorf("what was in the folder: %v", err)
	}
	s.must("mongo", "start", "--mongo-listen", fmt.Sprintf("127.0.0.1:%d", s.first+37))
	for _, args := range [][]string{{"demo"}, {"demo", "--as-published"}} {
		s.refused(2, []string{"real migration"}, args...)
	}
	s.must("mongo", "status")
}

// alter changes the description in one acknowledged write in the middle.
func alter(ledger string) error {
	b, err := os.ReadFile(ledger)
	if err != nil {
		return err
	}
	lines := strings.Split(string(b), "\n")
	for i := len(lines) / 2; i < len(lines); i++ {
		var e struct{ Op, Outcome, Description string }
		if json.Unmarshal([]byte(lines[i]), &e) != nil || e.Op != "patch" || e.Outcome != "acked" || e.Description == "" {
			continue
		}
		if altered := strings.Replace(lines[i], e.Description, "altered", 1); altered != lines[i] { // JSON may escape it
			lines[i] = altered
			return os.WriteFile(ledger, []byte(strings.Join(lines, "\n")), 0o600)
		}
	}
	return errors.New("no acknowledged patch to alter")
}

// The demonstration itself notices: exit code 7. What there is to look at
// stays, with nothing running, until the next one comes by.
func TestDemoNoticesAnAlteredLedger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var out, errs strings.Builder
	g := &globals{Dir: s.dir, Listen: strings.TrimPrefix(s.url(), "http://"), First: s.first, Quiet: true, out: &out, err: &errs, self: s.bin}
	err := runDemo(t.Context(), g, demoOptions{mongoListen: fmt.Sprintf("127.0.0.1:%d", s.first+39), beforeCheck: alter})
	if !errors.Is(err, demo.ErrDiffers) || exitCode(err) != 7 {
		t.Fatalf("got %v (exit %d), want exit 7\n%s", err, exitCode(err), &out)
	}
	g.report(err)
	for _, words := range []string{"nothing runs", s.dir, "migrate history", "ledger.jsonl"} {
		if !strings.Contains(errs.String(), words) {
			t.Errorf("the error does not mention %q:\n%s", words, &errs)
		}
	}
	s.portsFree("after the failure")
	for _, name := range []string{"ledger.jsonl", "journal.jsonl", filepath.Join("instances", fmt.Sprint(s.first+4), "log")} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil {
			t.Errorf("it is not there to be looked at: %v", err)
		}
	}
	s.must("history")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, errs, _ := s.runContext(ctx, "demo"); !strings.Contains(errs, "removing what it left") {
		t.Errorf("the next one does not say that it removes the folder:\n%s", errs)
	}
	s.gone("after the next one")
}

// All of them at once, each with its flag.
func TestDemoNamesTakenPorts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var words []string
	for port, flag := range map[int]string{s.first + 3: "--first-port", s.first + 8: "--first-port", s.first + 38: "--nginx-listen", s.first + 39: "--mongo-listen"} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		words = append(words, fmt.Sprintf("127.0.0.1:%d (%s), address already in use", port, flag))
	}
	s.refused(2, words, "demo")
	s.gone("with ports taken")
}

// Before anything moved there is nothing to look at, and nothing stays.
func TestDemoWithoutNginx(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_NGINX="+filepath.Join(t.TempDir(), "nginx"))
	s.refused(1, []string{"not installed", "apt-get install nginx"}, "demo")
	s.gone("without nginx")
	s.portsFree("without nginx")
}

// One that runs is told from one that was kept, and one that was killed is
// ended by the next.
func TestDemoBesideAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := exec.Command(s.bin, "demo")
	first.Env = s.env
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer first.Process.Kill()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(s.dir, "ledger.jsonl")); err == nil {
			break // it walks
		}
		if time.Now().After(end) {
			t.Fatal("the first one does not get to its load")
		}
	}
	s.refused(2, []string{"is running", fmt.Sprintf("process %d", first.Process.Pid)}, "demo")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, errs, _ := s.runContext(ctx, "demo"); !strings.Contains(errs, "cut off") {
		t.Errorf("the next one does not say that it ends what was left:\n%s", errs)
	}
	s.gone("after the next one")
	s.portsFree("after the next one")
}

// An interrupt at any moment leaves nothing behind.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, after := range []time.Duration{50 * time.Millisecond, time.Second, 3 * time.Second, 6 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		out, errs, code := s.runContext(ctx, "demo")
		cancel()
		if _, err := os.Stat(s.dir); code == -1 && errors.Is(err, os.ErrNotExist) {
			continue // on a busy machine the interrupt came before the program had begun
		}
		if code != 1 || !strings.Contains(errs, "interrupted") {
			t.Fatalf("after %v: exit %d, want 1 and that it was interrupted\n%s%s", after, code, out, errs)
		}
		s.gone(fmt.Sprintf("after %v", after))
		s.portsFree(fmt.Sprintf("after %v", after))
	}
}

func (s *site) gone(when string) {
	s.t.Helper()
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		s.t.Errorf("%s: the folder is still there: %v", when, err)
	}
}

func (s *site) portsFree(when string) {
	s.t.Helper()
	for _, port := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 38, 39} {
		if err := syscallFree(s.first + port); err != nil {
			s.t.Errorf("%s: %v", when, err)
		}
	}
}

func syscallFree(port int) error {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err == nil {
		c.Close()
	}
	return fmt.Errorf("port %d still answers (%v)", port, err)
}

// The same with PostgreSQL in either place, on a server of the demonstration's own,
// of which nothing is left.
func TestDemoOfPostgreSQL(t *testing.T) {
	for _, place := range []string{"--new", "--old"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.refused(2, []string{"kept running"}, "demo", place, "postgres", "--keep")
			s.refused(2, []string{"as it is usually built"}, "demo", place, "postgres", "--as-published")
			out, errs, code := s.run("demo", place, "postgres")
			if code != 0 {
				t.Fatalf("exit %d\n%s%s", code, out, errs)
			}
			if !regexp.MustCompile(`(?m)^acknowledged \d{4,}, lost 0, stale 0, failed 0$`).MatchString(out) {
				t.Errorf("no last line as it should be:\n%s", out)
			}
			dir := regexp.MustCompile(`PostgreSQL server in (\S+)`).FindStringSubmatch(errs)
			if dir == nil {
				t.Fatalf("it does not say where its server is:\n%s", errs)
			}
			if _, err := os.Stat(dir[1]); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", dir[1], err)
			}
		})
	}
	s := newSite(t)
	s.refused(2, []string{"migrate demo --old postgres"}, "demo", "--old", "postgres://127.0.0.1/mine")
	s.refused(2, []string{"--old"}, "status", "--old", "postgres")
}
