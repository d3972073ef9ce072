package migration

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// errReadOnly is what an account that may only read is told.
var errReadOnly = errors.New("this account may only read")

type readOnlyOld struct{ oldStore }

func (readOnlyOld) CompareAndSwap(context.Context, int64, store.Record, store.Pair) error {
	return errReadOnly
}
func (readOnlyOld) PutIfNewer(context.Context, int64, ...store.Record) error {
	return errReadOnly
}
func (readOnlyOld) ClearPending(context.Context, ...store.Mark) error         { return errReadOnly }
func (readOnlyOld) MoveFence(context.Context, store.Fence, store.Fence) error { return errReadOnly }
func (readOnlyOld) Sweep(context.Context) (int64, error)                      { return 0, errReadOnly }
func (readOnlyOld) Drop(context.Context, string) error                        { return errReadOnly }
func (readOnlyOld) Restore(context.Context, string) error                     { return errReadOnly }
func (readOnlyOld) Accept(context.Context, int64) error                       { return errReadOnly }
func (readOnlyOld) PutTogether(context.Context, int64, ...store.Record) error { return errReadOnly }
func (readOnlyOld) Isolate(context.Context, int64, store.Mark, string) error  { return errReadOnly }

// readOnlyNew also refuses the causal reads, which write first.
type readOnlyNew struct{ newStore }

func (readOnlyNew) CompareAndSwap(context.Context, store.Record, store.Pair) error {
	return errReadOnly
}
func (readOnlyNew) PutIfNewer(context.Context, ...store.Record) error { return errReadOnly }
func (readOnlyNew) ClearPending(context.Context, ...store.Mark) error { return errReadOnly }
func (readOnlyNew) Prepare(context.Context, string) error             { return errReadOnly }
func (readOnlyNew) Prepared(context.Context) (string, error)          { return "", errReadOnly }
func (readOnlyNew) Probe(context.Context) error                       { return errReadOnly }
func (readOnlyNew) ProbeRecord(context.Context) error                 { return errReadOnly }
func (readOnlyNew) RaiseMirror(context.Context, store.Mirror) error   { return errReadOnly }
func (readOnlyNew) Mirror(context.Context) (store.Mirror, error) {
	return store.Mirror{}, errReadOnly
}
func (readOnlyNew) Progress(context.Context, int64) (store.Progress, error) {
	return store.Progress{}, errReadOnly
}
func (readOnlyNew) Registrations(context.Context) ([]store.Registration, error) {
	return nil, errReadOnly
}
func (readOnlyNew) MarkComplete(context.Context, int64) error                     { return errReadOnly }
func (readOnlyNew) SaveCheckpoint(context.Context, int64, record.ID, int64) error { return errReadOnly }
func (readOnlyNew) SaveVerify(context.Context, int64, store.VerifyResult) error   { return errReadOnly }
func (n readOnlyNew) Look() store.NewLook                                         { return n.newStore.Look() }

// Compare finds what verify finds, and needs no more than to read.
func TestCompareOnlyReads(t *testing.T) {
	for _, from := range []Step{WriteBoth, StopOldWrites} {
		w := raisedTo(t, from, 0)
		mixed(t, w)
		rep, err := Compare(t.Context(), readOnlyOld{w.old}, readOnlyNew{w.new}, VerifyOptions{Repair: true})
		must(t, err)
		want, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
		must(t, err)
		rep.At = want.At
		if !reflect.DeepEqual(rep.VerifyResult, want.VerifyResult) || rep.Equal == 0 || rep.Behind+rep.Missing+rep.Stale == 0 {
			t.Errorf("under %s: %+v, want %+v", rep.Primary, rep.VerifyResult, want.VerifyResult)
		}
	}
}
