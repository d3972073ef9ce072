package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// reasons are why mutants live or are not covered, by their keys, or by
// "FILE FUNCTION uncovered" for all that no test runs in a function.
type reasons map[string]string

// readReasons reads the file: a key on a line of its own, below it, indented,
// the reason. # begins a comment.
func readReasons(file string) (reasons, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, key, n := reasons{}, "", 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		n++
		line := lines.Text()
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(line, "#"):
		case text == line:
			if _, twice := out[text]; twice {
				return nil, fmt.Errorf("%s:%d: %q is there twice", file, n, text)
			}
			key = text
			out[key] = ""
		case key == "":
			return nil, fmt.Errorf("%s:%d: a reason without a mutant", file, n)
		default:
			out[key] = strings.TrimSpace(out[key] + " " + text)
		}
	}
	for key, reason := range out {
		if reason == "" {
			return nil, fmt.Errorf("%s: no reason below %q", file, key)
		}
	}
	return out, lines.Err()
}

// of returns the reason for a mutant; "" if there is none.
func (r reasons) of(m mutant, v verdict) string {
	if why := r[m.key()]; why != "" || v != untested {
		return why
	}
	return r[uncoveredKey(m)]
}

func uncoveredKey(m mutant) string { return m.file + " " + m.fn + " uncovered" }

// stale returns the keys whose mutant is dead or is none any more.
func (r reasons) stale(results []result) []string {
	used := map[string]bool{}
	for _, res := range results {
		switch res.verdict {
		case living:
			used[res.key()] = true
		case untested:
			used[res.key()] = true
			used[uncoveredKey(res.mutant)] = true
		}
	}
	var out []string
	for key := range r {
		if !used[key] {
			out = append(out, key)
		}
	}
	return sorted(out)
}
