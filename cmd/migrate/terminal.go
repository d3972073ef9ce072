package main

import (
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// The colours that answers use, sparingly.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

func isTerminal(w io.Writer) bool {
	f, ok := file(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// size is the terminal's, or that of a page where there is none.
func size(w io.Writer) (columns, rows int) {
	if f, ok := file(w); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// fold breaks a text that begins at a column into lines that fit the terminal;
// elsewhere it stays as it is, for grep.
func fold(w io.Writer, s string, column int) string {
	if !isTerminal(w) {
		return s
	}
	columns, _ := size(w)
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.Split(text.WrapSoft(line, max(20, columns-column)), "\n")...)
	}
	for n := range lines {
		lines[n] = strings.TrimRight(lines[n], " ")
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", column))
}

// paint colours a text, on a terminal whose user wants colour.
func (g *globals) paint(w io.Writer, colour, s string) string {
	if g.NoColor || s == "" || !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}
