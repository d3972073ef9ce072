package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"migrate/app/migration"
	"migrate/app/store"
)

// configView is the answer of GET /config. The first six keys are the original's.
type configView struct {
	Repository string        `json:"repository"`
	Step       int           `json:"migration_step"`
	Port       int           `json:"port"`
	SQLitePath string        `json:"sqlite_file_path"`
	MongoURI   string        `json:"mongodb_connection_uri"`
	MongoDB    string        `json:"mongodb_database_name"`
	Primary    store.Primary `json:"primary"`
	Epoch      int64         `json:"epoch"`
	Instance   string        `json:"instance"`
	Version    string        `json:"version"`
}

func (s *Server) getConfig(w http.ResponseWriter, r *http.Request) {
	status := s.metrics.status(r.Context())
	writeJSON(w, http.StatusOK, configView{
		Repository: repository(s.cfg.Step),
		Step:       int(s.cfg.Step),
		Port:       s.Port(),
		SQLitePath: s.cfg.SQLitePath,
		MongoURI:   redact(s.cfg.MongoURI),
		MongoDB:    s.cfg.MongoDB,
		Primary:    status.Primary,
		Epoch:      status.Epoch,
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

// redact removes the password from a MongoDB URI, and with it every option
// that can hold a secret. What can't be parsed (a list of hosts with ports
// can't be) is cut by hand, so that nothing is shown for want of understanding it.
func redact(uri string) string {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return ""
	}
	// The last @ ends the user information: a password may hold one by mistake,
	// or a slash or a question mark.
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, _, _ := strings.Cut(rest[:at], ":")
		rest = user + "@" + rest[at+1:]
	}
	rest, query, _ := strings.Cut(rest, "?")
	if query = redactOptions(query); query != "" {
		rest += "?" + query
	}
	return scheme + "://" + rest
}

// redactOptions keeps the options that are known to hold no secret.
func redactOptions(query string) string {
	var kept []string
	for option := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(option, "=")
		if name, err := url.QueryUnescape(name); err == nil {
			switch strings.ToLower(name) {
			case "replicaset", "directconnection", "tls", "ssl", "authsource", "authmechanism", "readpreference",
				"w", "journal", "readconcernlevel", "retrywrites", "retryreads", "appname", "maxpoolsize":
				kept = append(kept, option)
			}
		}
	}
	return strings.Join(kept, "&")
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
