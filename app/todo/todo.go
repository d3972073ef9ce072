// Package todo is the ToDo service's view of the migration: tasks in place of
// records. It declares the one collection that the service has, and translates
// both ways; of the eight steps it knows nothing.
package todo

import (
	"context"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

// Collection declares the original's table of tasks. The original looks at no
// types: what it reads of a column is a text, and a task is undone only where
// done equals 0.
func Collection() record.Collection { return Declaration().Collections[0] }

// Declaration declares what the ToDo service's migration moves.
func Declaration() record.Declaration {
	d := record.Declaration{Old: "sqlite:tasks.db", New: "mongodb://localhost/todo", Collections: []record.Collection{{
		Name: "tasks",
		ID:   []string{"id"},
		Fields: []record.Field{
			{Name: "id", Type: record.Text},
			{Name: "assignee", Type: record.Text, Loose: true},
			{Name: "description", Type: record.Text, Loose: true},
			{Name: "done", Type: record.Bool, Loose: true},
		},
		Lists: [][]string{{"assignee", "done"}},
	}}}
	if err := d.Complete(); err != nil {
		panic("todo: " + err.Error()) // a test completes it
	}
	return d
}

// Record is one copy of a task. A deleted one is a tombstone.
type Record struct {
	ID      string
	Rev     int64
	Deleted bool
	Request string
	Unfit   string // why the new database can't hold it: see [store.Record]; Body may be missing
	Whole   bool   // of what a [Change] answers: it sets every field, whatever was there
	Body    task.Task
}

// Page is a page of tasks, see [store.Page].
type Page struct {
	Records []Record
	Next    string
	End     bool
}

// Change decides what becomes of a task, see [migration.Change].
type Change func(cur Record, found bool) (next Record, commit bool, err error)

// Tasks is the service that walks the steps, with tasks in place of records.
type Tasks struct {
	*migration.Service
	tasks record.Collection
}

// New returns the tasks of a service.
func New(s *migration.Service) Tasks { return Tasks{s, Collection()} }

// ID returns the id of the task with this id; unfit if it is not valid UTF-8.
func ID(text string) (record.ID, error) {
	v, err := record.OfText(text)
	if err != nil {
		return "", err
	}
	return record.NewID("tasks", v)
}

// Body returns the body of a task; unfit if a text is not valid UTF-8.
func Body(t task.Task) (record.Body, error) {
	assignee, err := record.OfText(t.Assignee)
	if err != nil {
		return "", err
	}
	description, err := record.OfText(t.Description)
	if err != nil {
		return "", err
	}
	return record.NewBody(assignee, description, record.OfBool(t.Done)), nil
}

// Task returns the task that a body is of; the zero task for a tombstone's.
func Task(b record.Body) task.Task {
	var some [3]record.Value
	v := b.AppendValues(some[:0])
	if len(v) != 3 {
		return task.Task{}
	}
	return task.Task{Assignee: text(v[0]), Description: text(v[1]), Done: v[2].Bool()}
}

// text returns the text of a value that is one; the empty one for NULL.
func text(v record.Value) string {
	if v.IsNull() {
		return ""
	}
	return v.String()
}

func view(r store.Record) Record {
	return Record{ID: r.ID.String(), Rev: r.Rev, Deleted: r.Deleted, Request: r.Request, Unfit: r.Unfit, Body: Task(r.Body)}
}

// Apply is [migration.Service.Apply] for a task. One that is in quarantine can be
// deleted or replaced as a whole, and nothing else: what a change leaves as it
// was may be what is at fault.
func (t Tasks) Apply(ctx context.Context, id string, fresh bool, change Change) (Record, error) {
	key, err := ID(id)
	if err != nil {
		return Record{}, err
	}
	rec, err := t.Service.Apply(ctx, key, fresh, func(cur store.Record, found bool) (store.Record, bool, error) {
		next, commit, err := change(view(cur), found)
		if !commit {
			return cur, false, err
		}
		if cur.Unfit != "" && !next.Deleted && !next.Whole {
			return cur, false, nil // the service refuses it
		}
		body, err := Body(next.Body)
		if err != nil {
			return cur, false, err
		}
		cur.Deleted, cur.Request, cur.Body = next.Deleted, next.Request, body
		return cur, true, nil
	})
	return view(rec), err
}

// Get is [migration.Service.Get] for a task.
func (t Tasks) Get(ctx context.Context, id string) (Record, bool, error) {
	key, err := ID(id)
	if err != nil {
		return Record{}, false, err
	}
	rec, found, err := t.Service.Get(ctx, key)
	return view(rec), found, err
}

// List is [migration.Service.List] for tasks, from the beginning if after is nil.
func (t Tasks) List(ctx context.Context, filter task.Filter, after *string, limit int) (Page, error) {
	chosen, err := Filter(filter)
	if err != nil {
		return Page{}, err
	}
	var from record.ID
	if after != nil {
		if from, err = ID(*after); err != nil {
			return Page{}, err
		}
	}
	page, err := t.Service.List(ctx, chosen, from, limit)
	out := Page{Records: make([]Record, len(page.Records)), Next: page.Next.String(), End: page.End}
	for n, r := range page.Records {
		out.Records[n] = view(r)
	}
	return out, err
}

// Filter says what selects the tasks in the words of their collection.
func Filter(f task.Filter) (record.Filter, error) {
	var conditions []record.Equals
	if f.Assignee != nil {
		v, err := record.OfText(*f.Assignee)
		if err != nil {
			return record.Filter{}, err
		}
		conditions = append(conditions, record.Equals{Field: "assignee", Value: v})
	}
	if f.Done != nil {
		conditions = append(conditions, record.Equals{Field: "done", Value: record.OfBool(*f.Done)})
	}
	return Collection().Filter(conditions...)
}
