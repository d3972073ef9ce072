package orchestrator

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// What the state says is also kept where it belongs, an instance's beside its
// socket, a daemon's beside its log, the rest in the journal: so that a state
// that was lost is found again, rather than taken for a fresh start beside a
// service that runs.
const (
	recordFile  = "instance.json"
	serviceFile = "service.json"
	daemonFile  = "daemon.json"
	socketFile  = "admin.sock"
	logFile     = "log"
)

// load reads the state. When its file is missing, lost says what was found
// again; it is empty in a folder that is new.
func (o *Orchestrator) load() (s *State, lost string, err error) {
	if s, err = loadState(o.statePath()); err != nil {
		return nil, "", err
	}
	if exists(o.statePath()) {
		o.localise(s)
		return s, "", o.known(s)
	}
	err = o.rebuild(s)
	if err == nil {
		err = o.understand(s.Databases)
	}
	o.localise(s)
	if err != nil {
		return nil, "", problem(fmt.Errorf("%s is missing and can't be put together again: %w", o.statePath(), err), nothingChanged,
			"end by hand what that file is about, move it away, and repeat the command")
	}
	if len(s.Instances)+len(s.Daemons) == 0 && s.Databases == nil && s.Active == nil && len(s.Own) == 0 {
		return s, "", nil
	}
	return s, fmt.Sprintf("%s was missing: it is put together again from the folders of %d instances and the journal", o.statePath(), len(s.Instances)), nil
}

// known reads the databases that an earlier version has remembered.
func (o *Orchestrator) known(s *State) error {
	if err := o.understand(s.Databases); err != nil {
		return problem(fmt.Errorf("%s can't be read: %w", o.statePath(), err), nothingChanged, "use the migrate that wrote it")
	}
	return nil
}

// localise has what is in the state folder found by the path that this command
// has for it: another command may have had another one, or the folder was moved.
func (o *Orchestrator) localise(s *State) {
	for port, i := range s.Instances {
		dir := o.instanceDir(port)
		i.Socket, i.Log = filepath.Join(dir, socketFile), filepath.Join(dir, logFile)
		s.Instances[port] = i
	}
	for name, d := range s.Daemons {
		if home := o.daemonDir(name); exists(filepath.Join(home, daemonFile)) {
			d.Dir, d.Log = home, filepath.Join(home, logFile)
			s.Daemons[name] = d
		}
	}
}

func (o *Orchestrator) rebuild(s *State) error {
	instances, err := records[Instance](filepath.Join(o.cfg.Dir, "instances", "*", recordFile))
	if err != nil {
		return err
	}
	for _, i := range instances {
		s.Instances[i.Port] = i
	}
	daemons, err := records[Daemon](filepath.Join(o.cfg.Dir, "data", "*", daemonFile))
	if err != nil {
		return err
	}
	for _, d := range daemons {
		s.Daemons[d.Name] = d
	}
	last, err := o.readService()
	if err != nil {
		return err
	}
	s.Own, s.Settings = last.Own, last.Settings
	ops, _, err := o.History(0)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if op.Outcome != phaseDone && op.Outcome != phaseFinished {
			continue
		}
		e := op.Last
		if op.Kind == kindForget {
			s.forget()
			continue
		}
		if e.Databases != nil {
			s.Databases = e.Databases
		}
		if op.Kind == kindSwitch {
			s.Active = &Active{Port: e.Port, Step: e.To, Since: e.Time}
			s.LastSwitch = &SwitchResult{Op: op.ID, At: e.Time, Who: e.Who, Port: e.Port, Step: e.To,
				Previous: e.Previous, From: e.From, Forced: e.Forced, InFlight: -1, PendingBefore: -1}
		}
	}
	return nil
}

// records reads every file that matches.
func records[T any](pattern string) ([]T, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	all := make([]T, len(paths))
	for n, path := range paths {
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &all[n])
		}
		if err != nil {
			return nil, fmt.Errorf("%s can't be read: %w", path, err)
		}
	}
	return all, nil
}

// keep remembers an instance.
func (op *operation) keep(i Instance) error {
	op.state.Instances[i.Port] = i
	record := filepath.Join(op.o.instanceDir(i.Port), recordFile)
	if err := op.o.withRoom(func() error { return writeJSON(record, i) }); err != nil {
		return err
	}
	return op.save()
}
