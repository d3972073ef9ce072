package fire

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// A list is no snapshot. Its rule: what matched throughout is never missing,
// nothing appears twice, and what had ended to match before it began does not
// appear; nor does an older rev than somebody had been shown by then.

// list is one that was answered, page by page or at once.
type list struct {
	by        string
	assignee  string
	all       bool // done ones, too
	items     []item
	call, ret int64
}

type item struct {
	ID string `json:"id"`
	view
}

// lists is all of them, to be judged in the end.
type lists struct {
	mu  sync.Mutex
	all []list
}

// list asks for everything of an assignee's. One item of it counts as a read
// of its record, if that is the one given.
func (c *client) list(assignee string, r *record) bool {
	l := list{by: c.name(), assignee: assignee, all: c.rng.IntN(2) == 0}
	query := url.Values{"assignee": {assignee}}
	if l.all {
		query.Set("done", "all")
	}
	limit := 0
	if c.rng.IntN(2) == 0 {
		limit = 1 + c.rng.IntN(5)
		query.Set("limit", strconv.Itoa(limit))
	}
	l.call = c.f.clock()
	for {
		began := c.f.clock()
		status, _, text, err := c.conn.do(http.MethodGet, "/tasks?"+query.Encode(), nil, "")
		l.ret = c.f.clock()
		ok := err == nil && status == http.StatusOK
		c.f.tally.count(opList, answer{Status: map[bool]int{true: status}[ok]}, true, status, text, err)
		if !ok {
			return false
		}
		var page []item
		if err := json.Unmarshal(text, &page); err != nil {
			page = []item{{ID: fmt.Sprintf("not a list: %.80s", text)}}
		}
		l.items = append(l.items, page...)
		for _, i := range page {
			if i.ID == r.id {
				r.note(event{c.name() + "'s list", request{Op: opListed}, answer{status, i.view}, "", began, l.ret})
			}
		}
		if limit == 0 || len(page) < limit {
			break
		}
		query.Set("after", page[len(page)-1].ID)
	}
	c.f.lists.mu.Lock()
	defer c.f.lists.mu.Unlock()
	c.f.lists.all = append(c.f.lists.all, l)
	return true
}

// span is when a record can have matched a list, and what was known of it.
type span struct {
	made      int64 // when its creation was acknowledged, or seen
	mayGo     int64 // when somebody first asked to delete it
	gone      int64 // when its deletion was acknowledged; nothing brings it back
	mayFinish int64 // when somebody first asked to mark it done
	finished  int64
}

func spanOf(r *record) span {
	s := span{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	if r.initial.is == live {
		s.made = 0
	}
	inserts := 0
	for _, e := range r.events {
		known := e.answer.Status != unknown
		switch e.request.Op {
		case opDelete, opErase:
			s.mayGo = min(s.mayGo, e.call)
			if e.answer.Status == http.StatusNoContent {
				s.gone = min(s.gone, e.ret)
			}
		case opDone:
			s.mayFinish = min(s.mayFinish, e.call)
			if e.answer.Status == http.StatusOK {
				s.finished = min(s.finished, e.ret)
			}
		case opInsert:
			inserts++
		}
		if known && e.answer.Status < 300 {
			s.made = min(s.made, e.ret)
		}
	}
	if inserts > 1 { // it may be back, and undone
		s.gone, s.finished = math.MaxInt64, math.MaxInt64
	}
	return s
}

// shownBefore is the greatest rev that an answer had shown by then.
func (r *record) shownBefore(t int64) int64 {
	rev := r.initial.view.Rev
	for _, e := range r.events {
		if e.ret < t {
			rev = max(rev, e.answer.View.Rev)
		}
	}
	return rev
}

// revOf is the greatest rev at which an answer showed this content, which a
// list shows without one; 0 if none did. No two changes set the same text.
func (r *record) revOf(v view) (rev int64) {
	if v == r.initial.view.unversioned() {
		rev = r.initial.view.Rev
	}
	for _, e := range r.events {
		switch {
		case e.request.Op == opCreate && e.answer.Status == http.StatusCreated && v == view{Description: e.request.Description}:
			rev = max(rev, 1)
		case v == e.answer.View.unversioned():
			rev = max(rev, e.answer.View.Rev)
		}
	}
	return rev
}

// judge holds every list against the histories.
func (ls *lists) judge(records []*record) (violations []string) {
	byAssignee, spans := map[string][]*record{}, map[*record]span{}
	for _, r := range records {
		if r.id != "" {
			byAssignee[r.assignee] = append(byAssignee[r.assignee], r)
			spans[r] = spanOf(r)
		}
	}
	for _, l := range ls.all {
		listed := map[string]view{}
		for _, i := range l.items {
			if _, twice := listed[i.ID]; twice {
				violations = append(violations, l.wrong("lists %s twice", i.ID))
			}
			listed[i.ID] = i.view
		}
		for _, r := range byAssignee[l.assignee] {
			violations = append(violations, l.judge(r, spans[r], listed)...)
		}
	}
	return violations
}

func (l list) judge(r *record, s span, listed map[string]view) (violations []string) {
	v, there := listed[r.id]
	must := s.made < l.call && s.mayGo > l.ret && (l.all || s.mayFinish > l.ret)
	mustNot := s.gone < l.call || !l.all && s.finished < l.call
	switch {
	case must && !there:
		violations = append(violations, l.wrong("misses %s, which matched throughout", r.id))
	case mustNot && there:
		violations = append(violations, l.wrong("shows %s, which no longer matched", r.id))
	}
	rev, before := r.revOf(v), r.shownBefore(l.call)
	if there && rev != 0 && rev < before {
		violations = append(violations, l.wrong("shows %s at rev %d, after rev %d was shown", r.id, rev, before))
	}
	return violations
}

func (l list) wrong(format string, args ...any) string {
	return fmt.Sprintf("%s's list of %s, %.6f to %.6f s, ", l.by, l.assignee, float64(l.call)/1e9, float64(l.ret)/1e9) +
		fmt.Sprintf(format, args...)
}
