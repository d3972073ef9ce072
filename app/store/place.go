package store

import "strings"

// Place is where a database is, fit to be shown: it holds no secret.
type Place struct {
	Scheme string `json:"scheme"`
	Where  string `json:"where"`          // a path, or the URI without its secrets
	Name   string `json:"name,omitempty"` // of the database there, if it has one
}

func (p Place) String() string {
	switch {
	case p.Name == "":
		return p.Where
	case p.Where == "":
		return p.Name
	}
	return strings.Join([]string{p.Where, p.Name}, ", ")
}
