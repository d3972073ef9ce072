package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

type record = todo.Record

// view is a task as clients see it.
type view struct {
	ID          string `json:"id"`
	Assignee    string `json:"assignee"`
	Description string `json:"description"`
	Done        bool   `json:"done"`
}

func viewOf(r record) view {
	return view{r.ID, r.Body.Assignee, r.Body.Description, r.Body.Done}
}

func writeTask(w http.ResponseWriter, r record) {
	w.Header().Set("ETag", etag(r))
	w.Header().Set("Cache-Control", "no-cache") // keep it, but ask with If-None-Match
	writeJSON(w, http.StatusOK, viewOf(r))
}

func (s *Server) getTask(w http.ResponseWriter, r *http.Request) {
	id, err := taskID(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	rec, found, err := s.tasks.Get(ctx, id)
	if err == nil && (!found || rec.Deleted) {
		err = noTask(id)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 && matchWeak(tags, etag(rec)) {
		w.Header().Set("ETag", etag(rec))
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeTask(w, rec)
}

func (s *Server) createTask(w http.ResponseWriter, r *http.Request) {
	t, err := newTask(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	id, request, err := identify(r, t)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	created := false
	ctx, cancel := s.writing(r)
	defer cancel()
	_, err = s.tasks.Apply(ctx, id, request == "", func(cur record, found bool) (record, bool, error) {
		created = !found
		switch {
		case !found:
			return record{ID: id, Request: request, Body: t}, true, nil
		case request != "" && cur.Request == request:
			return cur, false, nil // answered as the first time, deleted or not
		}
		return cur, false, &problem{http.StatusUnprocessableEntity, "idempotency_key_reuse", "this Idempotency-Key was used for another request"}
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	w.Header().Set("Location", "/tasks/"+url.PathEscape(id))
	writeJSON(w, status, map[string]string{"id": id})
}

// identify chooses the id of a new task. With an Idempotency-Key it follows
// from the key, so that a repeat finds what the first request made; request is
// then the hash by which a repeat is told from another use of the key.
func identify(r *http.Request, t task.Task) (id, request string, err error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		v7, err := uuid.NewV7()
		return v7.String(), "", err
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > 255 {
		return "", "", malformed("Idempotency-Key has 1 to 255 characters and is given once")
	}
	canonical, err := json.Marshal([]string{t.Assignee, t.Description})
	if err != nil {
		return "", "", err
	}
	hash := sha256.Sum256(canonical)
	return keyID(keys[0]).String(), hex.EncodeToString(hash[:]), nil
}

// keyID makes a UUID of version 8 (RFC 9562, section 5.8) of a key.
func keyID(key string) uuid.UUID {
	sum := sha256.Sum256([]byte(key))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// finishTask marks a task done.
func (s *Server) finishTask(w http.ResponseWriter, r *http.Request) {
	if err := ignoreBody(w, r); err != nil {
		s.fail(w, r, err)
		return
	}
	s.change(w, r, false, func(t task.Task) task.Task {
		t.Done = true
		return t
	})
}

func (s *Server) patchTask(w http.ResponseWriter, r *http.Request) {
	p, err := newPatch(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.change(w, r, p.whole(), p.apply)
}

// change commits what edit makes of a task, unless that is what it is already.
// whole says that nothing is left of what was there: then it decides on a task
// that is in quarantine.
func (s *Server) change(w http.ResponseWriter, r *http.Request, whole bool, edit func(task.Task) task.Task) {
	rec, err := s.apply(r, func(cur record, found bool) (record, bool, error) {
		if !found || cur.Deleted {
			return cur, false, noTask(cur.ID)
		}
		if err := precondition(r, cur); err != nil {
			return cur, false, err
		}
		next := cur
		next.Body, next.Whole = edit(cur.Body), whole
		return next, next.Body != cur.Body || cur.Unfit != "", nil
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeTask(w, rec)
}

func (s *Server) deleteTask(w http.ResponseWriter, r *http.Request) {
	_, err := s.apply(r, func(cur record, found bool) (record, bool, error) {
		switch {
		case !found:
			return cur, false, noTask(cur.ID)
		case cur.Deleted:
			return cur, false, nil
		}
		if err := precondition(r, cur); err != nil {
			return cur, false, err
		}
		next := cur
		next.Deleted, next.Body = true, task.Task{}
		return next, true, nil
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// apply runs a change on the task that the path names.
func (s *Server) apply(r *http.Request, change Change) (record, error) {
	id, err := taskID(r)
	if err != nil {
		return record{}, err
	}
	ctx, cancel := s.writing(r)
	defer cancel()
	return s.tasks.Apply(ctx, id, false, func(cur record, found bool) (record, bool, error) {
		cur.ID = id // also when there is none
		return change(cur, found)
	})
}

// writing returns the context of a write: it doesn't end when the client goes,
// which would only turn a known outcome into an unknown one.
func (s *Server) writing(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.RequestTimeout)
}

// etag is a strong tag: the rev, and the digest of the canonical body. Two
// contents can share a rev. The epoch is left out: a backfill raises it and
// changes nothing.
func etag(r record) string {
	body, err := todo.Body(r.Body)
	if err != nil {
		body = "" // a task that is stored is not of that kind
	}
	digest := body.Digest()
	return `"` + strconv.FormatInt(r.Rev, 10) + "-" + hex.EncodeToString(digest[:]) + `"`
}

func precondition(r *http.Request, rec record) error {
	tags := r.Header.Values("If-Match")
	if len(tags) == 0 || matchStrong(tags, etag(rec)) {
		return nil
	}
	return &problem{http.StatusPreconditionFailed, "precondition_failed", "the task is at " + etag(rec) + " now"}
}

// matchStrong compares as If-Match does (RFC 9110, section 13.1.1): a weak tag matches nothing.
func matchStrong(headers []string, tag string) bool {
	return matches(headers, func(given string) bool { return given == tag })
}

// matchWeak compares as If-None-Match does (RFC 9110, section 13.1.2).
func matchWeak(headers []string, tag string) bool {
	return matches(headers, func(given string) bool { return strings.TrimPrefix(given, "W/") == tag })
}

// matches splits at commas, which none of our own tags holds.
func matches(headers []string, match func(string) bool) bool {
	for _, h := range headers {
		for given := range strings.SplitSeq(h, ",") {
			if given = strings.TrimSpace(given); given == "*" || match(given) {
				return true
			}
		}
	}
	return false
}
