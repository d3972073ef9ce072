package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log that a program writes all the time is rotated under its hands. The file
// stays small, no more old ones are kept than were asked for and, where the
// file system can cut off a beginning, no line is lost or twice.
func TestShrinkUnderItsWriter(t *testing.T) {
	const lines, most, keep = 200000, 256 << 10, 50
	id, log := start(t, "sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do echo "line $i"; i=$((i+1)); done; echo end`, lines))
	rounds := 0
	for id.Alive() {
		if err := Shrink(log, most, keep); err != nil {
			t.Fatal(err)
		}
		rounds++
	}
	var all bytes.Buffer
	kept := 0
	for n := keep; n >= 0; n-- {
		path := log
		if n > 0 {
			path = fmt.Sprintf("%s.%d", log, n)
		}
		b, err := os.ReadFile(path)
		if err == nil && n > 0 {
			kept++
		}
		all.Write(b)
	}
	if kept < 3 {
		t.Fatalf("%d files were kept in %d rounds: nothing was rotated under its hands", kept, rounds)
	}
	if info, err := os.Stat(log); err != nil || info.Size() > 2*most {
		t.Errorf("the log itself has not become small: %v, %v", info, err)
	}
	got := strings.Split(strings.TrimSpace(all.String()), "\n")
	if got[len(got)-1] != "end" {
		t.Errorf("it ends with %q", got[len(got)-1])
	}
	if !cutsOff(t, filepath.Dir(log)) {
		t.Logf("this file system can't cut off a beginning: %d of %d lines were lost", lines+1-len(got), lines+1)
		return
	}
	if len(got) != lines+1 {
		t.Fatalf("%d lines, want %d", len(got), lines+1)
	}
	for n, line := range got[:lines] {
		if line != fmt.Sprint("line ", n) {
			t.Fatalf("line %d is %q", n, line)
		}
	}
}

// Where nothing can be cut off, the file is copied and emptied; older ones move on.
func TestShrinkKeepsAFew(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"one", "two", "three", "four"} {
		if err := os.WriteFile(log, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second finds nothing to do
			if err := Shrink(log, 2, 2); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range map[string]string{"log": "", "log.0": "", "log.1": "four", "log.2": "three", "log.3": ""} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(log), name))
		if string(b) != want || (want == "" && name != "log") != os.IsNotExist(err) {
			t.Errorf("%s holds %q, %v; want %q", name, b, err, want)
		}
	}
}

// cutsOff reports whether the file system of a folder can cut off a beginning.
func cutsOff(t *testing.T, dir string) bool {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 2*block)); err != nil {
		t.Fatal(err)
	}
	return cutOff(f, block) == nil
}
