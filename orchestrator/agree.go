package orchestrator

import (
	"context"
	"fmt"
	"strings"

	"migrate/app/redact"
)

// firstWithNew is the first step whose instances hold the new database.
const firstWithNew = 2

// holdsNew reports whether an instance of the service that is remembered with
// its databases holds the new one.
func (i Instance) holdsNew() bool { return len(i.Own) == 0 && i.Step >= firstWithNew }

// agree returns the databases that are to be remembered once the spawn has
// succeeded. Those that are fixed may only be named otherwise, which
// [SpawnOptions.Same] proves: by the traffic that an instance has had, or by an
// instance that goes on beside the new one.
func (op *operation) agree(ctx context.Context, v view, opts SpawnOptions) (*Databases, error) {
	if opts.Databases == nil {
		return nil, nil
	}
	asked := *opts.Databases
	asked.MongoURI = redact.URI(asked.MongoURI)
	if op.state.Databases == nil {
		asked.Untouched = true
		return &asked, nil
	}
	was := *op.state.Databases
	if asked.Migration == "" {
		asked.Migration = was.Migration
	}
	asked.Untouched = was.Untouched
	d := Difference{Was: was}
	oldFixed, newFixed := was.Migration != "", !was.Untouched
	for _, i := range v.staying() {
		oldFixed, newFixed = oldFixed || len(i.Own) == 0, newFixed || i.holdsNew()
	}
	d.Old = oldFixed && was.SQLite != asked.SQLite
	d.New = newFixed && (was.MongoURI != asked.MongoURI || was.MongoDB != asked.MongoDB)
	if was.Migration != "" && was.Migration != asked.Migration {
		return nil, otherDatabases(was, asked)
	}
	if !d.Old && !d.New {
		return &asked, nil
	}
	if opts.Same == nil {
		return nil, otherDatabases(was, asked)
	}
	return &asked, v.placed(opts.Same(ctx, d))
}

// staying are the instances that a spawn lets live.
func (v view) staying() []Instance {
	if v.running {
		return []Instance{*v.active}
	}
	return v.others
}

// Difference says which databases are named otherwise than they are remembered.
type Difference struct {
	Was      Databases
	Old, New bool
}

func otherDatabases(was, asked Databases) error {
	return usage("leave the database flags out, or use another --dir", nothingChanged,
		"other databases are remembered here: %s", differences(was, asked))
}

// differences says where what is asked for is not what is remembered.
func differences(was, asked Databases) string {
	var all []string
	for _, f := range []struct{ what, was, asked string }{
		{"the old one", was.SQLite, asked.SQLite}, {"the new one", was.MongoURI, asked.MongoURI},
		{"its name", was.MongoDB, asked.MongoDB}, {"the migration", was.Migration, asked.Migration},
	} {
		if f.was != f.asked {
			all = append(all, fmt.Sprintf("%s is %s, not %s", f.what, f.was, f.asked))
		}
	}
	return strings.Join(all, "; ")
}
