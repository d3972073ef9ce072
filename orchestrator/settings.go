package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// NoConfig as Settings.ConfigURL: the service is never asked what it is.
const NoConfig = "none"

const (
	defaultReadyURL  = "/readyz"
	defaultConfigURL = "/config"
)

// Settings are how a service is waited for, asked and ended. They are
// remembered with it: zero values are as they were for the instance before,
// else the defaults.
type Settings struct {
	ReadyURL     string   `json:"ready_url,omitempty"`     // path that answers 200 once an instance is ready; /readyz
	ConfigURL    string   `json:"config_url,omitempty"`    // path where an instance says what it is, or NoConfig; /config
	ReadyTimeout Duration `json:"ready_timeout,omitempty"` // until a started instance is ready; Timeouts.Ready
	DrainTimeout Duration `json:"drain_timeout,omitempty"` // for what the previous instance has begun; Timeouts.Drain
	Grace        Duration `json:"grace,omitempty"`         // from SIGTERM to SIGKILL; Timeouts.Grace
}

// Duration is a time.Duration that reads and writes "5m0s".
type Duration time.Duration

// String is the duration as Go writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration as Go writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// or is the duration, or another one where it is zero.
func (d Duration) or(other time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return other
}

// Over returns the settings, with those of base where nothing is said.
func (s Settings) Over(base Settings) Settings {
	if s.ReadyURL == "" {
		s.ReadyURL = base.ReadyURL
	}
	if s.ConfigURL == "" {
		s.ConfigURL = base.ConfigURL
	}
	for _, d := range []struct{ value, base *Duration }{
		{&s.ReadyTimeout, &base.ReadyTimeout}, {&s.DrainTimeout, &base.DrainTimeout}, {&s.Grace, &base.Grace},
	} {
		if *d.value == 0 {
			*d.value = *d.base
		}
	}
	return s
}

// Check refuses settings that can't be meant.
func (s Settings) Check() error {
	for flag, path := range map[string]string{"--ready-url": s.ReadyURL, "--config-url": s.ConfigURL} {
		if path != "" && !strings.HasPrefix(path, "/") && (flag != "--config-url" || path != NoConfig) {
			return fmt.Errorf("%s is %q: want a path on the instance, such as /up", flag, path)
		}
	}
	for flag, d := range map[string]Duration{"--ready-timeout": s.ReadyTimeout, "--drain-timeout": s.DrainTimeout, "--grace": s.Grace} {
		if d < 0 {
			return fmt.Errorf("%s is %v: want more than 0", flag, d)
		}
	}
	return nil
}

// Flags are the command line's words for the settings, each after a blank.
func (s Settings) Flags() string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{{"--ready-url", s.ReadyURL}, {"--config-url", s.ConfigURL}} {
		if f.value != "" {
			fmt.Fprintf(&b, " %s %s", f.name, Quoted(f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value Duration
	}{{"--ready-timeout", s.ReadyTimeout}, {"--drain-timeout", s.DrainTimeout}, {"--grace", s.Grace}} {
		if f.value > 0 {
			fmt.Fprintf(&b, " %s %v", f.name, f.value)
		}
	}
	return b.String()
}

func (s Settings) readyPath() string {
	if s.ReadyURL == "" {
		return defaultReadyURL
	}
	return s.ReadyURL
}

func (s Settings) configPath() string {
	if s.ConfigURL == "" {
		return defaultConfigURL
	}
	return s.ConfigURL
}

// serviceRecord says which service it is that an instance belongs to: whose command it is, and how
// it is treated.
type serviceRecord struct {
	Own      []string `json:"own,omitempty"`
	Settings Settings `json:"settings"`
}

// remembered are the settings of the service that runs, or ran last, if it is
// the same: the user's own, or the ToDo service.
func (op *operation) remembered(v view, own bool) Settings {
	last := serviceRecord{op.state.Own, op.state.Settings}
	if v.active != nil && v.known {
		last = serviceRecord{v.active.Own, v.active.Settings}
	} else if len(v.others) > 0 {
		last = serviceRecord{v.others[0].Own, v.others[0].Settings}
	}
	if own != (len(last.Own) > 0) {
		return Settings{}
	}
	return last.Settings
}

// serve remembers the service of the instance, also beside the state: a state
// that is lost must not make the next spawn start another service.
func (op *operation) serve(i Instance) error {
	op.state.Own, op.state.Settings = i.Own, i.Settings
	path := op.o.servicePath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("remember the service: %w", err)
	}
	return op.o.withRoom(func() error { return writeJSON(path, serviceRecord{i.Own, i.Settings}) })
}

func (o *Orchestrator) servicePath() string {
	return filepath.Join(o.cfg.Dir, "instances", serviceFile)
}

// readService reads what serve has written beside the state.
func (o *Orchestrator) readService() (s serviceRecord, err error) {
	b, err := os.ReadFile(o.servicePath())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("%s can't be read: %w", o.servicePath(), err)
	}
	return s, nil
}

// ReadyPath is the path that answers 200 once an instance is ready.
func (s Settings) ReadyPath() string { return s.readyPath() }
