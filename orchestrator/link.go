package orchestrator

import (
	"context"
	"net"

	"migrate/nginx"
)

// ByLink moves traffic with the links of this nginx.
func ByLink(server *nginx.Server) Traffic { return byLink{server} }

type byLink struct{ *nginx.Server }

func (l byLink) Served(ctx context.Context) (live, fallback int, err error) {
	route, err := l.Server.Served(ctx)
	return route.Live, route.Fallback, err
}

func (l byLink) URL() string {
	host, port, err := net.SplitHostPort(l.Config().Listen)
	if err != nil {
		return "http://" + l.Config().Listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
