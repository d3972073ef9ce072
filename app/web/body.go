package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"migrate/app/task"
)

// maxBody is the largest body that is read, in bytes.
const maxBody = 256 << 10

// taskID returns the id in the path, unescaped.
func taskID(r *http.Request) (string, error) {
	id, err := url.PathUnescape(mux.Vars(r)["id"])
	if err != nil {
		return "", malformed("the id is not escaped as a path must be")
	}
	if !utf8.ValidString(id) { // no id is anything else
		return "", noTask(strings.ToValidUTF8(id, "\uFFFD"))
	}
	return id, nil
}

// readBody returns the whole body, at most maxBody bytes of it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "" {
		return nil, &problem{http.StatusUnsupportedMediaType, "unsupported_media_type", "encoded bodies are not understood"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, bodyProblem(err)
	}
	return body, nil
}

func bodyProblem(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &problem{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a body has at most %d bytes", maxBody)}
	}
	return malformed("the body could not be read")
}

// noBody makes sure that nothing was sent which would then be ignored.
func noBody(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if body = bytes.TrimSpace(body); len(body) > 0 && string(body) != "{}" {
		return malformed("PUT marks a task done and takes no body; PATCH changes fields")
	}
	return nil
}

// newTask reads the task to create from a form or from JSON.
func newTask(w http.ResponseWriter, r *http.Request) (task.Task, error) {
	var t task.Task
	var err error
	switch mediaType(r) {
	case "application/json":
		t, err = taskFromJSON(w, r)
	case "application/x-www-form-urlencoded", "multipart/form-data":
		t, err = taskFromForm(w, r)
	default:
		err = &problem{http.StatusUnsupportedMediaType, "unsupported_media_type", "send a form or application/json"}
	}
	if err != nil {
		return task.Task{}, err
	}
	return t, cmp.Or(task.ValidateAssignee(t.Assignee), task.ValidateDescription(t.Description))
}

// mediaType returns what the body says it is, without parameters; empty if it
// doesn't say or can't be understood.
func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

func taskFromForm(w http.ResponseWriter, r *http.Request) (task.Task, error) {
	body, err := readBody(w, r)
	if err != nil {
		return task.Task{}, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if mediaType(r) == "multipart/form-data" {
		err = r.ParseMultipartForm(maxBody)
	} else {
		err = r.ParseForm()
	}
	if err != nil {
		return task.Task{}, malformed("the form can't be read")
	}
	return task.Task{Assignee: r.PostForm.Get("assignee"), Description: r.PostForm.Get("description")}, nil
}

func taskFromJSON(w http.ResponseWriter, r *http.Request) (task.Task, error) {
	var t struct {
		Assignee    json.RawMessage `json:"assignee"`
		Description json.RawMessage `json:"description"`
	}
	if err := decode(w, r, &t); err != nil {
		return task.Task{}, err
	}
	assignee, err1 := field[string]("assignee", t.Assignee)
	description, err2 := field[string]("description", t.Description)
	return task.Task{Assignee: assignee, Description: description}, cmp.Or(err1, err2)
}

// patch is what a PATCH changes; nil leaves a field as it is.
type patch struct {
	assignee, description *string
	done                  *bool
}

// newPatch reads a patch. Only what it sets is validated, so that a task from
// before the limits can still be changed elsewhere.
func newPatch(w http.ResponseWriter, r *http.Request) (patch, error) {
	if t := mediaType(r); t != "application/json" && t != "application/merge-patch+json" {
		return patch{}, &problem{http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json"}
	}
	var body struct {
		Assignee    json.RawMessage `json:"assignee"`
		Description json.RawMessage `json:"description"`
		Done        json.RawMessage `json:"done"`
	}
	if err := decode(w, r, &body); err != nil {
		return patch{}, err
	}
	var p patch
	var err1, err2, err3 error
	p.assignee, err1 = optional("assignee", body.Assignee, task.ValidateAssignee)
	p.description, err2 = optional("description", body.Description, task.ValidateDescription)
	p.done, err3 = optional("done", body.Done, func(bool) error { return nil })
	return p, cmp.Or(err1, err2, err3)
}

func (p patch) apply(t task.Task) task.Task {
	if p.assignee != nil {
		t.Assignee = *p.assignee
	}
	if p.description != nil {
		t.Description = *p.description
	}
	if p.done != nil {
		t.Done = *p.done
	}
	return t
}

// decode reads one JSON object into v. A field that v lacks is refused rather
// than dropped: it would be a misspelled one.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if !utf8.Valid(body) { // the decoder would replace what is not, in silence
		return malformed("the body is not UTF-8")
	}
	if !json.Valid(body) || bytes.TrimSpace(body)[0] != '{' {
		return malformed("the body is not one JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %s", task.ErrInvalid, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// optional decodes and validates a field; nil if it is absent.
func optional[T any](name string, raw json.RawMessage, validate func(T) error) (*T, error) {
	if raw == nil {
		return nil, nil
	}
	v, err := field[T](name, raw)
	if err == nil {
		err = validate(v)
	}
	return &v, err
}

// field decodes a field, zero if it is absent; null and other types are refused.
func field[T any](name string, raw json.RawMessage) (v T, err error) {
	if raw != nil && (string(raw) == "null" || json.Unmarshal(raw, &v) != nil) {
		return v, fmt.Errorf("%w: %s is no %T", task.ErrInvalid, name, v)
	}
	return v, nil
}
