package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"migrate.invalid/migrate/app/todo"
)

// Sizes of pages of a list.
const (
	maxPage = 1000 // what a client gets at most when it asks for pages
	chunk   = 500  // what is asked of the store at once for a whole list
)

// listTasks answers undone tasks unless told otherwise, all of them unless a
// limit is given, as the original does.
func (s *Server) listTasks(w http.ResponseWriter, r *http.Request) {
	q, err := readListQuery(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if q.limit > 0 {
		s.listPage(w, r, q)
		return
	}
	s.listAll(w, r, q)
}

// listPage answers one page, with a link to the next one if there is more.
func (s *Server) listPage(w http.ResponseWriter, r *http.Request, q listQuery) {
	tasks, more, err := s.readTasks(r, q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if more {
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, q.next(r, tasks[len(tasks)-1].ID)))
	}
	views := make([]view, len(tasks))
	for i, t := range tasks {
		views[i] = viewOf(t)
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeJSON(w, http.StatusOK, views)
}

// listAll answers everything in one array and holds one page of it at a time.
//
// The status is sent with the first page. When a later page can't be read, the
// connection is broken off: the client has half an array and a transfer that
// did not end, and can't take it for the whole.
func (s *Server) listAll(w http.ResponseWriter, r *http.Request, q listQuery) {
	page, err := s.readPage(r, q, chunk)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead && !page.End {
		return // the length of a GET's answer isn't known either by then
	}
	out := arrayWriter{out: bufio.NewWriter(w)}
	for {
		if err = out.add(page.Records); err != nil || page.End {
			break
		}
		q.after = &page.Next
		keepOpen(w)
		if page, err = s.readPage(r, q, chunk); err != nil {
			break
		}
	}
	if err == nil {
		err = out.end()
	}
	if err != nil {
		s.log.Warn("a list was broken off", "tasks", out.n, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// readTasks reads the q.limit tasks after q.after, or all that there are, and
// whether there are more.
func (s *Server) readTasks(r *http.Request, q listQuery) (tasks []record, more bool, err error) {
	for {
		page, err := s.readPage(r, q, q.limit+1-len(tasks)) // one more than is answered
		if err != nil {
			return nil, false, err
		}
		if tasks == nil {
			tasks = page.Records
		} else {
			tasks = append(tasks, page.Records...)
		}
		switch {
		case len(tasks) > q.limit:
			return tasks[:q.limit], true, nil
		case page.End:
			return tasks, false, nil
		}
		q.after = &page.Next
	}
}

// readPage reads a page of up to limit tasks after q.after.
func (s *Server) readPage(r *http.Request, q listQuery, limit int) (todo.Page, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	return s.tasks.List(ctx, q.filter, q.after, limit)
}

// keepOpen grants a long answer the time for one more page. The limit of the
// server is for a whole answer.
func keepOpen(w http.ResponseWriter) {
	// A writer without a deadline, as tests have, has none to move.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// arrayWriter writes a JSON array one task after the other.
type arrayWriter struct {
	out *bufio.Writer
	n   int
}

func (a *arrayWriter) add(tasks []record) error {
	for _, t := range tasks {
		before := byte(',')
		if a.n == 0 {
			before = '['
		}
		body, err := json.Marshal(viewOf(t))
		if err != nil {
			return err
		}
		a.n++
		_ = a.out.WriteByte(before) // the next Write returns its error
		if _, err := a.out.Write(body); err != nil {
			return err
		}
	}
	return nil
}

func (a *arrayWriter) end() error {
	text := "]\n"
	if a.n == 0 {
		text = "[]\n"
	}
	_, _ = a.out.WriteString(text) // Flush returns its error
	return a.out.Flush()
}
