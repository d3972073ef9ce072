package nginx

import (
	"fmt"
	"net"
	"strconv"
)

// localhost as the host of a listen address stands for both loopback
// addresses: browsers try ::1 first.
const localhost = "localhost"

func checkListen(cfg Config) error {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("nginx: listen address: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number >= 1<<16 {
		return fmt.Errorf("nginx: listen address %q: want host:port, the port from 1 to 65535", cfg.Listen)
	}
	if number >= cfg.FirstPort && number < cfg.FirstPort+cfg.Ports {
		return fmt.Errorf("nginx: listen address %q: the ports %d to %d are the instances'",
			cfg.Listen, cfg.FirstPort, cfg.FirstPort+cfg.Ports-1)
	}
	if host != "" && host != localhost && net.ParseIP(host) == nil {
		return fmt.Errorf("nginx: listen address %q: %w", cfg.Listen, errNoHost)
	}
	return nil
}

// addresses are what nginx listens on: for localhost both loopback addresses,
// for no host every address of both families. A machine without IPv6 has only
// the first.
func (s *Server) addresses() []string {
	host, port, _ := net.SplitHostPort(s.cfg.Listen)
	var v4, v6 string
	switch host {
	case localhost:
		v4, v6 = "127.0.0.1", "::1"
	case "":
		v4, v6 = "0.0.0.0", "::"
	default:
		return []string{net.JoinHostPort(host, port)}
	}
	all := []string{net.JoinHostPort(v4, port)}
	if hasIPv6(v6) {
		all = append(all, net.JoinHostPort(v6, port))
	}
	return all
}

// hasIPv6 reports whether this machine has the address: some have no IPv6.
func hasIPv6(ip string) bool {
	listener, err := net.Listen("tcp6", net.JoinHostPort(ip, "0"))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// outerIP is the address from which this machine reaches itself when nginx
// listens on one of its outer addresses; else it is empty.
func outerIP(listen string) string {
	host, _, _ := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		return ""
	}
	return ip.String()
}

// dialAddress is where this machine reaches the listen address.
func (s *Server) dialAddress() string {
	host, port, _ := net.SplitHostPort(s.cfg.Listen)
	ip := net.ParseIP(host)
	switch {
	case host == "" || host == localhost || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// URL is where this machine reaches the proxy.
func (s *Server) URL() string { return "http://" + s.dialAddress() }
