package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// meta is what the new database keeps about the migration itself.
type meta struct {
	migration     string
	mirror        store.Mirror
	registrations map[string]store.Registration                  // by instance
	progress      map[int64]store.Progress                       // by epoch
	compared      map[int64]map[string]map[string]store.Compared // by epoch, instance and collection
}

func newMeta() meta {
	return meta{
		registrations: map[string]store.Registration{},
		progress:      map[int64]store.Progress{},
		compared:      map[int64]map[string]map[string]store.Compared{},
	}
}

// Mirror implements [store.NewMeta].
func (n *New) Mirror(ctx context.Context) (store.Mirror, error) {
	if err := n.enter(ctx); err != nil {
		return store.Mirror{}, err
	}
	defer n.mu.Unlock()
	return n.meta.mirror, nil
}

// RaiseMirror implements [store.NewMeta]. ErrStranger if the database was not
// prepared for the mirror's migration.
func (n *New) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if m.Migration != n.meta.migration || m.Migration == "" {
		return fmt.Errorf("%w: the new one is of %q, not %q", store.ErrStranger, n.meta.migration, m.Migration)
	}
	if m.Epoch > n.meta.mirror.Epoch {
		n.meta.mirror = m
	}
	return nil
}

// Register implements [store.NewMeta].
func (n *New) Register(ctx context.Context, r store.Registration) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	n.meta.registrations[r.Instance] = r
	return nil
}

// Deregister implements [store.NewMeta].
func (n *New) Deregister(ctx context.Context, instance string) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	delete(n.meta.registrations, instance)
	return nil
}

// Registrations implements [store.NewMeta], in order of instances.
func (n *New) Registrations(ctx context.Context) ([]store.Registration, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	var all []store.Registration
	for _, instance := range slices.Sorted(maps.Keys(n.meta.registrations)) {
		all = append(all, n.meta.registrations[instance])
	}
	return all, nil
}

// Progress implements [store.NewMeta].
func (n *New) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	if err := n.enter(ctx); err != nil {
		return store.Progress{}, err
	}
	defer n.mu.Unlock()
	p := n.meta.progress[epoch]
	p.Epoch = epoch
	p.Compared = nil
	for _, reported := range n.meta.compared[epoch] {
		for collection, c := range reported {
			if p.Compared == nil {
				p.Compared = map[string]store.Compared{}
			}
			p.Compared[collection] = p.Compared[collection].Plus(c)
		}
	}
	return p, nil
}

// SaveCheckpoint implements [store.NewMeta].
func (n *New) SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error {
	return n.saveProgress(ctx, epoch, func(p *store.Progress) { p.After, p.Copied = after, copied })
}

// MarkComplete implements [store.NewMeta].
func (n *New) MarkComplete(ctx context.Context, epoch int64) error {
	return n.saveProgress(ctx, epoch, func(p *store.Progress) { p.Complete = true })
}

// SaveVerify implements [store.NewMeta].
func (n *New) SaveVerify(ctx context.Context, epoch int64, result store.VerifyResult) error {
	return n.saveProgress(ctx, epoch, func(p *store.Progress) { p.Verify = &result })
}

func (n *New) saveProgress(ctx context.Context, epoch int64, change func(*store.Progress)) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	p := n.meta.progress[epoch]
	change(&p)
	n.meta.progress[epoch] = p
	return nil
}

// SaveCompared implements [store.NewMeta].
func (n *New) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if n.meta.compared[epoch] == nil {
		n.meta.compared[epoch] = map[string]map[string]store.Compared{}
	}
	n.meta.compared[epoch][instance] = maps.Clone(c)
	return nil
}
