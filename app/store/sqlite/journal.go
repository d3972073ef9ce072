package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// The journal's former mode is noted in a file beside the database, from before
// it is changed until the fence has it, and from before the fence goes until it
// is set again: a kill between the two loses nothing.
func (s *Store) journalNote() string { return s.path + ".migrate-journal" }

// noteJournal writes the mode down.
func (s *Store) noteJournal(mode string) error {
	if mode == "" || mode == "wal" {
		return nil
	}
	name := s.journalNote()
	if err := os.WriteFile(name+".tmp", []byte(mode+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return durable(name)
}

// notedJournal returns the mode that is written down, "" if none is.
func (s *Store) notedJournal() (string, error) {
	text, err := os.ReadFile(s.journalNote())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	switch mode := strings.TrimSpace(string(text)); mode {
	case "delete", "truncate", "persist", "memory", "off":
		return mode, err
	}
	return "", err
}

// startWAL is setWAL of a file that has no fence yet, with a note of the mode.
func (s *Store) startWAL(ctx context.Context) (before string, err error) {
	noted, err := s.notedJournal()
	if err == nil {
		err = s.run(ctx, "read the journal's mode", func() error {
			return use(ctx, s.writers, func(ctx context.Context, c *conn) error {
				return c.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&before)
			})
		})
	}
	if err != nil {
		return "", meaning(ctx, "read the journal's former mode", err)
	}
	if before == "wal" && noted != "" { // a take-over or an undo was cut short
		return noted, nil
	}
	if err := s.noteJournal(before); err != nil {
		return "", meaning(ctx, "note the journal's mode", err)
	}
	if _, err := s.setWAL(ctx); err != nil {
		s.forgetJournal()
		return "", err
	}
	return before, nil
}

// forgetJournal removes the note.
func (s *Store) forgetJournal() {
	if err := os.Remove(s.journalNote()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the note of the journal's former mode stays behind", "file", s.journalNote(), "error", err)
	}
}

// giveJournalBack sets the former mode again after a take-over that failed, unless
// another one has taken the file over meanwhile.
func (s *Store) giveJournalBack(ctx context.Context, journal string) {
	ctx = context.WithoutCancel(ctx)
	if _, err := s.Fence(ctx); !errors.Is(err, errNoFence) {
		return
	}
	if err := s.setJournal(ctx, journal); err != nil {
		s.log.Warn("the old database keeps its write-ahead log; migrate adopt --undo sets the journal's former mode", "mode", journal, "error", err)
		return
	}
	s.forgetJournal()
}

// resetJournal sets the former mode that an undo has left noted, in a file that
// has no fence any more. It reports whether there was one.
func (s *Store) resetJournal(ctx context.Context) (bool, error) {
	mode, err := s.notedJournal()
	if err != nil || mode == "" {
		return false, meaning(ctx, "read the journal's former mode", err)
	}
	if err := s.setJournal(ctx, mode); err != nil {
		return true, err
	}
	s.forgetJournal()
	return true, nil
}
