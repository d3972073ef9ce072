package migration

import "migrate/app/store"

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

	Migration  string `json:"migration,omitempty"` // the migration id
	Pending    int64  `json:"pending"`             // records of the primary that the other database still lacks; -1: unknown
	PendingAge int64  `json:"pending_age_ms"`      // how long the backlog has not been empty, as this instance saw it
	Relayed    int64  `json:"relayed"`             // records that this instance's relay carried over
	RelayError string `json:"relay_error,omitempty"`

	Compared store.Compared `json:"compared"` // this instance's reads
	Stores   []StoreStatus  `json:"stores,omitempty"`
	Progress *ProgressView  `json:"progress,omitempty"` // of the present epoch
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
	Name   string `json:"name"`   // short and stable, what --force takes
	OK     bool   `json:"ok"`     // holds
	Detail string `json:"detail"` // what was found
	Remedy string `json:"remedy,omitempty"`
}
