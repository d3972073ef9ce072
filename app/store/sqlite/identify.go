package sqlite

import (
	"context"
	"fmt"
	"net/url"

	"migrate.invalid/migrate/app/store"
)

// Identify returns the id of the migration whose old database the file is, ""
// if it is none's. It changes nothing in the file or beside it, so that a wrong
// one may be asked.
func Identify(ctx context.Context, path string) (migration string, err error) {
	db, err := openFile(path, url.Values{"mode": {"ro"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds())}})
	if err != nil {
		return "", fmt.Errorf("sqlite: %w: %w", store.ErrUnavailable, err)
	}
	defer db.Close()
	fences := 0
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type='table' AND name='migrate_fence'`).Scan(&fences)
	if err == nil && fences > 0 {
		err = db.QueryRowContext(ctx, `SELECT coalesce(max(migration),'') FROM migrate_fence`).Scan(&migration)
	}
	if err != nil {
		return "", fmt.Errorf("sqlite: identify %s: %w: %w", path, store.ErrUnavailable, err)
	}
	return migration, nil
}
