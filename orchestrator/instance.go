package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const askTimeout = 3 * time.Second // of one answer on an instance's port

// looseInt reads 3 and "3": a service of one's own may write either.
type looseInt int

func (n *looseInt) UnmarshalJSON(b []byte) error {
	v, err := strconv.Atoi(string(bytes.Trim(b, `"`)))
	*n = looseInt(v)
	return err
}

// face is what an instance says of itself on /config; nil fields are unsaid.
type face struct {
	Step     *looseInt `json:"migration_step"`
	Port     *looseInt `json:"port"`
	Instance string    `json:"instance"`
	Version  string    `json:"version"`
}

// answer is what came back from an instance's port.
type answer struct {
	status   int
	location string // of a redirection
	body     []byte
}

// get asks once, on a connection of its own.
func get(ctx context.Context, url string) (status int, body []byte, err error) {
	a, err := fetch(ctx, url)
	return a.status, a.body, err
}

func fetch(ctx context.Context, url string) (a answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %v", askTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return a, err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy from the environment
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return a, bare(err)
	}
	defer resp.Body.Close()
	a.status, a.location = resp.StatusCode, resp.Header.Get("Location")
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return a, err
}

// bare takes the method and the URL off a client's error.
func bare(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// ready asks an instance whether it is ready; reason says why it is not.
func ready(ctx context.Context, port int, path string) (ok bool, reason string) {
	a, err := fetch(ctx, local(port)+path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return false, fmt.Sprintf("nothing listens on 127.0.0.1:%d", port)
	case err != nil:
		return false, fmt.Sprintf("%s: %v", path, err)
	case a.status == http.StatusOK:
		return true, ""
	}
	var told struct{ Reason string }
	if json.Unmarshal(a.body, &told) == nil && told.Reason != "" {
		return false, told.Reason
	}
	reason = fmt.Sprintf("%s answered %d", path, a.status)
	switch text := explain(a.body); {
	case a.location != "":
		reason += ", Location " + a.location
	case text != "":
		reason += " " + text
	}
	if a.status >= 300 && a.status < 500 { // it will hardly become another answer by itself
		reason += "; --ready-url names another path"
	}
	return false, reason
}

// readFace asks an instance what it is. A service that doesn't say is no
// error: known is false.
func readFace(ctx context.Context, url string) (f face, known bool, err error) {
	status, body, err := get(ctx, url)
	if err != nil {
		return f, false, err
	}
	if status >= 500 {
		return f, false, errors.New(strings.TrimSpace(fmt.Sprintf("it answered %d %s", status, explain(body))))
	}
	if status != http.StatusOK || json.Unmarshal(body, &f) != nil {
		return face{}, false, nil
	}
	return f, f.Step != nil || f.Instance != "", nil
}

// isOwn reports whether the instance is of the user's own service. What that
// answers at /config, or doesn't, is its own affair: only a migration_step
// there shows that it means what we do.
func (i Instance) isOwn() bool { return len(i.Own) > 0 }

// face asks the instance what it is; doubts are what it can't be asked.
func (i Instance) face(ctx context.Context) (f face, known bool, doubts []string, err error) {
	path := i.configPath()
	if path == NoConfig {
		return f, false, nil, nil
	}
	f, known, err = readFace(ctx, local(i.Port)+path)
	switch {
	case err != nil && i.isOwn():
		return face{}, false, []string{fmt.Sprintf("the instance on port %d can't be asked at %s: %v. Its step and build can't be checked; "+
			"--config-url names another path, or none", i.Port, path, err)}, nil
	case err != nil:
		return f, false, nil, fmt.Errorf("%w: port %d: %s: %w", ErrNotReady, i.Port, path, err)
	case i.isOwn() && f.Step == nil:
		f, known = face{}, false
	}
	switch {
	case !known:
		doubts = append(doubts, fmt.Sprintf("the instance on port %d tells no migration_step at %s: its step and build can't be checked", i.Port, path))
	case f.Step == nil:
		doubts = append(doubts, fmt.Sprintf("the instance on port %d does not say its migration_step: it can't be checked", i.Port))
	}
	if i.isOwn() && f.Port != nil && int(*f.Port) != i.Port {
		doubts = append(doubts, fmt.Sprintf("the instance on port %d says at %s that its port is %d: that is taken to mean something else", i.Port, path, *f.Port))
		f.Port = nil
	}
	return f, known, doubts, nil
}

func local(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }

// prove holds what an instance says of itself against what it should be, and
// returns it with what it told; doubts are what can't be proven.
func (o *Orchestrator) prove(ctx context.Context, i Instance) (Instance, []string, error) {
	f, known, doubts, err := i.face(ctx)
	if err != nil {
		return i, nil, err
	}
	if f.Step != nil && int(*f.Step) != i.Step {
		return i, nil, fmt.Errorf("%w: what answers on port %d is at step %d, not %d", ErrNotReady, i.Port, *f.Step, i.Step)
	}
	if f.Port != nil && int(*f.Port) != i.Port {
		return i, nil, fmt.Errorf("%w: what answers on port %d says it is on port %d", ErrNotReady, i.Port, *f.Port)
	}
	if i.Build != "" && known && f.Version == "" {
		doubts = append(doubts, fmt.Sprintf("the instance on port %d does not say its version: its build can't be checked", i.Port))
	}
	if i.Build != "" && f.Version != "" && f.Version != i.Build {
		return i, nil, fmt.Errorf("%w: the instance on port %d is build %s, not %s", ErrNotReady, i.Port, f.Version, i.Build)
	}
	if i.ID != "" && known && f.Instance != i.ID {
		return i, nil, fmt.Errorf("%w: what answers on port %d is instance %q, not %q", ErrNotReady, i.Port, f.Instance, i.ID)
	}
	if f.Instance != "" {
		i.ID = f.Instance
	}
	if f.Version != "" {
		i.Build = f.Version
	}
	s, err := o.admin(i).status(ctx)
	switch {
	case errors.Is(err, errNoAdmin) && i.Admin:
		return i, nil, fmt.Errorf("%w: the instance on port %d no longer answers on its admin socket", ErrNotReady, i.Port)
	case errors.Is(err, errNoAdmin):
		doubts = append(doubts, fmt.Sprintf("the instance on port %d has no admin socket: it is switched without gates, and its drain can't be seen", i.Port))
	case err != nil:
		return i, nil, fmt.Errorf("%w: port %d: %w", ErrNotReady, i.Port, err)
	case s.Instance != "" && i.ID != "" && s.Instance != i.ID:
		return i, nil, fmt.Errorf("%w: port %d is answered by instance %q, the admin socket by %q: a stranger has the port", ErrNotReady, i.Port, i.ID, s.Instance)
	default:
		i.Admin = true
	}
	return i, doubts, nil
}
