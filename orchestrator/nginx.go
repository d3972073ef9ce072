package orchestrator

import (
	"context"
	"net"

	"migrate/nginx"
)

// ByNginx moves traffic with this nginx, in the way that it is configured for:
// by link or by reload.
func ByNginx(server *nginx.Server) Traffic { return byNginx{server} }

type byNginx struct{ *nginx.Server }

var _ Reloading = byNginx{}

func (n byNginx) Served(ctx context.Context) (live, fallback int, err error) {
	route, err := n.Server.Served(ctx)
	return route.Live, route.Fallback, err
}

func (n byNginx) URL() string {
	host, port, err := net.SplitHostPort(n.Config().Listen)
	if err != nil {
		return "http://" + n.Config().Listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
