package sqlite_test

import (
	"sync"
	"testing"

	"migrate.invalid/migrate/app/store"
)

// A read that began before the fence moved has an older snapshot than one that has
// ended since. That is no file that was put back.
func TestAnOlderSnapshotIsNoOldFile(t *testing.T) {
	s, _ := fresh(t)
	ctx := t.Context()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := s.Fence(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 300 {
		f, err := s.Fence(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next := f
		next.Epoch++
		next.Primary = store.PrimaryNew
		if err := s.MoveFence(ctx, f, next); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}
