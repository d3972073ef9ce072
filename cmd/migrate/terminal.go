package main

import (
	"io"
	"os"

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
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// size is the terminal's, or that of a page where there is none.
func size(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// paint colours a text, on a terminal whose user wants colour.
func (g *globals) paint(w io.Writer, colour, text string) string {
	if g.NoColor || text == "" || !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
