package migration

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// judge holds answers against one another. A record's log names every change
// that was ever made to it, in order, deletions too; it travels in Request,
// which tombstones keep. So:
//
//   - what was acknowledged or answered before an operation began is a prefix of
//     what the operation answers (nothing is lost or hidden);
//   - all answers about a record are prefixes of one another (nothing forks);
//   - a change that was said not to have been made never shows, and none twice.
type judge struct {
	known  map[string]string // by record: the longest log that was answered
	denied []string          // changes of which it was said that nothing was written
	fault  string            // the first violation

	forgetful bool // absence counts as deleted
}

func (j *judge) digest() uint64 {
	var h uint64
	for id, log := range j.known {
		h += mixString(mixString(5, id), log)
	}
	for _, d := range j.denied {
		h += mixString(11, d)
	}
	return h
}

func (j *judge) violation(format string, args ...any) {
	if j.fault == "" {
		j.fault = fmt.Sprintf(format, args...)
	}
}

// answered takes in what an operation said a record's log is; floor is what
// was known when the operation began.
func (j *judge) answered(who, id, floor, log string) {
	known := j.known[id]
	switch {
	case j.forgetful && log == "" && (deleted(floor) || deleted(known)):
	case !strings.HasPrefix(log, floor):
		j.violation("lost: %s answers %q for %s, but %q was answered before it began", who, log, id, floor)
	case !strings.HasPrefix(log, known) && !strings.HasPrefix(known, log):
		j.violation("forked: %s answers %q for %s, but %q was answered too", who, log, id, known)
	case len(log) > len(known):
		j.known[id] = log
	}
	j.sound(who, id, log)
}

// sound: no change shows twice, none that was denied.
func (j *judge) sound(who, id, log string) {
	entries := strings.Split(log, ";")
	for i, e := range entries {
		if e != "" && slices.Contains(entries[:i], e) {
			j.violation("repeated: %s answers %q for %s", who, log, id)
		}
		if slices.Contains(j.denied, e) {
			j.violation("denied: %s answers %q for %s, but of %s it was said that nothing was written", who, log, id, e)
		}
	}
}

// deny notes how a change failed that was not acknowledged.
func (j *judge) deny(who, entry string, err error) {
	switch {
	case errors.Is(err, errGone), errors.Is(err, store.ErrUnknown):
	case errors.Is(err, ErrRefused), errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrRule), errors.Is(err, store.ErrUnfit), errors.Is(err, store.ErrStranger), errors.Is(err, store.ErrQuarantined):
		j.denied = append(j.denied, entry)
	default:
		j.violation("%s answers an error that says nothing of the outcome: %v", who, err)
	}
}

// deleted: the record is not there after these changes.
func deleted(log string) bool {
	entries := strings.Split(strings.TrimSuffix(log, ";"), ";")
	return strings.HasPrefix(entries[len(entries)-1], "del-") || log == ""
}

// hidden checks an id that a list does not show: at some time since the list
// began the record was absent or deleted.
func (s *scene) hidden(who, id, floor string) {
	known := s.judge.known[id]
	for _, recs := range s.copies(recordIDs[id]) {
		log := recs.Request
		if !strings.HasPrefix(log, known) && !strings.HasPrefix(known, log) {
			continue
		}
		if len(log) < len(known) {
			log = known
		}
		for end := len(floor); end <= len(log); end++ {
			if (end == 0 || log[end-1] == ';') && deleted(log[:end]) && strings.HasPrefix(log[:end], floor) {
				return
			}
		}
	}
	s.judge.violation("hidden: %s does not show %s, of which %q was answered before it began", who, id, floor)
}

// copies are the record in both databases, as they are.
func (s *scene) copies(id record.ID) []store.Record {
	o, _, _ := s.old.Get(background, id)
	n, _ := s.new.Get(background, id)
	return []store.Record{o[id], n[id]}
}
