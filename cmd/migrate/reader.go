package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
)

// A command that changes something goes on when its terminal closes (SIGHUP)
// and when the reader of its words goes away (SIGPIPE): what it has begun, it
// ends, with an exit code of ours. A command that only shows something for as
// long as it is looked at ends; a server that runs in a terminal ends with the
// terminal, as if it had been told to.
const (
	audience     = "migrate-audience"
	endsUnread   = "reader"   // with the terminal, and with the reader
	endsTerminal = "terminal" // with the terminal only
)

// ends marks a command, see [audience].
func ends(cmd *cobra.Command, with string) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[audience] = with
	return cmd
}

// show is a command's run before those that it is shown to.
type show struct {
	with   atomic.Value // "", endsUnread or endsTerminal
	cancel context.CancelFunc
}

// begins says which command runs.
func (s *show) begins(cmd *cobra.Command) {
	if s != nil { // else nobody has a terminal to close
		s.with.Store(cmd.Annotations[audience])
	}
}

// readerGone is called when nobody reads what the command writes any more.
func (s *show) readerGone() {
	if s.with.Load() == endsUnread {
		s.cancel()
	}
}

// watchTerminal takes SIGHUP and SIGPIPE off their default, to kill, until
// stop is called. Programs that are started have the default again.
func (s *show) watchTerminal() (stop func()) {
	hangup, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1)
	ignored := signal.Ignored(syscall.SIGHUP) // as nohup has it
	signal.Notify(hangup, syscall.SIGHUP)
	signal.Notify(pipe, syscall.SIGPIPE) // the write fails then, which says it all
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangup:
				if with := s.with.Load(); !ignored && (with == endsUnread || with == endsTerminal) {
					s.cancel()
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(done)
		<-ended
	}
}

// listened is a stream that may lose its reader. What nobody reads is thrown
// away, and is no error: the answer was the same.
type listened struct {
	*os.File
	gone  atomic.Bool
	leave func()
}

func (w *listened) Write(p []byte) (int, error) {
	if w.gone.Load() {
		return len(p), nil
	}
	n, err := w.File.Write(p)
	// A terminal that was closed answers EIO.
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EIO) {
		if !w.gone.Swap(true) {
			w.leave()
		}
		return len(p), nil
	}
	return n, err
}

// file is what a writer writes to, if that is a file.
func file(w io.Writer) (*os.File, bool) {
	switch w := w.(type) {
	case *os.File:
		return w, true
	case *listened:
		return w.File, true
	}
	return nil, false
}

// listen makes a stream one that may lose its reader.
func (s *show) listen(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		return &listened{File: f, leave: s.readerGone}
	}
	return w
}
