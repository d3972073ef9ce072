package migration

import (
	"context"
	"fmt"
	"maps"
	"time"

	"migrate.invalid/migrate/app/store"
)

// Status is what an instance knows of itself and of the data, for its admin
// socket, its metrics and the pages.
type Status struct {
	Step     Step          `json:"step"`
	StepName string        `json:"step_name"`
	Ready    bool          `json:"ready"`
	Reason   string        `json:"reason,omitempty"`   // why it is not ready
	Degraded string        `json:"degraded,omitempty"` // what is wrong although it is ready
	Primary  store.Primary `json:"primary,omitempty"`
	Epoch    int64         `json:"epoch"`
	Closing  bool          `json:"closing,omitempty"`

	Migration  string `json:"migration,omitempty"`   // the migration id
	Pending    int64  `json:"pending"`               // records of the primary that the other database still lacks; -1: unknown
	PendingAge int64  `json:"pending_age_ms"`        // how long the backlog has not been empty, as this instance saw it
	Relayed    int64  `json:"relayed"`               // records that this instance's relay carried over
	RelayError string `json:"relay_error,omitempty"` // of the relay's last pass, until one succeeds

	// Refused are some of the records of new that old can't hold, which are not among
	// the pending ones; RefusedCount says how many there are. Each waits for a
	// change, or for its deletion, through the service.
	Refused      []Refused `json:"refused,omitempty"`
	RefusedCount int64     `json:"refused_count"`
	// RefusedIn is how many there are, by collection.
	RefusedIn map[string]int64 `json:"refused_in,omitempty"`

	Compared map[string]store.Compared `json:"compared,omitempty"` // this instance's reads, by collection
	Stores   []StoreStatus             `json:"stores,omitempty"`
	Progress *ProgressView             `json:"progress,omitempty"` // of the present epoch
}

// ProgressView is the state of backfill and verify under the present epoch.
type ProgressView struct {
	Epoch    int64               `json:"epoch"`
	Copied   int64               `json:"copied"`
	Complete bool                `json:"complete"`
	Verify   *store.VerifyResult `json:"verify,omitempty"`
}

// StoreStatus is how a database has been answering this instance.
type StoreStatus struct {
	Store  store.Primary `json:"store"`
	Calls  int64         `json:"calls"`
	Errors int64         `json:"errors"`
	P50    int64         `json:"p50_us"` // microseconds
	P99    int64         `json:"p99_us"` // microseconds
}

// Gate is one condition of a move.
type Gate struct {
	Name    string `json:"name"`              // short and stable, what --force takes
	OK      bool   `json:"ok"`                // holds, or was not tried
	Untried bool   `json:"untried,omitempty"` // only a write can tell, and this was a look
	Detail  string `json:"detail"`            // what was found
	Remedy  string `json:"remedy,omitempty"`
	Fixed   bool   `json:"fixed,omitempty"` // nobody's word passes it: --force does not take it
}

// Status says what this instance knows. What can't be found out is left out;
// it is for people and metrics, never for a decision. Like [Service.Ready], it
// waits for nothing but the primary.
func (s *Service) Status(ctx context.Context) Status {
	until := time.Now().Add(primaryPatience)
	st := Status{Step: s.step, StepName: s.step.Name(), Pending: -1}
	s.watchBacklog.look()
	lock := s.watchLock.known()
	if s.step.ReadsFence() && !s.wasNew.Load() && (lock.err != nil || time.Since(lock.at) > lockAge) {
		s.watchLock.look()
	}
	var fence store.Fence
	st.Ready, st.Reason, st.Degraded, fence = s.ready(ctx)
	st.Primary, st.Epoch, st.Closing, st.Migration = fence.Primary, fence.Epoch, fence.Closing, fence.Migration
	if st.Ready && s.step.ReadsFence() && fence.Primary == store.PrimaryOld {
		if err := s.watchLock.rest(ctx, time.Until(until)).trouble(away); err != nil {
			st.Degraded = joined(fmt.Sprintf("old database: no write can begin, perhaps some program holds its lock: %v", err), st.Degraded)
		}
	}
	st.Relayed, st.RelayError = s.relay.status()
	refused := s.relay.refused.list()
	st.Refused, st.RefusedCount = refused[:min(len(refused), refusedShown)], int64(len(refused))
	if len(refused) > 0 {
		st.RefusedIn = map[string]int64{}
	}
	for _, r := range refused {
		st.RefusedIn[r.Collection]++
	}
	s.compared.mu.Lock()
	st.Compared = maps.Clone(s.compared.counts)
	s.compared.mu.Unlock()
	if s.old != nil {
		st.Stores = append(st.Stores, s.meter.old.status(store.PrimaryOld))
	}
	if s.new != nil {
		st.Stores = append(st.Stores, s.meter.new.status(store.PrimaryNew))
		if v := s.watchNew.known().v; v.epoch == fence.Epoch && v.epoch != 0 {
			st.Progress = &ProgressView{Epoch: v.epoch, Copied: v.progress.Copied, Complete: v.progress.Complete, Verify: v.progress.Verify}
		}
	}
	if b := s.watchBacklog.rest(ctx, time.Until(until)); b.trouble(away) == nil && b.v.epoch == fence.Epoch {
		st.Pending = max(0, b.v.n-st.RefusedCount)
		st.PendingAge = s.relay.age(st.Pending).Milliseconds()
	}
	return st
}

// refusedShown bounds how many records that old can't hold a status names.
const refusedShown = 20

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// Known is the primary and the epoch, as they were seen last if the database
// that has them does not answer at once.
func (s *Service) Known(ctx context.Context) (store.Primary, int64) {
	if m := s.adopted.Load(); m != nil {
		return m.Primary, m.Epoch
	}
	if s.step.ReadsFence() {
		if old := s.watchOld.glance(ctx); old.trouble(away) == nil {
			return old.v.fence.Primary, old.v.fence.Epoch
		}
	}
	f := s.seen.Load()
	if f == nil {
		return "", 0
	}
	return f.Primary, f.Epoch
}

// lockAge is how old the answer may be whether a write can begin: to find out
// takes the writers' lock for a moment.
const lockAge = time.Second

// countLimit bounds a count of the backlog, which can cost a look at every record.
const countLimit = time.Minute

// countAge is how old a count of the backlog may be: a status is asked for often
// while an instance drains.
const countAge = time.Second

// lookAtBacklog counts what is pending in the primary.
func (s *Service) lookAtBacklog(ctx context.Context) (v backlogView, err error) {
	var fence store.Fence
	if s.step.ReadsFence() {
		if fence, err = s.old.Fence(ctx); err != nil {
			return v, err
		}
	} else if fence, _, err = s.view(); err != nil {
		return v, err
	}
	if last := s.watchBacklog.known(); last.err == nil && last.v.epoch == fence.Epoch && s.cfg.Now().Sub(last.v.at) < countAge {
		return last.v, nil
	}
	v.epoch, v.at = fence.Epoch, s.cfg.Now()
	switch {
	case fence.Primary == store.PrimaryOld && s.old != nil:
		v.n, err = s.old.CountPending(ctx)
	case fence.Primary == store.PrimaryNew && s.new != nil:
		v.n, err = s.new.CountPending(ctx)
	default:
		err = fmt.Errorf("%w: the primary is not known", store.ErrUnavailable)
	}
	return v, err
}
