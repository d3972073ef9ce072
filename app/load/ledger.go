package load

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// state is a task as its client knows it.
type state struct {
	Rev         int64  `json:"rev"`
	Assignee    string `json:"assignee"`
	Description string `json:"description"`
	Done        bool   `json:"done"`
	Deleted     bool   `json:"deleted"`
}

// same reports whether two states differ in nothing but rev.
func (s state) same(t state) bool {
	s.Rev = t.Rev
	return s == t
}

func (s state) String() string {
	if s.Deleted {
		return "deleted"
	}
	return fmt.Sprintf("rev %d, %s, %q, done %t", s.Rev, s.Assignee, s.Description, s.Done)
}

// What became of an operation.
const (
	acked   = "acked"   // the service said that it is done
	unknown = "unknown" // it may have happened, or may yet
	refused = "refused" // it certainly did not happen
	seen    = "seen"    // nothing was written: this is how the task was found
)

// Entry is a line of the ledger: an operation, and the task as it is once the
// operation has happened.
type Entry struct {
	Seq     int64     `json:"seq"`
	Time    time.Time `json:"time"`
	Client  string    `json:"client"`
	Op      string    `json:"op"` // create, patch, done, delete, adopt
	Outcome string    `json:"outcome"`
	ID      string    `json:"id"` // empty: a create that was never answered
	state
	Why string `json:"why,omitempty"` // of a failure
	// Sum is the hash of the line before and this one. What is read back shows
	// only the last state of a task: without the chain an entry that a later
	// one supersedes could be altered, and the ledger would still seem true.
	Sum string `json:"sum"`
}

// seal returns the entry's line with its sum set.
func (e *Entry) seal(before string) ([]byte, error) {
	e.Sum = ""
	line, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(before), line...))
	e.Sum = hex.EncodeToString(sum[:16])
	line, err = json.Marshal(e)
	return append(line, '\n'), err
}

// ledger appends entries to a file, each with one write, so that they survive
// the death of the process.
type ledger struct {
	mu   sync.Mutex
	file *os.File
	seq  int64
	sum  string // of the last line
}

func createLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &ledger{file: f}, nil
}

func (l *ledger) append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq, e.Time = l.seq, time.Now().UTC()
	line, err := e.seal(l.sum)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.file.Write(line); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.sum = e.Sum
	return nil
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}

// readLedger calls each for every entry, with the fault that its line shows:
// nil when it stands exactly as it was written.
func readLedger(path string, each func(line int, e Entry, fault error)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	sum := ""
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			e, fault := parse(line, sum, int64(n))
			each(n, e, fault)
			sum = e.Sum // an altered line is reported once, not with all that follow
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
}

func parse(line []byte, before string, seq int64) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("it is damaged: %w", err)
	}
	expected := e
	sealed, err := expected.seal(before)
	if err != nil {
		return e, err
	}
	if !bytes.Equal(sealed, line) {
		return e, errors.New("it was altered, or a line before it removed")
	}
	if e.Seq != seq {
		return e, fmt.Errorf("it is number %d", e.Seq)
	}
	return e, nil
}
