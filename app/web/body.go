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
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"migrate.invalid/migrate/app/task"
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

// ignoreBody reads the body to its end and drops it, as the original does: its
// own pages send the options of their HTTP library there.
func ignoreBody(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		return bodyProblem(err)
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
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return t
}

func taskFromForm(w http.ResponseWriter, r *http.Request) (task.Task, error) {
	form, err := readForm(w, r)
	if err != nil {
		return task.Task{}, err
	}
	for _, name := range []string{"assignee", "description"} {
		if len(form[name]) > 1 {
			return task.Task{}, twice(name)
		}
	}
	return task.Task{Assignee: form.Get("assignee"), Description: form.Get("description")}, nil
}

// readForm reads the fields of a form, whatever they are called.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if mediaType(r) != "multipart/form-data" {
		form, err := parsePairs(string(body))
		if err != nil {
			return nil, malformed("the form can't be read: " + err.Error())
		}
		return form, nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, malformed("the form can't be read: " + err.Error())
	}
	form, err := parts.ReadForm(maxBody)
	if err != nil {
		return nil, malformed("the form can't be read: " + err.Error())
	}
	return form.Value, form.RemoveAll()
}

func taskFromJSON(w http.ResponseWriter, r *http.Request) (task.Task, error) {
	fields, err := decode(w, r, "assignee", "description")
	if err != nil {
		return task.Task{}, err
	}
	assignee, err1 := field[string]("assignee", fields["assignee"])
	description, err2 := field[string]("description", fields["description"])
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
	fields, err := decode(w, r, "assignee", "description", "done")
	if err != nil {
		return patch{}, err
	}
	var p patch
	var err1, err2, err3 error
	p.assignee, err1 = optional("assignee", fields["assignee"], task.ValidateAssignee)
	p.description, err2 = optional("description", fields["description"], task.ValidateDescription)
	p.done, err3 = optional("done", fields["done"], func(bool) error { return nil })
	return p, cmp.Or(err1, err2, err3)
}

// whole reports whether the patch sets every field.
func (p patch) whole() bool { return p.assignee != nil && p.description != nil && p.done != nil }

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

// decode reads one JSON object with some of these fields, each at most once. A
// field of another name is refused rather than dropped: it would be a
// misspelled one.
func decode(w http.ResponseWriter, r *http.Request, names ...string) (map[string]json.RawMessage, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) { // the decoder would replace what is not, in silence
		return nil, malformed("the body is not UTF-8")
	}
	if !json.Valid(body) || bytes.TrimSpace(body)[0] != '{' {
		return nil, malformed("the body is not one JSON object")
	}
	fields := map[string]json.RawMessage{}
	d := json.NewDecoder(bytes.NewReader(body))
	_, err = d.Token() // the brace
	for err == nil && d.More() {
		var token json.Token
		var value json.RawMessage
		token, err = d.Token()
		name, _ := token.(string)
		if err == nil {
			err = d.Decode(&value)
		}
		switch {
		case err != nil:
		case !slices.Contains(names, name):
			err = fmt.Errorf("%w: unknown field %q", task.ErrInvalid, name)
		case fields[name] != nil:
			err = twice(name)
		}
		fields[name] = value
	}
	return fields, err
}

// twice refuses a field of which nobody can say which value is meant.
func twice(name string) error { return fmt.Errorf("%w: %s is given twice", task.ErrInvalid, name) }

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
	if text, ok := any(v).(string); ok && replaced(text, raw) {
		return v, fmt.Errorf("%w: %s holds half of a surrogate pair", task.ErrInvalid, name)
	}
	return v, nil
}

// replaced reports whether decoding put a U+FFFD in place of an escape that
// stands for no character.
func replaced(text string, raw json.RawMessage) bool {
	const mark = "\uFFFD"
	sent := strings.ToLower(string(raw))
	return strings.Count(text, mark) > strings.Count(sent, mark)+strings.Count(sent, `\ufffd`)
}
