package app

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example is a request of docs/http.md and its answer.
type example struct {
	request []string // the line, and the headers
	body    string
	status  string
	headers []string
	answer  string
}

func (e example) String() string { return e.request[0] }

// TestExamplesOfTheHTTPReference runs every example of docs/http.md in its
// order, on the file that the page describes.
func TestExamplesOfTheHTTPReference(t *testing.T) {
	page, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	tables, examples := blocks(string(page), "sql"), blocks(string(page), "http")
	if len(tables) != 1 || len(examples) < 20 {
		t.Fatalf("%d tables and %d examples were found: look at the expression", len(tables), len(examples))
	}
	path := filepath.Join(t.TempDir(), "todo.sqlite")
	foreign := foreignly(t, path)
	defer foreign.Close()
	if _, err := foreign.Exec(tables[0]); err != nil {
		t.Fatal(err)
	}
	url := serveFile(t, path)
	for _, text := range examples {
		e := readExample(t, text)
		t.Run(e.String(), func(t *testing.T) { e.run(t, url) })
	}
}

// blocks are the fenced blocks of a page in one language.
func blocks(page, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)\n```").FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	return found
}

// readExample reads paragraphs: the request's head, its body if there is one,
// the answer's head, and its body.
func readExample(t *testing.T, text string) (e example) {
	t.Helper()
	paragraphs := strings.Split(text, "\n\n")
	e.request = strings.Split(paragraphs[0], "\n")
	rest := paragraphs[1:]
	status := regexp.MustCompile(`^\d{3}(\n|$)`)
	if len(rest) > 0 && !status.MatchString(rest[0]) {
		e.body, rest = rest[0], rest[1:]
	}
	if len(rest) == 0 || !status.MatchString(rest[0]) || len(rest) > 2 {
		t.Fatalf("this is no example:\n%s", text)
	}
	head := strings.Split(rest[0], "\n")
	e.status, e.headers = head[0], head[1:]
	if len(rest) == 2 {
		e.answer = rest[1]
	}
	return e
}

func (e example) run(t *testing.T, url string) {
	res, answer := e.send(t, url)
	if got := fmt.Sprint(res.StatusCode); got != e.status {
		t.Errorf("%s is answered, not %s", got, e.status)
	}
	for _, line := range e.headers {
		name, value, _ := strings.Cut(line, ": ")
		if got := res.Header.Get(name); !like(value, got) {
			t.Errorf("%s is\n%s, not\n%s", name, got, value)
		}
	}
	if !like(e.answer, strings.TrimSuffix(answer, "\n")) {
		t.Errorf("the answer is\n%s, not\n%s", answer, e.answer)
	}
}

// like compares, with … for anything.
func like(pattern, got string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), "…", ".*") + "$").MatchString(got)
}

func (e example) send(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	method, target, _ := strings.Cut(e.request[0], " ")
	req, err := http.NewRequestWithContext(t.Context(), method, url+target, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range e.request[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}
