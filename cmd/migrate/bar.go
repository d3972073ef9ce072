package main

import (
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"migrate/orchestrator"
)

// bar shows how far a pass over the databases has come; only on a terminal.
type bar struct{ b *progressbar.ProgressBar }

func (g *globals) bar(what string) *bar {
	f, ok := g.err.(*os.File)
	if !ok || g.Quiet || g.JSON || !term.IsTerminal(int(f.Fd())) {
		return &bar{}
	}
	return &bar{progressbar.NewOptions64(-1, progressbar.OptionSetWriter(g.err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())}
}

func (b *bar) at(done, total int64) {
	if b.b == nil {
		return
	}
	if total = max(total, done); b.b.GetMax64() != total {
		b.b.ChangeMax64(total)
	}
	_ = b.b.Set64(done) // a bar that can't be drawn is not worth an error
}

func (b *bar) end() {
	if b.b != nil {
		_ = b.b.Finish()
	}
}

// next adds to an error what state things are in and which command comes next.
func next(err error, state, command string) error {
	return &orchestrator.Problem{Err: err, State: state, Next: command}
}
