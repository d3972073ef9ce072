package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Preparing has the store prepare its statements, as pgx does unless told
// otherwise: what no pooler in transaction mode bears.
func (n *New) Preparing(ctx context.Context) error {
	cfg := n.pool.Config()
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	cfg.ConnConfig.StatementCacheCapacity = 100
	n.pool.Close()
	var err error
	n.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	return err
}
