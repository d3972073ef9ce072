package orchestrator

import (
	"os"
	"path/filepath"
	"testing"
)

// What belongs to the folder is found below the path that a command has for
// it: the folder was moved, or is mounted elsewhere.
func TestFolderByAnotherPath(t *testing.T) {
	r := newRig(t)
	got := r.spawn(0, 1, "")
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(r.dir, moved); err != nil {
		t.Fatal(err)
	}
	r.dir = moved
	o := r.open()
	st, err := o.Status(t.Context())
	if err != nil || len(st.Instances) != 1 {
		t.Fatalf("%+v, %v", st.Instances, err)
	}
	i := st.Instances[0]
	if i.Told == nil || i.Process != got.Instance.Process || filepath.Dir(i.Log) != o.instanceDir(i.Port) {
		t.Errorf("by the other path it is not found: %+v, %v", i.Instance, i.Reason)
	}
	if o.instanceMark(1) == r.open(func(c *Config) { c.Dir = t.TempDir() }).instanceMark(1) {
		t.Error("instances of two folders have one name")
	}
}
