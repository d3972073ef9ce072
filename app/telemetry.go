package app

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"migrate.invalid/migrate/app/store"
)

// telemetry counts the calls on both databases for /metrics.
type telemetry struct {
	operations *prometheus.CounterVec
	duration   *prometheus.HistogramVec
}

func newTelemetry() *telemetry {
	return &telemetry{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "migrate_store_operations_total", Help: "Calls on a database.",
		}, []string{"store", "op", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "migrate_store_operation_duration_seconds", Help: "Time a call on a database took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12), // 0.1 ms to 2.4 s
		}, []string{"store", "op"}),
	}
}

func (t *telemetry) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.operations, t.duration}
}

func (t *telemetry) observe(db store.Primary, op string, took time.Duration, err error) {
	t.operations.WithLabelValues(string(db), op, outcome(err)).Inc()
	t.duration.WithLabelValues(string(db), op).Observe(took.Seconds())
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, store.ErrConflict):
		return "conflict"
	case errors.Is(err, store.ErrFenceMoved):
		return "fence_moved"
	case errors.Is(err, store.ErrUnknown):
		return "unknown"
	case errors.Is(err, store.ErrUnfit):
		return "unfit"
	}
	return "unavailable"
}
