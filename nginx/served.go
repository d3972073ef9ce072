package nginx

import (
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

// ErrNotRunning is wrapped by errors of calls that need a running nginx.
var ErrNotRunning = errors.New("nginx is not running")

// Route is what the running nginx resolves.
type Route struct {
	Live       int    `json:"live"`       // port; 0 none
	Fallback   int    `json:"fallback"`   // port; 0 none
	Generation string `json:"generation"` // of the configuration that it runs
}

// Served asks nginx, through its own port and on a new connection, where it
// sends requests. It is the truth; the links are only what it is told.
func (s *Server) Served(ctx context.Context) (Route, error) {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, // and no proxy
		Timeout:   5 * time.Second,
		// A redirection is an answer of the operator's own, or of another program.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var route Route
	var err error
	if route.Live, route.Generation, err = s.ask(ctx, client, live); err != nil {
		return Route{}, err
	}
	if route.Fallback, _, err = s.ask(ctx, client, fallback); err != nil {
		return Route{}, err
	}
	return route, nil
}

func (s *Server) ask(ctx context.Context, client *http.Client, link string) (port int, generation string, err error) {
	url := "http://" + s.dialAddress() + "/migrate-route/" + link
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", fmt.Errorf("nginx: %w", err)
	}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, "", fmt.Errorf("nginx: %s: %w", s.cfg.Listen, ErrNotRunning)
	}
	if err != nil {
		return 0, "", fmt.Errorf("nginx: what does it serve: %w", bare(err))
	}
	defer resp.Body.Close()
	var answer struct{ Instance, Generation, Folder string }
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return 0, "", fmt.Errorf("nginx: what does it serve: %w", err)
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Folder != s.folderID() {
		return 0, "", fmt.Errorf("nginx: what answers on %s (%s) is not the nginx of %s",
			s.cfg.Listen, resp.Status, s.cfg.Dir)
	}
	if answer.Instance == none {
		return 0, answer.Generation, nil
	}
	port, err = strconv.Atoi(strings.TrimPrefix(answer.Instance, "i"))
	if err != nil {
		return 0, "", fmt.Errorf("nginx: serves an instance %q", answer.Instance)
	}
	return port, answer.Generation, nil
}

// bare takes the method and the address off a client's error.
func bare(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
