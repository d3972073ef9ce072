package orchestrator

import (
	"context"
	"fmt"
	"strings"
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
	asked := opts.Databases.open()
	if op.state.Databases == nil {
		asked.Untouched = true
		return &asked, nil
	}
	was := *op.state.Databases
	if asked.Migration == "" {
		asked.Migration = was.Migration
	}
	asked.Untouched = was.Untouched
	d := op.o.difference(op.state, was, asked)
	if op.dry {
		d.Touch = nil
	}
	oldFixed, newFixed := was.Migration != "", !was.Untouched
	for _, i := range v.staying() {
		oldFixed, newFixed = oldFixed || len(i.Own) == 0, newFixed || i.holdsNew()
	}
	d.Old, d.New = d.Old && oldFixed, d.New && newFixed
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

// Difference says which databases are named otherwise than they are remembered,
// and how to find out whether they are the same ones all the same. A copy has the
// migration id of what it was copied from.
type Difference struct {
	Was      Databases
	Old, New bool

	// Running are the ports of the instances that have the remembered ones open.
	Running []int
	// Touch has one of them write to the new database what no record feels; nil
	// where none runs that holds it, and in a dry run.
	Touch func(context.Context) error
}

// Difference compares databases with those that are remembered.
func (o *Orchestrator) Difference(asked Databases) (Difference, error) {
	s, _, err := o.load()
	if err != nil || s.Databases == nil {
		return Difference{}, err
	}
	return o.difference(s, *s.Databases, asked.open()), nil
}

func (o *Orchestrator) difference(s *State, was, asked Databases) Difference {
	d := Difference{
		Was: was, Old: was.Old != asked.Old,
		New: was.New != asked.New || was.Name != asked.Name,
	}
	for _, i := range s.running() {
		if len(i.Own) > 0 {
			continue
		}
		d.Running = append(d.Running, i.Port)
		if i.holdsNew() && i.Admin {
			d.Touch = func(ctx context.Context) error { return o.admin(i).post(ctx, "/probe") }
		}
	}
	return d
}

func otherDatabases(was, asked Databases) error {
	return usage("leave the database flags out, or use another --dir", nothingChanged,
		"other databases are remembered here: %s", differences(was, asked))
}

// differences says where what is asked for is not what is remembered.
func differences(was, asked Databases) string {
	var all []string
	for _, f := range []struct{ what, was, asked string }{
		{"the old one", was.Old, asked.Old}, {"the new one", was.New, asked.New},
		{"its name", was.Name, asked.Name}, {"the migration", was.Migration, asked.Migration},
	} {
		if f.was != f.asked {
			all = append(all, fmt.Sprintf("%s is %s, not %s", f.what, f.was, f.asked))
		}
	}
	return strings.Join(all, "; ")
}
