package web

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// statusAge is how old the status of a scrape or of /config may be.
const statusAge = time.Second

// metrics counts requests itself and takes the rest from the status.
type metrics struct {
	handler  http.Handler
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec

	ask  func(context.Context) migration.Status
	mu   sync.Mutex
	last migration.Status
	at   time.Time // of last
}

func newMetrics(s *Server, more []prometheus.Collector) (*metrics, error) {
	m := &metrics{
		ask: s.tasks.Status,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "migrate_http_requests_total", Help: "Requests answered.",
		}, []string{"code", "method", "route"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "migrate_http_request_duration_seconds", Help: "Time from the request's header to the end of the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route"}),
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "migrate_http_in_flight", Help: "Requests in flight, probes left out.",
	}, func() float64 { return float64(s.traffic.inFlight.Load()) })

	registry := prometheus.NewRegistry()
	all := append([]prometheus.Collector{m.requests, m.duration, inFlight, newStatusCollector(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}, more...)
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: nil})
	return m, nil
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other" // clients may invent any number of them
	}
	if status == 0 {
		status = http.StatusOK // a handler that wrote nothing
	}
	m.requests.WithLabelValues(strconv.Itoa(status), method, route).Inc()
	m.duration.WithLabelValues(method, route).Observe(took.Seconds())
}

// status returns the status, at most statusAge old.
func (m *metrics) status(ctx context.Context) migration.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.at.IsZero() || now.Sub(m.at) > statusAge {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second) // others will read it
		defer cancel()
		m.last = m.ask(ctx)
		m.at = now
	}
	return m.last
}

// statusCollector turns the status into metrics.
type statusCollector struct {
	m *metrics

	step, epoch, primary, pending, age, refused, compared, backfill *prometheus.Desc
}

func newStatusCollector(m *metrics) *statusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &statusCollector{
		m:        m,
		step:     desc("migrate_step", "The instance's step, 1 to 8."),
		epoch:    desc("migrate_fence_epoch", "The fence's epoch as the instance knows it."),
		primary:  desc("migrate_primary", "1 for the database that decides.", "store"),
		pending:  desc("migrate_pending_records", "Records of the primary that the other database still lacks.", "store"),
		age:      desc("migrate_pending_age_seconds", "How long some record has been pending without a break, as the instance saw it.", "store"),
		refused:  desc("migrate_refused_records", "Records of the new primary that the old database can't hold as things are.", "collection"),
		compared: desc("migrate_compared_reads_total", "Reads that looked at both databases, by what they found.", "collection", "result"),
		backfill: desc("migrate_backfill_records_total", "Records scanned by the backfill under the present epoch."),
	}
}

func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.step, c.epoch, c.primary, c.pending, c.age, c.refused, c.compared, c.backfill} {
		ch <- d
	}
}

func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.m.status(context.Background()) // the library passes no context; status bounds it
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.step, float64(s.Step))
	gauge(c.epoch, float64(s.Epoch))
	for _, p := range []store.Primary{store.PrimaryOld, store.PrimaryNew} {
		is := 0.0
		if s.Primary == p {
			is = 1
		}
		gauge(c.primary, is, string(p))
	}
	if s.Primary != "" && s.Pending >= 0 {
		gauge(c.pending, float64(s.Pending), string(s.Primary))
		gauge(c.age, float64(s.PendingAge)/1000, string(s.Primary))
	}
	for collection, n := range s.RefusedIn {
		gauge(c.refused, float64(n), collection)
	}
	for collection, found := range s.Compared {
		counter(c.compared, found.Equal, collection, "equal")
		counter(c.compared, found.Behind, collection, "behind")
		counter(c.compared, found.Late, collection, "late")
		counter(c.compared, found.Different, collection, "different")
		counter(c.compared, found.Errors, collection, "error")
	}
	if s.Progress != nil {
		counter(c.backfill, s.Progress.Copied)
	}
}
