package migration

import "fmt"

// Step is one of the eight states of a deployment during the migration.
// Neighbouring steps, and only they, may be live at once.
type Step int

// The eight steps.
const (
	DeployNew     Step = 1 // the new database is set up beside the old one
	AddDAO        Step = 2 // its data access object is there, switched off
	WriteBoth     Step = 3 // writes go to old, then new
	ReadBoth      Step = 4 // reads are compared
	NewPrimary    Step = 5 // new decides
	StopOldWrites Step = 6 // old is no longer written
	Backfill      Step = 7 // what only old has is copied
	RemoveOld     Step = 8 // old is gone
)

var stepNames = [...]string{
	DeployNew:     "deploy the new database",
	AddDAO:        "add the new data access object",
	WriteBoth:     "write to both",
	ReadBoth:      "read from both",
	NewPrimary:    "make the new database primary",
	StopOldWrites: "stop writing to the old database",
	Backfill:      "migrate the remaining data",
	RemoveOld:     "remove the old data access object",
}

// Valid reports whether s is one of the eight.
func (s Step) Valid() bool { return s >= DeployNew && s <= RemoveOld }

// Name says in words what the step does.
func (s Step) Name() string {
	if !s.Valid() {
		return fmt.Sprintf("step %d, which does not exist", int(s))
	}
	return stepNames[s]
}

// HasOld reports whether instances at this step hold the old database.
func (s Step) HasOld() bool { return s < RemoveOld }

// HasNew reports whether instances at this step hold the new database.
func (s Step) HasNew() bool { return s >= AddDAO }

// ReadsFence reports whether instances at this step act on the fence itself;
// the others register and act on its mirror.
func (s Step) ReadsFence() bool { return s <= NewPrimary }
