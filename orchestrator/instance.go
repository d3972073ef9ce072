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

// get asks once, on a connection of its own.
func get(ctx context.Context, url string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy from the environment
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, bare(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
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
	status, body, err := get(ctx, local(port)+path)
	if err != nil {
		return false, err.Error()
	}
	if status == http.StatusOK {
		return true, ""
	}
	var answer struct{ Reason string }
	if json.Unmarshal(body, &answer) == nil && answer.Reason != "" {
		return false, answer.Reason
	}
	return false, strings.TrimSpace(fmt.Sprintf("%s answered %d %s", path, status, explain(body)))
}

// readFace asks for /config. A service that has none is no error: known is false.
func readFace(ctx context.Context, base string) (f face, known bool, err error) {
	status, body, err := get(ctx, base+"/config")
	if err != nil {
		return f, false, err
	}
	if status >= 500 {
		return f, false, fmt.Errorf("/config answered %d %s", status, explain(body))
	}
	if status != http.StatusOK || json.Unmarshal(body, &f) != nil {
		return face{}, false, nil
	}
	return f, f.Step != nil || f.Instance != "", nil
}

func local(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }

// prove holds what an instance says of itself against what it should be, and
// returns it with what it told; doubts are what can't be proven.
func (o *Orchestrator) prove(ctx context.Context, i Instance) (Instance, []string, error) {
	f, known, err := readFace(ctx, local(i.Port))
	if err != nil {
		return i, nil, fmt.Errorf("%w: port %d: %w", ErrNotReady, i.Port, err)
	}
	var doubts []string
	switch {
	case !known:
		doubts = append(doubts, fmt.Sprintf("the instance on port %d tells neither migration_step nor instance at /config: its step and build can't be checked", i.Port))
	case f.Step == nil:
		doubts = append(doubts, fmt.Sprintf("the instance on port %d does not say its migration_step: it can't be checked", i.Port))
	case int(*f.Step) != i.Step:
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
