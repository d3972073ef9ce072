package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/google/renameio/v2"

	"migrate.invalid/migrate/orchestrator/process"
)

// stateSchema is raised when an earlier version would misread the file: the
// first one named the databases otherwise.
const stateSchema = 2

// State is what is remembered between commands. What runs and what is served
// is looked at each time; the state only says where to look.
type State struct {
	Schema     int               `json:"schema"`
	Databases  *Databases        `json:"databases,omitempty"`
	Instances  map[int]Instance  `json:"instances,omitempty"` // by port
	Daemons    map[string]Daemon `json:"daemons,omitempty"`   // by name
	Active     *Active           `json:"active,omitempty"`
	Own        []string          `json:"own,omitempty"`     // the user's command of the service that had the traffic last, without passwords
	Settings   Settings          `json:"settings,omitzero"` // of the service that had the traffic last
	LastSwitch *SwitchResult     `json:"last_switch,omitempty"`
}

// Active is where traffic was last moved to.
type Active struct {
	Port  int       `json:"port"`
	Step  int       `json:"step"`
	Since time.Time `json:"since"`
}

// Instance is a process of the service that was spawned on a port.
type Instance struct {
	Port  int    `json:"port"`
	Step  int    `json:"step"`
	ID    string `json:"instance,omitempty"` // as it names itself
	Build string `json:"build,omitempty"`
	// FromEpoch is the epoch that it was told at its start; 0: none. See [SpawnOptions.Epoch].
	FromEpoch int64            `json:"from_epoch,omitempty"`
	Process   process.Identity `json:"process"`
	Spawned   time.Time        `json:"spawned"`
	Args      []string         `json:"args"`          // without passwords
	Own       []string         `json:"own,omitempty"` // a command of the user's own as it was given, likewise; see [Again]
	Settings
	Admin  bool   `json:"admin"` // it has an admin socket
	Socket string `json:"socket"`
	Log    string `json:"log"`
}

func (o *Orchestrator) statePath() string { return filepath.Join(o.cfg.Dir, "state.json") }

// instanceDir holds what belongs to the instance on a port.
func (o *Orchestrator) instanceDir(port int) string {
	return filepath.Join(o.cfg.Dir, "instances", fmt.Sprint(port))
}

func loadState(path string) (*State, error) {
	s := &State{Schema: stateSchema}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, problem(fmt.Errorf("%s can't be read: %w", path, err), nothingChanged,
				"move the file away: the next command puts it together again from instances/ and the journal")
		}
		if s.Schema > stateSchema {
			return nil, usage("use the newer migrate", nothingChanged,
				"%s was written by a newer migrate (schema %d; this one knows %d)", path, s.Schema, stateSchema)
		}
	}
	if s.Instances == nil {
		s.Instances = map[int]Instance{}
	}
	if s.Daemons == nil {
		s.Daemons = map[string]Daemon{}
	}
	s.Schema = stateSchema
	return s, nil
}

func saveState(path string, s *State) error { return writeJSON(path, s) }

// writeJSON replaces a file atomically and durably.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	dir := filepath.Dir(path)
	err = renameio.WriteFile(path, append(b, '\n'), 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err == nil {
		err = errors.Join(handOver(path), syncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sorted returns the instances by port.
func (s *State) sorted() []Instance {
	all := make([]Instance, 0, len(s.Instances))
	for _, i := range s.Instances {
		all = append(all, i)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].Port < all[b].Port })
	return all
}

// running returns the instances whose process lives, by port.
func (s *State) running() []Instance {
	var live []Instance
	for _, i := range s.sorted() {
		if i.Process.Runs() {
			live = append(live, i)
		}
	}
	return live
}
