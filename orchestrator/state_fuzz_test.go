package orchestrator

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Whatever is in the file: it is refused with words about what to do, and left
// as it is, or it is a state that can be kept and means the same the next time.
func FuzzState(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `{"schema":1`, `{"schema":2}`, `{"schema":-1,"instances":null}`, `{"schema":1e99}`,
		`{"schema":1,"instances":{"8001":{"port":8001,"step":3,"process":{"pid":7,"started":"9"},"args":["migrate","serve"]}},"active":{"port":8001,"step":3}}`,
		`{"instances":{"no port":{}}}`, `{"instances":{"8001":null},"daemons":{"":null}}`, "{\"databases\":{\"sqlite\":\"\\u0000\xff\"}}",
		`{"schema":1,"last_switch":{"at":"2026-01-02T03:04:05.678+09:00","move_ms":0.1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadState(path)
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Next == "" {
				t.Errorf("%v says nothing about what to do", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
				t.Errorf("a file that can't be read was changed: %q, %v", after, err)
			}
			return
		}
		s.running()
		s.Instances[1], s.Daemons["one"] = Instance{}, Daemon{} // both can be added to
		var kept [2][]byte
		for i := range kept {
			if err := saveState(path, s); err != nil {
				t.Fatalf("what was read can't be kept: %v", err)
			}
			if kept[i], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
			if s, err = loadState(path); err != nil {
				t.Fatalf("what was kept can't be read: %v", err)
			}
		}
		if !bytes.Equal(kept[0], kept[1]) {
			t.Errorf("%s became %s", kept[0], kept[1])
		}
	})
}
