package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const nobody = 65534

// guest has a site whose program and folder another user can walk to.
func guest(t *testing.T) (s *site, as func(uid uint32, args ...string) (string, int)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be two users")
	}
	s = newSite(t)
	top, err := os.MkdirTemp("", "migrate-guest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	program, err := os.ReadFile(s.bin)
	if err == nil {
		bin := filepath.Join(top, "migrate")
		err = errors.Join(os.Chmod(top, 0o755), os.WriteFile(bin, program, 0o755),
			os.Chmod(bin, 0o755), // whatever the umask is: a command that another test runs in this process may have set it
			os.Mkdir(filepath.Join(top, "state"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.bin, s.dir = filepath.Join(top, "migrate"), filepath.Join(top, "state")
	s.env = append(s.env, "MIGRATE_DIR="+s.dir, "HOME="+top)
	t.Cleanup(func() { s.run("stop", "--all", "--yes") })
	return s, func(uid uint32, args ...string) (string, int) {
		cmd := exec.Command(s.bin, args...)
		cmd.Env, cmd.Dir = s.env, top
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
}

// Commands that root runs in somebody's folder leave nothing of root's there:
// the owner goes on with every command, and ends what root has started.
func TestRootLeavesTheFolderToItsOwner(t *testing.T) {
	s, as := guest(t)
	if err := os.Chown(s.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	must := func(uid uint32, args ...string) {
		t.Helper()
		if out, code := as(uid, args...); code != 0 {
			t.Fatalf("user %d: migrate %s: exit %d\n%s", uid, strings.Join(args, " "), code, out)
		}
	}
	must(nobody, "nginx", "start")
	must(0, "mongo", "start")
	for range 2 {
		must(0, "spawn", "--step", "1")
		must(0, "switch")
	}
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s is user %d's", path, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	must(nobody, "status")
	must(nobody, "history")
	must(nobody, "doctor")
	must(nobody, "rollback")
	must(nobody, "spawn", "--step", "1")
	must(nobody, "switch")
	must(nobody, "stop", "--all", "--yes")
}

// Who may read the folder, and no more, sees what there is to see, and changes
// nothing.
func TestReadersMayLook(t *testing.T) {
	s, as := guest(t)
	s.must("nginx", "start")
	s.must("spawn", "--step", "1")
	s.must("switch")
	if out, err := exec.Command("chmod", "-R", "a+rX", s.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := listing(t, s.dir)
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"history"}} {
		if out, code := as(nobody, args...); code != 0 || strings.Contains(out, "migrate:") {
			t.Errorf("migrate %s: exit %d\n%s", strings.Join(args, " "), code, out)
		}
	}
	out, code := as(nobody, "doctor")
	if code > 1 || !strings.Contains(out, "this user may only look") || !strings.Contains(out, "nginx takes the configuration") {
		t.Errorf("doctor: exit %d\n%s", code, out)
	}
	if after := listing(t, s.dir); after != before {
		t.Errorf("looking has changed the folder; before:\n%s\nafter:\n%s", before, after)
	}
}

// listing names every file below a folder, with what would show a change; logs
// and what the databases keep beside their files are left out.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || strings.Contains(path, "log") || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-wal") {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
