package nginx

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The defaults of [Settings].
const (
	DefaultReadTimeout  = 65 * time.Second
	DefaultIdleTimeout  = time.Hour
	DefaultUpstreamIdle = time.Second
)

// todoMaxBody is the limit on a body for the ToDo service, in bytes, unless
// [Settings.MaxBody] sets another. A power of ten, because nginx can compare a
// number in a variable only by its digits: see the map $declared_body.
const todoMaxBody = 1_000_000

// todoHides are the paths of the ToDo service that are for the operator only.
var todoHides = []string{"/metrics", "/readyz"}

// Settings are what an operator may choose about the way that requests pass.
// They are remembered, so a zero value means the default.
type Settings struct {
	// ReadTimeout is how long an instance may take between two parts of an answer.
	ReadTimeout time.Duration `json:"proxy_read_timeout,omitempty"`
	// IdleTimeout is the same for upgraded connections and event streams.
	IdleTimeout time.Duration `json:"proxy_idle_timeout,omitempty"`
	// UpstreamIdle is how long a connection to an instance is kept idle. It must
	// be shorter than the instance keeps it. Nil is the default, 0 keeps none.
	UpstreamIdle *time.Duration `json:"upstream_idle_timeout,omitempty"`
	// MaxBody limits the body of a request, in bytes; 0 is no limit. Nil limits
	// it to 1 MB for the ToDo service, and not at all for any other.
	MaxBody *int64 `json:"max_body,omitempty"`
	// TrustedProxies are networks, besides loopback, whose X-Forwarded-* headers
	// are believed.
	TrustedProxies []netip.Prefix `json:"trusted_proxies,omitempty"`
	// HidePaths are answered 404, besides those that are the ToDo service's own.
	HidePaths []string `json:"hide_paths,omitempty"`
	// AccessLog writes a line for each request to logs/access.log.
	AccessLog bool `json:"access_log,omitempty"`
}

// withDefaults fills in what was not chosen, except for MaxBody.
func (s Settings) withDefaults() Settings {
	if s.ReadTimeout == 0 {
		s.ReadTimeout = DefaultReadTimeout
	}
	if s.IdleTimeout == 0 {
		s.IdleTimeout = DefaultIdleTimeout
	}
	if s.UpstreamIdle == nil {
		idle := DefaultUpstreamIdle
		s.UpstreamIdle = &idle
	}
	return s
}

// check refuses what nginx would refuse, or would take for something else.
func (s Settings) check() error {
	const most = 1000 * time.Hour
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"proxy read timeout", s.ReadTimeout}, {"proxy idle timeout", s.IdleTimeout}} {
		if d.d < time.Millisecond || d.d > most {
			return fmt.Errorf("nginx: %s %v: want from 1ms to %v", d.name, d.d, most)
		}
	}
	if d := *s.UpstreamIdle; d != 0 && d < time.Millisecond || d > most {
		return fmt.Errorf("nginx: upstream idle timeout %v: want 0, or from 1ms to %v", d, most)
	}
	if s.MaxBody != nil && *s.MaxBody < 0 {
		return fmt.Errorf("nginx: the limit on a body is %d bytes: want 0 (no limit) or more", *s.MaxBody)
	}
	for _, path := range s.HidePaths {
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, unwritable) {
			return fmt.Errorf("nginx: path to hide %q: want one that begins with / and has no $, no quote and no control character", path)
		}
	}
	return nil
}

// Idle is for how long a connection to an instance is kept without a request.
func (s Settings) Idle() time.Duration { return *s.withDefaults().UpstreamIdle }

// milliseconds is a duration as nginx reads it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// ParseSize reads a number of bytes as nginx does: 1m is 1,048,576.
func ParseSize(text string) (int64, error) {
	number, unit := strings.ToLower(text), int64(1)
	for suffix, size := range map[string]int64{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if rest, found := strings.CutSuffix(number, suffix); found {
			number, unit = rest, size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is no size: want a number of bytes, such as 500k, 20m or 1g; 0 is no limit", text)
	}
	return n * unit, nil
}

// ParseTrusted reads addresses and networks, such as 10.0.0.0/8.
func ParseTrusted(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is no network: want one such as 10.0.0.0/8 or fd00::/8, or an address", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix = prefix.Masked(); !slices.Contains(all, prefix) { // nginx warns of one that it gets twice
			all = append(all, prefix)
		}
	}
	return all, nil
}

// hides are the paths that are hidden whatever the service is, and those that
// are hidden only while it is the ToDo service.
func (s Settings) hides() (always, forTodo []string) {
	for _, path := range s.HidePaths {
		if !slices.Contains(always, path) {
			always = append(always, path)
		}
	}
	for _, path := range todoHides {
		if !slices.Contains(always, path) {
			forTodo = append(forTodo, path)
		}
	}
	return always, forTodo
}

var errNoHost = errors.New("want an IP address before the port, or localhost")
