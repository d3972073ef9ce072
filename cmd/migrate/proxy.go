package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

	"migrate.invalid/migrate/nginx"
)

// none as the value of a list empties it.
const none = "none"

// proxyFlags are the flags of nginx start about the way that requests pass. Only
// those that were given replace what is remembered.
type proxyFlags struct {
	flags        *pflag.FlagSet // of the command that has them; else nil
	read, idle   time.Duration
	upstreamIdle time.Duration
	maxBody      string
	trusted      []string
	hide         []string
	accessLog    bool
}

// bind gives the flags to a command.
func (p *proxyFlags) bind(f *pflag.FlagSet) {
	p.flags = f
	f.DurationVar(&p.read, "proxy-read-timeout", nginx.DefaultReadTimeout, "how long an instance may be silent before its request is answered 504")
	f.DurationVar(&p.idle, "proxy-idle-timeout", nginx.DefaultIdleTimeout, "the same for upgraded connections (WebSocket) and event streams")
	f.DurationVar(&p.upstreamIdle, "upstream-idle-timeout", nginx.DefaultUpstreamIdle,
		"how long nginx keeps an idle connection to an instance; shorter than the service does, 0 for not at all")
	f.StringVar(&p.maxBody, "max-body", "default", "largest `size` of a request's body, such as 20m; 0 is no limit (default: 1 MB for the ToDo service, no limit for another)")
	f.StringSliceVar(&p.trusted, "trusted-proxy", nil, "`network` whose X-Forwarded-* headers are believed, besides this machine, such as 10.0.0.0/8; none for no other")
	f.StringSliceVar(&p.hide, "hide-path", nil, "`path` that is answered 404, it alone and nothing below it, besides /metrics and /readyz of the ToDo service; none for no other")
	f.BoolVar(&p.accessLog, "access-log", false, "write a line for each request to nginx/logs/access.log")
	for _, name := range []string{"max-body"} {
		f.Lookup(name).DefValue = "" // its usage says it
	}
}

// over puts the flags that were given in the place of what is remembered.
func (p *proxyFlags) over(s *nginx.Settings) error {
	given := func(name string) bool { return p.flags != nil && p.flags.Changed(name) }
	if given("proxy-read-timeout") {
		s.ReadTimeout = p.read
	}
	if given("proxy-idle-timeout") {
		s.IdleTimeout = p.idle
	}
	for name, d := range map[string]time.Duration{"proxy-read-timeout": p.read, "proxy-idle-timeout": p.idle} {
		if given(name) && d <= 0 {
			return fmt.Errorf("--%s: %v is no time to wait", name, d)
		}
	}
	if given("upstream-idle-timeout") {
		s.UpstreamIdle = &p.upstreamIdle
	}
	if given("max-body") {
		s.MaxBody = nil
		if p.maxBody != "default" {
			size, err := nginx.ParseSize(p.maxBody)
			if err != nil {
				return fmt.Errorf("--max-body: %w", err)
			}
			s.MaxBody = &size
		}
	}
	if given("trusted-proxy") {
		networks, err := nginx.ParseTrusted(listed(p.trusted))
		if err != nil {
			return fmt.Errorf("--trusted-proxy: %w", err)
		}
		s.TrustedProxies = networks
	}
	if given("hide-path") {
		s.HidePaths = listed(p.hide)
	}
	if given("access-log") {
		s.AccessLog = p.accessLog
	}
	return nil
}

// listed are the words of a list; none of them for none.
func listed(words []string) []string {
	if slices.Equal(words, []string{none}) {
		return nil
	}
	return words
}

// proxySettings are remembered, so that they are said once.
type proxySettings struct {
	Listen  string        `json:"listen"`
	First   int           `json:"first_port"`
	Cutover nginx.Cutover `json:"cutover,omitempty"`
	nginx.Settings
}

func keepProxy(dir string, cfg nginx.Config) error {
	kept, err := json.Marshal(proxySettings{Listen: cfg.Listen, First: cfg.FirstPort, Cutover: cfg.Cutover, Settings: cfg.Settings})
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, "proxy.json"), kept, 0o600)
}

func keptProxy(dir string) (proxySettings, error) {
	kept := proxySettings{Listen: defaultListen, First: firstPort}
	b, err := os.ReadFile(filepath.Join(dir, "proxy.json"))
	if errors.Is(err, os.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("read the proxy's settings: %w", err)
	}
	return kept, nil
}
