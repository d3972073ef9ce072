package orchestrator

import (
	"context"
	"time"

	"migrate.invalid/migrate/nginx"
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

func (n byNginx) Limit() time.Duration { return nginx.ReloadLimit }
