package web

import (
	"context"
	"net/http"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// configView is the answer of GET /config. The first six keys are the original's.
type configView struct {
	Repository string        `json:"repository"`
	Step       int           `json:"migration_step"`
	Port       int           `json:"port"`
	SQLitePath string        `json:"sqlite_file_path"`
	MongoURI   string        `json:"mongodb_connection_uri"`
	MongoDB    string        `json:"mongodb_database_name"`
	Old        store.Place   `json:"old"`
	New        store.Place   `json:"new"`
	Primary    store.Primary `json:"primary"`
	Epoch      int64         `json:"epoch"`
	Instance   string        `json:"instance"`
	Version    string        `json:"version"`
}

func (s *Server) getConfig(w http.ResponseWriter, r *http.Request) {
	primary, epoch := s.tasks.Known(r.Context())
	writeJSON(w, http.StatusOK, configView{
		Repository: repository(s.cfg.Step),
		Step:       int(s.cfg.Step),
		Port:       s.Port(),
		SQLitePath: s.cfg.Old.Where,
		MongoURI:   s.cfg.New.Where,
		MongoDB:    s.cfg.New.Name,
		Old:        s.cfg.Old,
		New:        s.cfg.New,
		Primary:    primary,
		Epoch:      epoch,
		Instance:   s.cfg.Instance,
		Version:    s.cfg.Build,
	})
}

func repository(step migration.Step) string {
	switch {
	case !step.HasNew():
		return "sqlite"
	case step.HasOld():
		return "migrate_from_sqlite_to_mongodb"
	}
	return "mongodb"
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"alive": true})
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	ready, reason, degraded := s.tasks.Ready(ctx)
	if s.traffic.ending.Load() {
		ready, reason = false, "the instance is ending"
	}
	answer := map[string]any{"ready": ready}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
		answer["reason"] = reason
		w.Header().Set("Retry-After", "1")
	}
	if degraded != "" {
		answer["degraded"] = degraded
	}
	writeJSON(w, status, answer)
}
