// Package storetest is the suite that every implementation of [store.Old] and
// [store.New] passes: what the protocol relies on, no more. A driver's test
// gives it a way to open an empty store of a declaration:
//
//	func TestStore(t *testing.T) {
//		storetest.RunNew(t, func(t *testing.T, d record.Declaration) store.New { … })
//	}
//
// Most cases are about [Tasks], one collection with ids that are texts. Those
// about ids and values of every type are about [Shop]. A store may hold less than
// the suite gives it: then it refuses the value with [store.ErrUnfit], and never
// alters it.
//
// The suite's own test runs it on stores that are broken on purpose, each of
// which must fail; that is why cases take [T] and not a *testing.T.
package storetest

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// T is what the cases need of a *testing.T.
type T interface {
	rapid.TB
	Context() context.Context
}

// The stores and records that the suite works with.
type (
	Record = store.Record
	Page   = store.Page
	Old    = store.Old
	New    = store.New
)

// Records is what both kinds of store offer; every New has it as it is.
type Records interface {
	Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error)
	CompareAndSwap(ctx context.Context, rec Record, expect store.Pair) error
	PutIfNewer(ctx context.Context, recs ...Record) error
	List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, error)
	Pending(ctx context.Context, after record.ID, limit int) (Page, error)
	CountPending(ctx context.Context) (int64, error)
	ClearPending(ctx context.Context, marks ...store.Mark) error
	Scan(ctx context.Context, after record.ID, limit int) (Page, error)
	Count(ctx context.Context) (int64, error)
}

// Case is one thing that is required of an S, which was opened with the
// declaration.
type Case[S any] struct {
	Name        string
	Declaration record.Declaration
	Run         func(T, S)
}

// RunNew runs the suite on a new database. open returns one that is empty, not
// yet prepared, and opened with the declaration; and arranges for its closing.
func RunNew(t *testing.T, open func(*testing.T, record.Declaration) New) {
	for _, c := range NewCases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t, c.Declaration)) })
	}
}

// RunOld runs the suite on an old database. open returns one whose collections
// are empty, that was opened with the declaration and taken over, and that has a
// fence at epoch 1, primary old, open; and arranges for its closing. A store
// that can have rules between records is given to some cases as a [Ruler].
func RunOld(t *testing.T, open func(*testing.T, record.Declaration) Old) {
	for _, c := range OldCases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t, c.Declaration)) })
	}
}

// NewCases returns all that is required of a new database.
func NewCases() []Case[New] {
	cases := of(Tasks(), metaCases())
	for _, c := range recordsCases() {
		cases = append(cases, Case[New]{c.Name, c.Declaration, func(t T, s New) {
			if err := s.Prepare(t.Context(), migrationID); err != nil {
				t.Fatalf("Prepare: %v", err)
			}
			c.Run(t, s)
		}})
	}
	return cases
}

// OldCases returns all that is required of an old database.
func OldCases() []Case[Old] {
	cases := of(Tasks(), fenceCases())
	cases = append(cases, of(Tasks(), refusedCases())...)
	for _, c := range recordsCases() {
		cases = append(cases, Case[Old]{c.Name, c.Declaration, func(t T, s Old) {
			c.Run(t, planned{s, fence(t, s).Epoch})
		}})
	}
	return cases
}

// of says which declaration the cases are about.
func of[S any](d record.Declaration, cases []Case[S]) []Case[S] {
	for n := range cases {
		cases[n].Declaration = d
	}
	return cases
}

func recordsCases() []Case[Records] {
	cases := swapCases()
	cases = append(cases, replicateCases()...)
	cases = append(cases, outboxCases()...)
	cases = append(cases, pageCases()...)
	cases = append(cases, contentCases()...)
	cases = of(Tasks(), append(cases, concurrencyCases()...))
	return append(cases, of(Shop(), shopCases())...)
}

const migrationID = "5f0c2b0e-9a53-4a0e-8f5f-2f6a3c1d7e10"

// planned is an old database whose every write is planned under one epoch.
type planned struct {
	old   Old
	epoch int64
}

func (p planned) Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error) {
	found, _, err := p.old.Get(ctx, ids...)
	return found, err
}

func (p planned) CompareAndSwap(ctx context.Context, rec Record, expect store.Pair) error {
	return p.old.CompareAndSwap(ctx, p.epoch, rec, expect)
}

func (p planned) PutIfNewer(ctx context.Context, recs ...Record) error {
	return p.old.PutIfNewer(ctx, p.epoch, recs...)
}

func (p planned) List(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
	page, _, err := p.old.List(ctx, f, after, limit)
	return page, err
}

func (p planned) Pending(ctx context.Context, after record.ID, limit int) (Page, error) {
	page, _, err := p.old.Pending(ctx, after, limit)
	return page, err
}

func (p planned) CountPending(ctx context.Context) (int64, error) { return p.old.CountPending(ctx) }

func (p planned) ClearPending(ctx context.Context, marks ...store.Mark) error {
	return p.old.ClearPending(ctx, marks...)
}

func (p planned) Scan(ctx context.Context, after record.ID, limit int) (Page, error) {
	page, _, err := p.old.Scan(ctx, after, limit)
	return page, err
}

func (p planned) Count(ctx context.Context) (int64, error) { return p.old.Count(ctx) }

// wantErr checks that err is want and no other of the store's errors.
func wantErr(t T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
		return
	}
	for _, other := range []error{
		store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable,
		store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrStranger,
	} {
		if other != want && errors.Is(err, other) {
			t.Errorf("%s: error %q is both %q and %q", what, err, want, other)
		}
	}
}
