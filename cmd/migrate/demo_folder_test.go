package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"
)

// found lays down a folder with those files in it.
func found(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	err := os.MkdirAll(dir, 0o700)
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// holds fails unless those, and no others, are in the folder.
func holds(t *testing.T, when, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: the folder holds %q, want %q", when, got, want)
	}
}

const (
	markedCutOff = `{"demo": true}`
	markedFailed = `{"demo": true, "failed": true}`
	markedKept   = `{"demo": true, "kept": true}`
)

// What a demonstration that does not begin does with the folder that it finds.
func TestDemoFindsAFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	l, err := net.Listen("tcp", strings.TrimPrefix(s.url(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name    string
		files   map[string]string
		refused []string
		left    []string
	}{
		{"empty", nil, []string{"nothing was started"}, nil},
		{"damaged", map[string]string{"demo.json": ""}, []string{"damaged", "nothing was changed", "rm -r 'DIR'"}, []string{"demo.json"}},
		{"kept and stopped", map[string]string{"demo.json": markedKept}, []string{"was kept", "it is stopped", "rm -r 'DIR'"}, []string{"demo.json"}},
		{"killed as it began", map[string]string{".demo.json123": ""}, []string{"nothing was started"}, []string{".demo.json123"}},
		{"of somebody", map[string]string{"thesis.txt": ""}, []string{"not empty"}, []string{"thesis.txt"}},
		{"found by one that was cut off", map[string]string{"demo.json": `{"demo": true, "found": true}`, "lock": ""}, []string{"nothing was started"}, nil},
	} {
		dir := filepath.Join(t.TempDir(), "my "+c.name)
		found(t, dir, c.files)
		for n, words := range c.refused {
			c.refused[n] = strings.ReplaceAll(words, "DIR", dir)
		}
		s.refused(2, c.refused, "demo", "--dir", dir)
		holds(t, c.name, dir, c.left...)
	}
	for name, marker := range map[string]string{"cut off": markedCutOff, "failed": markedFailed} {
		found(t, s.dir, map[string]string{"demo.json": marker, "journal.jsonl": ""})
		s.refused(2, []string{"nothing was started"}, "demo")
		s.gone("after one that was " + name)
	}
	s.refused(2, []string{"nothing was started"}, "demo")
	s.gone("after one that found none")
}

// Only one follows an earlier demonstration: while it does, others are refused.
func TestDemosFollowOneAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	found(t, s.dir, map[string]string{"demo.json": markedFailed, "ledger.jsonl": ""})
	other := flock.New(s.dir, flock.SetFlag(os.O_RDONLY))
	if held, err := other.TryLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	defer other.Close()
	s.refused(2, []string{"another demonstration begins or ends", "repeat"}, "demo")
	holds(t, "beside another", s.dir, "demo.json", "ledger.jsonl")
}

// The embedded server of one that was cut off is ended, though the next one
// uses none.
func TestDemoWithAServerAfterOneWithout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("mongo", "start")
	found(t, s.dir, map[string]string{"demo.json": markedCutOff})
	l, err := net.Listen("tcp", strings.TrimPrefix(s.url(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.refused(2, []string{"cut off", "nothing was started"}, "demo", "--mongo-uri", "mongodb://127.0.0.1:1/")
	s.gone("after it")
	if err := syscallFree(s.first + 39); err != nil {
		t.Error(err)
	}
}

// What fails while it prepares leaves the log that says why.
func TestDemoFailsBeforeItWalks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	broken := filepath.Join(t.TempDir(), "nginx")
	script := "#!/bin/sh\n[ \"$1\" = -V ] && exec nginx -V\necho no such luck >&2\nexit 1\n"
	if err := os.WriteFile(broken, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	usual := s.env
	s.env = append(slices.Clone(usual), "MIGRATE_NGINX="+broken)
	log := filepath.Join(s.dir, "data", "mongo", "log")
	_, errs, code := s.run("demo")
	if code != 1 || !strings.Contains(errs, "no such luck") || !strings.Contains(errs, "nothing runs any more") ||
		!strings.Contains(errs, fmt.Sprintf("the embedded server said: %s/data/*/log", s.dir)) || strings.Contains(errs, "ledger") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	if _, err := os.Stat(log); err != nil {
		t.Error(err)
	}
	s.portsFree("after it")
	s.env = usual
}
