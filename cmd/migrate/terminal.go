package main

import (
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"migrate/orchestrator"
)

// The colours that answers use, sparingly.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

// addressed is where a command's words go when its state folder was named on
// the command line: the commands that they offer name it, too, for pasted
// without it they would act on another one.
type addressed struct {
	io.Writer
	command *regexp.Regexp // of ours, in two parts between which the folder belongs
	dir     string         // as in "--dir DIR"
}

func (a addressed) Write(p []byte) (int, error) {
	if _, err := a.Writer.Write(a.command.ReplaceAll(p, []byte("$1 "+strings.ReplaceAll(a.dir, "$", "$$")+"$2"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// address has what a command says name the state folder in every other one.
func (g *globals) address(root *cobra.Command) {
	var names []string
	for _, cmd := range root.Commands() {
		names = append(names, regexp.QuoteMeta(cmd.Name()))
	}
	command := regexp.MustCompile(`\b(migrate)(\s+(?:` + strings.Join(names, "|") + `)\b)`)
	to := func(w io.Writer) io.Writer { return addressed{w, command, "--dir " + orchestrator.Quoted(g.Dir)} }
	g.out, g.err = to(g.out), to(g.err)
}

// file is what a terminal may be behind.
func file(w io.Writer) (*os.File, bool) {
	if a, ok := w.(addressed); ok {
		w = a.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

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
