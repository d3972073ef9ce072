package nginx

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
	"time"
)

// The defaults of a [Config].
const (
	DefaultListen    = "localhost:5000"
	DefaultFirstPort = 8000
	DefaultPorts     = 32
)

// Cutover is a way to move traffic.
type Cutover string

// The two ways. The links say where traffic goes under either.
const (
	ByLink   Cutover = "link"   // nginx resolves a link at every request: nothing is reloaded
	ByReload Cutover = "reload" // the upstreams are rewritten, and nginx reloaded
)

// ErrNotInstalled is wrapped by errors of a Server that has no nginx to run.
var ErrNotInstalled = errors.New("nginx is not installed")

// Config says what to run and where.
type Config struct {
	Dir       string  // the folder that everything is in; absolute and without links after New
	Listen    string  // the address, host:port; localhost is both loopback addresses; default DefaultListen
	FirstPort int     // of the instances; default DefaultFirstPort
	Ports     int     // how many ports from the first one may be live; default DefaultPorts
	Cutover   Cutover // how traffic moves; default ByLink
	Binary    string  // default: $MIGRATE_NGINX, else the nginx in PATH or where systems put it
	Settings          // of how requests pass
}

// Server is an nginx that belongs to one folder, running or not. Its methods
// may be called from several goroutines, but two operators need a lock of
// their own around Start, Stop and the moves.
type Server struct {
	cfg    Config
	taking time.Duration // how long a reload may take to be seen; settle
	cut    atomic.Int64  // see TakeCut
}

// New checks the configuration. It touches no file and needs no nginx.
func New(cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.FirstPort == 0 {
		cfg.FirstPort = DefaultFirstPort
	}
	if cfg.Ports == 0 {
		cfg.Ports = DefaultPorts
	}
	if cfg.Cutover == "" {
		cfg.Cutover = ByLink
	}
	if cfg.Cutover != ByLink && cfg.Cutover != ByReload {
		return nil, fmt.Errorf("nginx: traffic moves by %s or %s, not by %q", ByLink, ByReload, cfg.Cutover)
	}
	if cfg.Dir == "" {
		return nil, errors.New("nginx: no folder")
	}
	dir, err := RealPath(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("nginx: folder: %w", err)
	}
	cfg.Dir = dir
	if i := strings.IndexFunc(dir, unwritable); i >= 0 {
		return nil, fmt.Errorf("nginx: folder %q: nginx.conf has no way to write %q in a path; choose another state folder",
			dir, dir[i:i+1])
	}
	if cfg.FirstPort < 1 || cfg.Ports < 1 || cfg.FirstPort+cfg.Ports > 1<<16 {
		return nil, fmt.Errorf("nginx: no %d ports from %d up", cfg.Ports, cfg.FirstPort)
	}
	if err := checkListen(cfg); err != nil {
		return nil, err
	}
	if err := cfg.Settings.withDefaults().check(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, taking: settle}, nil
}

// Config returns the configuration with its defaults filled in.
func (s *Server) Config() Config { return s.cfg }

// unwritable reports whether r in a path would end the quoted string it is
// in, or begin a variable: nginx has no escape for `$`.
func unwritable(r rune) bool { return r == '$' || r == '"' || r < ' ' || r == 0x7f }

//go:embed nginx.conf.tmpl
var templateText string

// Render returns the text of nginx.conf, with the operator's own file in it as
// it is now. It writes nothing.
func (s *Server) Render(ctx context.Context) ([]byte, error) {
	var own custom
	if _, err := os.Stat(s.path(customFile)); err == nil {
		own = customFile
	}
	text, _, err := s.renderLinks(ctx, own)
	return text, err
}

// targets are the ports that traffic is to go to; 0 is none.
type targets struct{ live, fallback int }

// targets are where the links lead now.
func (s *Server) targets() (to targets, err error) {
	if to.live, err = s.Live(); err != nil {
		return to, err
	}
	to.fallback, err = s.Fallback()
	return to, err
}

// renderLinks renders for where the links lead now.
func (s *Server) renderLinks(ctx context.Context, own custom) (text []byte, generation string, err error) {
	to, err := s.targets()
	if err != nil {
		return nil, "", err
	}
	return s.render(ctx, to, own)
}

// render returns the text and its generation: a hash of all the rest of it,
// by which a running nginx says which text it was started or reloaded with.
// The text depends on the targets only when traffic moves by reload.
func (s *Server) render(ctx context.Context, to targets, own custom) (text []byte, generation string, err error) {
	groups, err := s.groups(to)
	if err != nil {
		return nil, "", err
	}
	data := s.template(groups, s.workerAccount(), s.release(ctx).keepsIdle(), to)
	data.Custom = string(own)
	tmpl, err := template.New("nginx.conf").Funcs(template.FuncMap{
		"quote": quote,
		"path":  func(name string) string { return quote(s.path(name)) },
		"open":  func(name string) string { return quote(s.served(name)) },
		"ms":    milliseconds,
	}).Parse(templateText)
	if err != nil {
		return nil, "", fmt.Errorf("nginx: template: %w", err)
	}
	var draft, final bytes.Buffer
	if err := tmpl.Execute(&draft, data); err != nil {
		return nil, "", fmt.Errorf("nginx: template: %w", err)
	}
	data.Generation = short(draft.Bytes())
	if err := tmpl.Execute(&final, data); err != nil {
		return nil, "", fmt.Errorf("nginx: template: %w", err)
	}
	return final.Bytes(), data.Generation, nil
}

// groups are the ports that the text has upstream groups for.
func (s *Server) groups(to targets) ([]string, error) {
	var groups []string
	if s.cfg.Cutover == ByReload {
		for _, port := range []int{to.live, to.fallback} {
			if group := strconv.Itoa(port); port != 0 && !slices.Contains(groups, group) {
				groups = append(groups, group)
			}
		}
		return groups, nil
	}
	for i := range s.cfg.Ports {
		groups = append(groups, strconv.Itoa(s.cfg.FirstPort+i))
	}
	more, err := s.morePorts()
	if err != nil {
		return nil, err
	}
	for _, port := range more {
		if !s.inRange(port) {
			groups = append(groups, strconv.Itoa(port))
		}
	}
	return groups, nil
}

// quote writes a string the way nginx.conf reads it.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `\`, `\\`) + `"` }

// short is a hash that tells a few texts apart.
func short(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// binary returns the path of the nginx to run.
func (s *Server) binary() (string, error) {
	name := s.cfg.Binary
	if name == "" {
		name = os.Getenv("MIGRATE_NGINX")
	}
	if name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrNotInstalled, err)
		}
		return filepath.Abs(path)
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w: run scripts/install-nginx.sh, or name one in MIGRATE_NGINX", ErrNotInstalled)
}
