package todo

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

// Every task that a request can set, and every id, comes back as it was.
func TestTasksComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		was := task.Task{
			Assignee: rapid.String().Draw(t, "assignee"), Description: rapid.String().Draw(t, "description"), Done: rapid.Bool().Draw(t, "done"),
		}
		text := rapid.String().Draw(t, "id")
		id, err := ID(text)
		if err != nil || id.String() != text {
			t.Fatalf("the id %q came back as %q, %v", text, id, err)
		}
		body, err := Body(was)
		if err != nil || Task(body) != was {
			t.Fatalf("%+v came back as %+v, %v", was, Task(body), err)
		}
		if err := Collection().Check(id, body); err != nil {
			t.Fatal(err)
		}
	})
}

// What the service filters by selects what a filter of the declaration does.
func TestFiltersSelectTheSame(t *testing.T) {
	names := rapid.SampledFrom([]string{"", "bill", "Bill", "jane\x00"})
	rapid.Check(t, func(t *rapid.T) {
		var f task.Filter
		if rapid.Bool().Draw(t, "by assignee") {
			f.Assignee = new(names.Draw(t, "wanted"))
		}
		if rapid.Bool().Draw(t, "by done") {
			f.Done = new(rapid.Bool().Draw(t, "done wanted"))
		}
		is := task.Task{Assignee: names.Draw(t, "assignee"), Done: rapid.Bool().Draw(t, "done")}
		filter, err := Filter(f)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := ID("a")
		body, _ := Body(is)
		if got := filter.Match(id, body); got != f.Match(is) {
			t.Errorf("%+v selects %+v: %v, want %v", filter.Equals(), is, got, f.Match(is))
		}
	})
}

func TestWhatIsNoTask(t *testing.T) {
	const bad = "\xff"
	if utf8.ValidString(bad) {
		t.Fatal("it is valid")
	}
	_, idErr := ID(bad)
	_, bodyErr := Body(task.Task{Assignee: bad})
	_, filterErr := Filter(task.Filter{Assignee: new(bad)})
	for what, err := range map[string]error{"id": idErr, "body": bodyErr, "filter": filterErr} {
		if err == nil {
			t.Errorf("an %s that is not valid UTF-8 is one", what)
		}
	}
	if got := view(store.Record{Deleted: true}); got.Body != (task.Task{}) || !got.Deleted {
		t.Errorf("a tombstone is read as %+v", got)
	}
	if got := Task(record.NewBody(record.Value{}, record.Value{}, record.Value{})); got != (task.Task{}) {
		t.Errorf("NULLs are read as %+v", got)
	}
}
