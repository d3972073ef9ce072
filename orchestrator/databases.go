package orchestrator

import (
	"encoding/json"
	"errors"
	"strings"

	"migrate.invalid/migrate/app/redact"
)

// Databases says where the data is, in words that only the caller understands.
// What is fixed is the migration id, once an instance has had traffic: another
// spelling of the same databases is taken, others are refused. See
// [SpawnOptions.Same].
type Databases struct {
	Old       string `json:"old"`                 // URI
	New       string `json:"new"`                 // URI, without its secrets
	Name      string `json:"name,omitempty"`      // of the new database, where its URI names a server
	Migration string `json:"migration,omitempty"` // the migration id, once an instance has told it
	// Untouched: no instance that holds the new database has had traffic yet, and
	// another may take its place. What nobody has named is then empty.
	Untouched bool `json:"new_untouched,omitempty"`

	earlier string // what an earlier version has written in place of all this
}

// UnmarshalJSON keeps what an earlier version has written for [Config.Earlier].
func (d *Databases) UnmarshalJSON(b []byte) error {
	type plain Databases
	if err := json.Unmarshal(b, (*plain)(d)); err != nil {
		return err
	}
	if d.Old == "" {
		d.earlier = string(b)
	}
	return nil
}

// understand has the caller read what an earlier version has written.
func (o *Orchestrator) understand(d *Databases) error {
	if d == nil || d.earlier == "" {
		return nil
	}
	if o.cfg.Earlier == nil {
		return errors.New("its databases were written by an earlier version, in a way that is not known here")
	}
	read, err := o.cfg.Earlier([]byte(d.earlier))
	if err != nil {
		return err
	}
	d.Old, d.New, d.Name, d.earlier = read.Old, read.New, read.Name, ""
	return nil
}

// open returns the databases without the secrets in their URIs.
func (d Databases) open() Databases {
	for _, uri := range []*string{&d.Old, &d.New} {
		if strings.Contains(*uri, "://") {
			*uri = redact.URI(*uri)
		}
	}
	return d
}

// Databases returns what is remembered; nil before the first spawn.
func (o *Orchestrator) Databases() (*Databases, error) {
	s, _, err := o.load()
	if err != nil {
		return nil, err
	}
	return s.Databases, nil
}

// remember keeps the databases of a spawn; nil: it named none.
func (s *State) remember(d *Databases) {
	if d != nil {
		s.Databases = d
	}
}
