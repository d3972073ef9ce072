package demo

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Sequences that terminals since the VT100 know. The cursor is hidden, and
// lines are not wrapped, only while one write goes on, so that a terminal is
// as it was whenever this program ends, however it ends.
const (
	beginDrawing = "\x1b[?25l\x1b[?7l"
	endDrawing   = "\x1b[?7h\x1b[?25h"
	clearRest    = "\x1b[J"
)

// Screen is a terminal with a few lines at its end that are drawn again and
// again. What is written to it stays, above them.
type Screen struct {
	mu     sync.Mutex
	out    io.Writer
	size   func() (columns, rows int)
	colour bool
	lines  []string // as they were drawn
	ctx    context.Context
	torn   bool // the lines can't be found again
}

// NewScreen draws on a terminal; its size is asked anew each time.
func NewScreen(out io.Writer, size func() (columns, rows int), colour bool) *Screen {
	return &Screen{out: out, size: size, colour: colour, ctx: context.Background()}
}

// until names the context that an interrupt ends.
func (s *Screen) until(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// Show draws a frame of the demonstration.
func (s *Screen) Show(f Frame) {
	columns, _ := s.size()
	s.Draw(f.Lines(columns, s.colour))
}

// strip is the load in time, to stay.
func (s *Screen) strip(f Frame) []string {
	columns, _ := s.size()
	lines := f.strip(columns, painter(s.colour))
	for n, line := range lines {
		lines[n] = text.Trim(line, columns)
	}
	return lines
}

func (d *demo) show(f Frame) {
	if d.Screen != nil {
		d.Screen.Show(f)
	}
}

// Draw replaces the lines at the end. None may be wider than the terminal.
func (s *Screen) Draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.update("", lines) // what can't be drawn is not worth an error
}

// Write adds whole lines that stay.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(p), s.update(string(p), s.lines)
}

// Close takes the lines at the end away.
func (s *Screen) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines == nil {
		return nil
	}
	return s.update("", nil)
}

// update goes back to the first of the lines, writes what stays, then the new
// lines. The cursor ends beneath them, at the left.
func (s *Screen) update(stays string, lines []string) error {
	columns, rows := s.size()
	lines = lines[:min(len(lines), max(0, rows-1))] // of what has left the screen nothing can be changed
	page := beginDrawing + "\r"
	if !s.torn && s.ctx.Err() != nil {
		// With Ctrl-C a terminal throws away what it has not shown yet, so nobody
		// knows how far up the lines begin: they stay, and it goes on beneath.
		s.torn, page = true, page+"\n"
	} else if up := s.height(columns); up > 0 {
		page += fmt.Sprintf("\x1b[%dA", min(up, rows-1))
	}
	page += clearRest
	if stays != "" {
		page += "\x1b[?7h" + stays + "\x1b[?7l"
	}
	for _, line := range lines {
		page += line + "\n"
	}
	s.lines = lines
	_, err := io.WriteString(s.out, page+endDrawing)
	return err
}

// height is how many rows the lines take now: a terminal that has become
// narrower has wrapped them.
func (s *Screen) height(columns int) (rows int) {
	for _, line := range s.lines {
		rows += max(1, (text.StringWidthWithoutEscSequences(line)+columns-1)/columns)
	}
	return rows
}
