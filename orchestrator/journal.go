package orchestrator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/orchestrator/process"
)

// Phases that any operation may have. The end phases are those after which the
// next command has nothing to settle.
const (
	phaseIntent   = "intent"
	phaseDone     = "done"
	phaseFailed   = "failed"   // ended with things in order, as the error says
	phaseRefused  = "refused"  // nothing was begun
	phaseFinished = "finished" // by a later command
	phaseUndone   = "undone"   // by a later command

	// phaseLeft: the command is no longer at it, though its process may live on.
	phaseLeft = "left"
)

func endPhase(phase string) bool {
	switch phase {
	case phaseDone, phaseFailed, phaseRefused, phaseFinished, phaseUndone:
		return true
	}
	return false
}

// kindPass is work that others may go on beside: it has one entry, at its end.
const kindPass = "pass"

const (
	journalSize = 1 << 20 // bytes, at which it is rotated
	journalKeep = 3       // older files
)

// Entry is one line of the journal.
type Entry struct {
	Op        string           `json:"op"` // the operation's id
	Time      time.Time        `json:"time"`
	Who       string           `json:"who"` // user@host
	PID       int              `json:"pid"` // the command's process
	Command   string           `json:"command"`
	Kind      string           `json:"kind,omitempty"` // spawn, switch, stop, daemon, pass
	Name      string           `json:"name,omitempty"` // of a daemon
	Phase     string           `json:"phase"`
	Port      int              `json:"port,omitempty"`
	Previous  int              `json:"previous,omitempty"`  // port that traffic leaves
	From      int              `json:"from,omitempty"`      // step
	To        int              `json:"to,omitempty"`        // step
	Process   process.Identity `json:"process,omitzero"`    // what was started
	Tool      process.Identity `json:"tool,omitzero"`       // the command's process
	Databases *Databases       `json:"databases,omitempty"` // of the instance
	Forced    []string         `json:"forced,omitempty"`    // gates overridden
	Took      Millis           `json:"ms"`                  // since the operation began
	Detail    string           `json:"detail,omitempty"`
	Error     string           `json:"error,omitempty"`
}

// journal is an append-only file of JSON lines.
type journal struct {
	path string
	most int64 // bytes
}

// append adds an entry; when it returns, the entry is on disk.
func (j *journal) append(e Entry) error {
	e.Command, e.Detail, e.Error = redact.Text(e.Command), redact.Text(e.Detail), redact.Text(e.Error)
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	_, statErr := os.Stat(j.path)
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if torn(f) { // whoever wrote last died in the middle of a line
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(append(line, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil && errors.Is(statErr, fs.ErrNotExist) {
		err = errors.Join(handOver(j.path), syncDir(dirOf(j.path)))
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func torn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

// rotate begins a new file when the present one is full. Only called between
// operations, so that one operation is never in two files at its end.
func (j *journal) rotate() error {
	info, err := os.Stat(j.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < j.most {
		return nil
	}
	if err == nil {
		err = process.Rotate(j.path, journalKeep)
	}
	if err != nil {
		return fmt.Errorf("rotate the journal: %w", err)
	}
	return syncDir(dirOf(j.path))
}

// read returns the entries of the present file, oldest first, and how many
// lines could not be read: a torn last line after a crash is to be expected.
func (j *journal) read() (entries []Entry, unreadable int, err error) { return readEntries(j.path) }

// readAll reads the rotated files too.
func (j *journal) readAll() (entries []Entry, unreadable int, err error) {
	for n := journalKeep; n >= 0; n-- {
		path := j.path
		if n > 0 {
			path = fmt.Sprintf("%s.%d", j.path, n)
		}
		some, bad, err := readEntries(path)
		if err != nil {
			return nil, 0, err
		}
		entries, unreadable = append(entries, some...), unreadable+bad
	}
	return entries, unreadable, nil
}

func readEntries(path string) (entries []Entry, unreadable int, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the journal: %w", err)
	}
	for line := range bytes.Lines(b) {
		var e Entry
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if json.Unmarshal(line, &e) != nil || e.Op == "" || e.Phase == "" {
			unreadable++
			continue
		}
		entries = append(entries, e)
	}
	return entries, unreadable, nil
}
