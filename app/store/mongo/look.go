package mongo

import (
	"context"

	"migrate.invalid/migrate/app/store"
)

// look reads what is kept about the migration without writing first. It uses
// the connections of the records, so that nobody who only looks waits for the one
// that everything causal goes through.
type look struct{ of *Store }

// Look implements [store.NewMeta].
func (s *Store) Look() store.NewLook { return look{s} }

// store is the same store, connected, whose reads don't write.
func (l look) store(ctx context.Context) (*Store, error) {
	c, err := l.of.begin(ctx)
	if err != nil {
		return nil, err
	}
	c.end()
	s := *l.of
	s.looks, s.meta = true, s.db.Collection(metaName)
	return &s, nil
}

// Prepared implements [store.NewLook].
func (l look) Prepared(ctx context.Context) (string, error) {
	s, err := l.store(ctx)
	if err != nil {
		return "", err
	}
	return s.Prepared(ctx)
}

// Mirror implements [store.NewLook].
func (l look) Mirror(ctx context.Context) (store.Mirror, error) {
	s, err := l.store(ctx)
	if err != nil {
		return store.Mirror{}, err
	}
	return s.Mirror(ctx)
}

// Progress implements [store.NewLook].
func (l look) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	s, err := l.store(ctx)
	if err != nil {
		return store.Progress{}, err
	}
	return s.Progress(ctx, epoch)
}
