package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"migrate.invalid/migrate/orchestrator"
)

// frame is one look at everything, with what happened since the last.
type frame struct {
	At    time.Time       `json:"at"`
	Paces map[int]float64 `json:"requests_per_second,omitempty"` // by port; nil in the first frame
	orchestrator.Status
}

// pace is an instance's requests a second.
func (f frame) pace(port int) string {
	pace, known := f.Paces[port]
	if !known {
		return ""
	}
	return fmt.Sprintf("%.1f", pace)
}

// share is an instance's part of all requests, in figures and drawn: how many
// there are, the pace says.
func (f frame) share(port int) string {
	const width = 10
	var all float64
	for _, pace := range f.Paces {
		all += pace
	}
	pace, known := f.Paces[port]
	if all == 0 || !known {
		return ""
	}
	part := pace / all
	full := int(math.Round(width * part))
	return fmt.Sprintf("%3.0f %% %s%s", part*100, strings.Repeat("█", full), strings.Repeat("░", width-full))
}

// line is the frame for a pipe.
func (f frame) line() string {
	cells := []string{f.At.Format(time.RFC3339), whereWeAre(f.Status), "traffic: " + served(f.Status)}
	for _, i := range f.Instances {
		text := fmt.Sprintf("%d step %d %s", i.Port, i.Step, i.Role)
		if pace := f.pace(i.Port); pace != "" {
			text += " " + pace + "/s"
		}
		cells = append(cells, text)
	}
	return strings.Join(append(cells, f.Warnings...), "\t")
}

// meter counts what each instance has been asked between two frames.
type meter struct {
	at       time.Time
	requests map[string]int64 // by instance
}

func (m *meter) frame(st orchestrator.Status, now time.Time) frame {
	f := frame{At: now, Status: st}
	seen := map[string]int64{}
	for _, i := range st.Instances {
		if i.Told == nil {
			continue
		}
		key := fmt.Sprint(i.Port, i.Process)
		seen[key] = i.Told.Requests
		if m.requests == nil {
			continue
		}
		if f.Paces == nil {
			f.Paces = map[int]float64{}
		}
		// One that was not there before has had all its requests since.
		f.Paces[i.Port] = float64(i.Told.Requests-m.requests[key]) / now.Sub(m.at).Seconds()
	}
	m.at, m.requests = now, seen
	return f
}

// Sequences that terminals since the VT100 know: the other screen, which
// leaves what was there as it is, without cursor and without wrapping.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// watch draws frames until ctx ends, which is how it should end. On a terminal
// the last one stays.
func (g *globals) watch(ctx context.Context, look func(context.Context) (orchestrator.Status, error), interval time.Duration) error {
	draw := g.drawLine
	if !g.JSON && isTerminal(g.out) {
		fmt.Fprint(g.out, enterScreen)
		draw = g.drawScreen
	}
	last, err := frames(ctx, look, interval, draw)
	if !g.JSON && isTerminal(g.out) {
		fmt.Fprint(g.out, leaveScreen)
		if err == nil && !last.At.IsZero() {
			g.printStatus(g.out, last)
		}
	}
	return err
}

func frames(ctx context.Context, look func(context.Context) (orchestrator.Status, error), interval time.Duration, draw func(frame) error) (frame, error) {
	var m meter
	var last frame
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		st, err := look(ctx)
		if ctx.Err() != nil {
			return last, nil // what it saw last was already cut short
		}
		if err != nil {
			return last, err
		}
		last = m.frame(st, time.Now())
		if err := draw(last); err != nil {
			return last, err
		}
		select {
		case <-ctx.Done():
			return last, nil
		case <-tick.C:
		}
	}
}

func (g *globals) drawLine(f frame) error {
	if g.JSON {
		return json.NewEncoder(g.out).Encode(f)
	}
	_, err := fmt.Fprintln(g.out, g.hint(f.line()))
	return err
}

// drawScreen overwrites line by line, so that nothing flickers.
func (g *globals) drawScreen(f frame) error {
	var page bytes.Buffer
	g.printStatus(&page, f)
	_, height := size(g.out)
	lines := strings.Split(strings.TrimRight(page.String(), "\n"), "\n")
	lines = lines[:min(len(lines), max(1, height-2))]
	lines = append(lines, "", g.paint(g.out, faint, f.At.Format("15:04:05")+"  Ctrl-C ends"))
	_, err := io.WriteString(g.out, home+strings.Join(lines, clearLine+"\r\n")+clearLine+clearRest)
	return err
}
