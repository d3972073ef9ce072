package orchestrator

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Root gives the folder's owner what is in the folder, and not a file of root's
// that the owner has given another name there.
func TestHandOverGivesNothingElseAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const nobody = 65534
	r := newRig(t)
	o := r.open()
	elsewhere := filepath.Join(t.TempDir(), "secret")
	inside := filepath.Join(r.dir, "sub", "file")
	if err := errors.Join(os.WriteFile(elsewhere, nil, 0o600), os.MkdirAll(filepath.Dir(inside), 0o700), os.WriteFile(inside, nil, 0o600),
		os.Link(elsewhere, filepath.Join(r.dir, "sub", "linked")), os.Symlink(elsewhere, filepath.Join(r.dir, "sub", "symbolic")),
		os.Chown(r.dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	if err := o.HandOver(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{inside: nobody, filepath.Dir(inside): nobody, filepath.Join(r.dir, "sub", "symbolic"): nobody, elsewhere: 0} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to user %d, want %d", path, got, want)
		}
	}
}
