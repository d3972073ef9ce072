package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// result is a mutant and what became of it.
type result struct {
	mutant
	verdict verdict
	by      string // the test that killed it
}

// kept is one line of the file of results, from which a run that was broken
// off goes on.
type kept struct {
	Key, Code, Tests, By string
	Verdict              verdict
}

// state is what earlier runs found.
type state struct {
	file  string
	tests string // a hash of the tests
	code  string // a hash of the package
	known map[string]kept
}

// openState reads the results that still count: those of the same package and
// tests. With reuse, a dead mutant also stays dead while its function is the
// same, which saves most of the time while tests are only added.
func openState(file string, p *pkg, ms []mutant, reuse bool) (*state, error) {
	s := &state{file: file, known: map[string]kept{}}
	var all []string
	for _, src := range p.sources {
		all = append(all, src.text)
	}
	s.code = hash(all...)
	var tests []string
	for _, t := range p.tests {
		b, err := os.ReadFile(t)
		if err != nil {
			return nil, err
		}
		tests = append(tests, string(b))
	}
	s.tests = hash(tests...)
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	byKey := map[string]mutant{}
	for _, m := range ms {
		byKey[m.key()] = m
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var k kept
		if json.Unmarshal(lines.Bytes(), &k) != nil {
			continue // the line that was being written when a run was broken off
		}
		m, ok := byKey[k.Key]
		same := ok && k.Tests == s.tests && k.Code == s.codeOf(p, m, false)
		likely := ok && reuse && k.Verdict.dead() && k.Code[:8] == s.codeOf(p, m, true)
		if same || likely {
			s.known[k.Key] = k
		} else {
			delete(s.known, k.Key)
		}
	}
	return s, lines.Err()
}

// codeOf is the hash of the function that holds a mutant, then that of the
// whole package.
func (s *state) codeOf(p *pkg, m mutant, functionOnly bool) string {
	fn := hash(p.functionText(m))[:8]
	if functionOnly {
		return fn
	}
	return fn + s.code
}

// add writes a result down at once.
func (s *state) add(p *pkg, r result) error {
	k := kept{Key: r.key(), Code: s.codeOf(p, r.mutant, false), Tests: s.tests, By: r.by, Verdict: r.verdict}
	s.known[k.Key] = k
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\n", b)
	return errors.Join(err, f.Close())
}

func hash(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
