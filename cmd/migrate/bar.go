package main

import (
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"

	"migrate.invalid/migrate/orchestrator"
)

// bar shows how far a pass has come and when it will end, as counted in
// records or measured in time; only on a terminal.
type bar struct {
	g    *globals
	what string
	unit string // of what is counted; empty where only time passes, whose count tells nobody anything
	page int64  // how many are counted at once

	b     *progressbar.ProgressBar
	start int64 // what an earlier run had done: it says nothing about this one's pace
}

func (g *globals) bar(what, unit string, page int) *bar {
	return &bar{g: g, what: what, unit: unit, page: int64(page)}
}

// at draws; a total of 0 is unknown.
func (b *bar) at(done, total int64) {
	if b.g.Quiet || b.g.JSON || !isTerminal(b.g.err) || os.Getenv("TERM") == "dumb" {
		return
	}
	if b.b == nil {
		b.start = max(0, done-b.page)
		b.b = b.draw()
	}
	left := int64(-1)
	if total > 0 {
		left = max(total, done) - b.start
	}
	if left != 0 && b.b.GetMax64() != left {
		b.b.ChangeMax64(left)
	}
	_ = b.b.Set64(done - b.start) // a bar that can't be drawn is not worth an error
}

func (b *bar) draw() *progressbar.ProgressBar {
	options := []progressbar.Option{progressbar.OptionSetWriter(b.g.err), progressbar.OptionSetDescription(b.what),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(20), progressbar.OptionUseANSICodes(true),
		progressbar.OptionThrottle(drawEvery / 4),
		progressbar.OptionSetSpinnerChangeInterval(0), // else it goes on by itself after the end, over what comes next
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerHead: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""})}
	if b.unit != "" {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(b.unit))
	}
	return progressbar.NewOptions64(-1, options...)
}

// say changes what the bar is called.
func (b *bar) say(what string) {
	if b.what = what; b.b != nil {
		b.b.Describe(what)
	}
}

// end takes the bar away: the answer takes its place.
func (b *bar) end() {
	if b.b != nil {
		fmt.Fprint(b.g.err, "\r"+clearLine)
	}
}

// next adds to an error what state things are in and which command comes next.
func next(err error, state, command string) error {
	return &orchestrator.Problem{Err: err, State: state, Next: command}
}
