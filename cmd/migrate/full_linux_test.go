package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// smallDisk mounts a small disk. Where this user may not mount, the test says
// so and is left out.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("this user may not mount: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room that is left, to the last byte.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full keeps nobody from going back: state and journal have room
// that was kept aside, once and again, and it is there anew when the disk has
// room again.
func TestRollbackOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, "64m")
	s := newSite(t)
	s.dir = filepath.Join(disk, "state")
	s.env = append(s.env, "MIGRATE_DIR="+s.dir)
	s.must("nginx", "start")
	for range 2 {
		s.must("spawn", "--step", "1")
		s.must("switch")
	}
	reserve := func() int {
		parts, err := filepath.Glob(filepath.Join(s.dir, "reserve", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(parts)
	}
	all := reserve()
	for round := range 3 {
		live := s.first + 1 - round%2
		filler := filepath.Join(disk, "filler"+strconv.Itoa(round))
		fill(t, filler)
		s.must("rollback")
		var st struct {
			Live       int
			Unfinished any
		}
		s.json(&st, "status")
		if st.Live == live || st.Unfinished != nil {
			t.Errorf("round %d: live %d, unfinished %v", round, st.Live, st.Unfinished)
		}
		if left := reserve(); left == all || left == 0 {
			t.Errorf("round %d: of the %d parts of the reserve there are %d", round, all, left)
		}
	}
	fillers, err := filepath.Glob(filepath.Join(disk, "filler*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, filler := range fillers {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	s.must("rollback")
	if left := reserve(); left != all {
		t.Errorf("with room again, the reserve has %d parts of %d", left, all)
	}
}
