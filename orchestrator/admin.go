package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNoAdmin: nobody listens on the admin socket.
var errNoAdmin = errors.New("no admin socket")

// AdminStatus is what the tool needs of an instance's GET /status.
type AdminStatus struct {
	Instance  string `json:"instance"`
	Build     string `json:"build"`
	Port      int    `json:"port"`
	Step      int    `json:"step"`
	Ready     bool   `json:"ready"`
	Reason    string `json:"reason"`
	Degraded  string `json:"degraded"`
	Primary   string `json:"primary"`
	Epoch     int64  `json:"epoch"`
	Migration string `json:"migration"`
	Pending   int64  `json:"pending"`
	Age       int64  `json:"pending_age_ms"`
	Relay     string `json:"relay_error"` // why the last pass of the relay failed
	InFlight  int64  `json:"in_flight"`
	Requests  int64  `json:"requests"`

	FirstContact *FirstContact `json:"first_contact"`

	Raw json.RawMessage `json:"-"` // all of the answer
}

// FirstContact is what the instance that was first to open the old database
// did to it; nil for all others.
type FirstContact struct {
	Copy        string `json:"copy"`        // path of the database as it was before
	Rows        int64  `json:"rows"`        // that were taken over
	Quarantined int64  `json:"quarantined"` // rows that could not be, and wait for a decision
}

// admin is the client of one admin socket.
type admin struct {
	socket  string
	timeout time.Duration // of one answer
}

func (o *Orchestrator) admin(i Instance) admin {
	return admin{socket: i.Socket, timeout: o.cfg.Timeouts.Admin}
}

func (a admin) status(ctx context.Context) (AdminStatus, error) {
	var s AdminStatus
	b, err := a.call(ctx, http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("admin socket: GET /status: %w", err)
	}
	s.Raw = b
	return s, nil
}

// gates asks which gates hold, and changes nothing.
func (a admin) gates(ctx context.Context, to int) ([]Gate, error) {
	b, err := a.call(ctx, http.MethodGet, "/gates?to="+strconv.Itoa(to))
	if err != nil {
		return nil, err
	}
	return readGates(b)
}

// tryGates is gates, and has tried what only a write can tell. A service that
// knows no such request is only asked.
func (a admin) tryGates(ctx context.Context, to int) ([]Gate, error) {
	b, err := a.call(ctx, http.MethodPost, "/gates?to="+strconv.Itoa(to))
	var refused statusError
	if errors.As(err, &refused) && (refused.code == http.StatusMethodNotAllowed || refused.code == http.StatusNotFound) {
		return a.gates(ctx, to)
	}
	if err != nil {
		return nil, err
	}
	return readGates(b)
}

func readGates(b []byte) ([]Gate, error) {
	var answer struct {
		Gates []Gate `json:"gates"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("admin socket: /gates: %w", err)
	}
	return answer.Gates, nil
}

// drained is the answer to POST /drain. Ours answers once nothing is left; a
// service of somebody's own may answer sooner, and say what is.
type drained struct {
	Pending  int64  `json:"pending"`
	InFlight int64  `json:"in_flight"`
	Away     string `json:"away"` // why what is pending need not be waited for: the database that lacks it does not answer
}

func (a admin) drain(ctx context.Context) (drained, error) {
	var d drained
	b, err := a.call(ctx, http.MethodPost, "/drain")
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	return d, err
}

// post asks for prepare, probe or advance.
func (a admin) post(ctx context.Context, path string) error {
	_, err := a.call(ctx, http.MethodPost, path)
	return err
}

func (a admin) call(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, a.socket) },
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	resp, err := client.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s %s: %w", method, path, errNoAdmin)
	}
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("admin socket: %s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, statusError{resp.StatusCode, fmt.Sprintf("admin socket: %s %s: %s: %s", method, path, resp.Status, explain(b))}
	}
	return b, nil
}

// statusError is an answer that says no.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string { return e.text }

// explain takes the message out of an error answer.
func explain(body []byte) string {
	var answer struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error.Code != "" {
		return strings.TrimSuffix(answer.Error.Code+": "+answer.Error.Message, ": ")
	}
	const most = 300
	text := strings.TrimSpace(string(bytes.ToValidUTF8(body, nil)))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// maxSocketPath is what every system takes; Linux has 107 bytes, macOS 103.
const maxSocketPath = 103

// dialSocket connects to a Unix socket however long its path is: a folder too
// deep for a socket's address is reached by its open descriptor where /proc
// has it, else by a short link.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	if len(path) <= maxSocketPath {
		return d.DialContext(ctx, "unix", path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if short := fmt.Sprintf("/proc/self/fd/%d", dir.Fd()); exists(short) {
		return d.DialContext(ctx, "unix", filepath.Join(short, filepath.Base(path)))
	}
	tmp, err := os.MkdirTemp("/tmp", "migrate")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		return nil, err
	}
	return d.DialContext(ctx, "unix", filepath.Join(link, filepath.Base(path)))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
