package nginx_test

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
)

// bindMount shows a folder at a second place. Where this user may not mount,
// the test says so and is left out.
func bindMount(t *testing.T, dir string) string {
	place := t.TempDir()
	err := syscall.Mount(dir, place, "", syscall.MS_BIND, "")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("this user may not mount: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(place, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return filepath.Clean(place)
}
