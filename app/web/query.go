package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"migrate.invalid/migrate/app/task"
)

// parsePairs reads the pairs of a query or of a form. A semicolon is text, as
// the URL standard says; the libraries of old browsers do not escape it.
func parsePairs(raw string) (url.Values, error) {
	return url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
}

// listQuery is what GET /tasks asks for.
type listQuery struct {
	filter task.Filter
	after  *string // list what comes after this id; nil: from the beginning
	limit  int     // tasks on a page; 0: everything at once

	pairs url.Values // as they were sent
}

// readListQuery reads the whole query. What it can't understand is an error: a
// search without a part of its conditions would find more than was asked for.
func readListQuery(r *http.Request) (q listQuery, err error) {
	if q.pairs, err = parsePairs(r.URL.RawQuery); err != nil {
		return q, malformed(fmt.Sprintf("the query can't be read: %v (a percent sign is written as %%25)", err))
	}
	for name, values := range q.pairs {
		switch {
		case name == "_": // libraries add it against caches
		case !slices.Contains([]string{"assignee", "done", "limit", "after"}, name):
			return q, malformed(fmt.Sprintf("a list has no parameter %q; it has assignee, done, limit and after", name))
		case len(values) > 1:
			return q, malformed(name + " is given twice")
		case !utf8.ValidString(values[0]):
			return q, malformed(name + " is not UTF-8")
		}
	}
	if q.pairs.Has("assignee") {
		q.filter.Assignee = new(q.pairs.Get("assignee"))
	}
	if q.pairs.Has("after") {
		q.after = new(q.pairs.Get("after"))
	}
	if q.filter.Done, err = readDone(q.pairs); err != nil {
		return q, err
	}
	q.limit, err = readLimit(q.pairs)
	return q, err
}

// readDone reads which tasks are asked for: undone ones without a word. The
// original's clients write booleans as Python does.
func readDone(pairs url.Values) (*bool, error) {
	if !pairs.Has("done") {
		return new(false), nil
	}
	switch strings.ToLower(pairs.Get("done")) {
	case "true", "1":
		return new(true), nil
	case "false", "0":
		return new(false), nil
	case "all":
		return nil, nil
	}
	return nil, malformed("done is true, false or all")
}

func readLimit(pairs url.Values) (int, error) {
	if !pairs.Has("limit") {
		return 0, nil
	}
	n, err := strconv.Atoi(pairs.Get("limit"))
	if err != nil || n < 1 {
		return 0, malformed("limit is a number above 0")
	}
	return min(n, maxPage), nil
}

// next is the path and query of the page after an id.
func (q listQuery) next(r *http.Request, id string) string {
	q.pairs.Set("after", id)
	return r.URL.EscapedPath() + "?" + q.pairs.Encode()
}
