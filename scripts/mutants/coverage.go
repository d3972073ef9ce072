package main

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// coverage is which pieces of a package's files the tests run.
type coverage map[string][]block // by base name

type block struct {
	fromLine, fromCol, toLine, toCol int
	run                              bool
}

// parseCoverage reads a profile as go test writes it.
func parseCoverage(profile string) (coverage, error) {
	c := coverage{}
	lines := bufio.NewScanner(strings.NewReader(profile))
	for lines.Scan() {
		text := lines.Text()
		if strings.HasPrefix(text, "mode: ") {
			continue
		}
		name, rest, ok := strings.Cut(text, ":")
		var b block
		var statements int
		var count string
		if _, err := fmt.Sscanf(strings.NewReplacer(".", " ", ",", " ").Replace(rest), "%d %d %d %d %d %s",
			&b.fromLine, &b.fromCol, &b.toLine, &b.toCol, &statements, &count); err != nil || !ok {
			return nil, fmt.Errorf("the coverage profile has a line that can't be read: %q", text)
		}
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the coverage profile has a line that can't be read: %q", text)
		}
		b.run = n > 0
		c[filepath.Base(name)] = append(c[filepath.Base(name)], b)
	}
	return c, lines.Err()
}

// covers reports whether a test runs what stands at a place.
func (c coverage) covers(file string, line, col int) bool {
	for _, b := range c[file] {
		after := line > b.fromLine || line == b.fromLine && col >= b.fromCol
		before := line < b.toLine || line == b.toLine && col <= b.toCol
		if b.run && after && before {
			return true
		}
	}
	return false
}
