package memory

import (
	"maps"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// What is below is done to a database, and not by it: for tests of what must notice.

// Lose removes a record without a trace, as a program does that goes past the
// protocol.
func (o *Old) Lose(id record.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.records, id)
}

// Alter changes each record, whatever its pair, as a program does that goes past the
// protocol.
func (o *Old) Alter(change func(*store.Record)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, r := range o.records {
		change(&r)
		o.records[id] = r
	}
}

// Saved is a backup of an old database.
type Saved struct {
	fence   store.Fence
	records table
}

// Save makes a backup.
func (o *Old) Save() Saved {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Saved{o.fence, maps.Clone(o.records)}
}

// PutBack replaces what the database holds by a backup.
func (o *Old) PutBack(s Saved) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fence, o.records = s.fence, maps.Clone(s.records)
}

// SavedNew is a backup of a new database.
type SavedNew struct {
	records table
	meta    meta
}

// Save makes a backup.
func (n *New) Save() SavedNew {
	n.mu.Lock()
	defer n.mu.Unlock()
	return SavedNew{maps.Clone(n.records), n.meta.clone()}
}

// PutBack replaces what the database holds by a backup.
func (n *New) PutBack(s SavedNew) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records, n.meta = maps.Clone(s.records), s.meta.clone()
}

func (m meta) clone() meta {
	m.registrations, m.progress, m.compared = maps.Clone(m.registrations), maps.Clone(m.progress), maps.Clone(m.compared)
	return m
}
