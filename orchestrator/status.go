package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

// Instances are asked at the same time, and one that doesn't answer holds up
// nobody: its database may be down.
const (
	statusWait   = 5 * time.Second
	instanceWait = 3 * time.Second
)

// Roles of an instance.
const (
	RoleActive   = "active"   // the live link names it
	RoleFallback = "fallback" // drained, stands by
	RoleNext     = "next"     // live, without traffic
	RoleDead     = "dead"     // does not run
)

// Status is what runs and what is served, as far as it could be asked.
type Status struct {
	Dir         string           `json:"dir"`
	Instances   []InstanceStatus `json:"instances"`
	Live        int              `json:"live"`     // port that the links name
	Fallback    int              `json:"fallback"` // the same
	Served      *Served          `json:"served,omitempty"`
	ServedError string           `json:"served_error,omitempty"`
	Own         []string         `json:"own,omitempty"` // the command of a service of the user's own
	Databases   *Databases       `json:"databases,omitempty"`
	Active      *Active          `json:"active,omitempty"` // where traffic was last moved to
	LastSwitch  *SwitchResult    `json:"last_switch,omitempty"`
	Unfinished  *Operation       `json:"unfinished,omitempty"` // a command that was cut off, or is at work
	Holder      *Holder          `json:"holder,omitempty"`     // of the lock
	Daemons     []DaemonView     `json:"daemons,omitempty"`
	Warnings    []string         `json:"warnings,omitempty"`
}

// Served is where the proxy itself sends requests; port 0 is none.
type Served struct {
	Live     int `json:"live"`
	Fallback int `json:"fallback"`
}

// DaemonView is a daemon and whether it runs.
type DaemonView struct {
	Daemon
	Running bool `json:"running"`
}

// InstanceStatus is one instance as it is now.
type InstanceStatus struct {
	Instance
	Role    string          `json:"role"`
	Running bool            `json:"running"`
	Ready   bool            `json:"ready"`
	Reason  string          `json:"reason,omitempty"` // why it is not
	Told    *AdminStatus    `json:"-"`                // what its admin socket says; nil without one
	Raw     json.RawMessage `json:"status,omitempty"` // the same, all of it
}

// Status looks at everything without taking the lock, and changes nothing.
func (o *Orchestrator) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	state, lost, err := o.load()
	if err != nil {
		return Status{}, err
	}
	s := Status{Dir: o.cfg.Dir, Instances: []InstanceStatus{}, Own: state.Own, Databases: state.Databases, LastSwitch: state.LastSwitch, Active: state.Active}
	if s.Live, err = o.cfg.Traffic.Live(); err != nil {
		return s, err
	}
	if s.Fallback, err = o.cfg.Traffic.Fallback(); err != nil {
		return s, err
	}
	if live, fallback, err := o.cfg.Traffic.Served(ctx); err != nil {
		s.ServedError = err.Error()
	} else {
		s.Served = &Served{live, fallback}
	}
	all := state.sorted()
	s.Instances = make([]InstanceStatus, len(all))
	var asked sync.WaitGroup
	for n, i := range all {
		asked.Go(func() { s.Instances[n] = o.instanceStatus(ctx, i, s.Live, s.Fallback) })
	}
	asked.Wait()
	for _, d := range state.Daemons {
		s.Daemons = append(s.Daemons, DaemonView{d, d.Process.Runs()})
	}
	if h, ok := o.readHolder(); ok && h.Process.Alive() {
		s.Holder = &h
	}
	if s.Unfinished, err = o.unfinished(); err != nil {
		return s, err
	}
	if lost != "" {
		s.Warnings = append(s.Warnings, lost)
	}
	s.Warnings = append(s.Warnings, s.doubts()...)
	return s, nil
}

func (o *Orchestrator) instanceStatus(ctx context.Context, i Instance, live, fallback int) InstanceStatus {
	v := InstanceStatus{Instance: i, Role: RoleNext, Running: i.Process.Runs()}
	switch i.Port {
	case live:
		v.Role = RoleActive
	case fallback:
		v.Role = RoleFallback
	}
	if !v.Running {
		if v.Role == RoleNext {
			v.Role = RoleDead
		}
		v.Reason = "its process has ended"
		if bindable(i.Port) != nil {
			if l, found := process.FindListener(ctx, i.Port); found {
				v.Reason += fmt.Sprintf("; %v listens on the port", l)
			}
		}
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, instanceWait)
	defer cancel()
	var told AdminStatus
	var err error
	var asked sync.WaitGroup
	asked.Go(func() { told, err = o.admin(i).status(ctx) })
	v.Ready, v.Reason = ready(ctx, i.Port, i.readyPath())
	asked.Wait()
	if err == nil {
		v.Told, v.Raw = &told, told.Raw
	} else if i.Admin || !errors.Is(err, errNoAdmin) {
		v.Reason = joinText(v.Reason, err.Error())
	}
	return v
}

func joinText(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func (s Status) runs(port int) bool {
	return slices.ContainsFunc(s.Instances, func(i InstanceStatus) bool { return i.Port == port && i.Running })
}

// doubts are what a person should know at once.
func (s Status) doubts() []string {
	var all []string
	known := false
	for _, i := range s.Instances {
		if i.Port != s.Live {
			continue
		}
		known = true
		if !i.Running {
			text := fmt.Sprintf("the active instance on port %d has ended", i.Port)
			if s.Fallback != i.Port && s.runs(s.Fallback) {
				text += fmt.Sprintf("; the fallback on port %d answers what is safe to resend: migrate switch makes it active", s.Fallback)
			} else {
				text += ": " + Again(fmt.Sprintf("migrate spawn --port %d --step %d", i.Port, i.Step), i.Own) + " starts it again"
			}
			all = append(all, text)
		} else if !i.Ready {
			all = append(all, fmt.Sprintf("the active instance on port %d is not ready: %s", i.Port, i.Reason))
		}
	}
	if s.Live != 0 && !known {
		all = append(all, fmt.Sprintf("traffic is sent to port %d, where no instance of ours is known", s.Live))
	}
	if a := s.Active; s.Live == 0 && a != nil && s.runs(a.Port) { // a stop would have ended it
		all = append(all, fmt.Sprintf("traffic is sent nowhere: the link to port %d (step %d), which runs, is gone: migrate switch --to %d brings it back", a.Port, a.Step, a.Port))
	}
	if s.Served != nil && s.Served.Live != s.Live {
		all = append(all, fmt.Sprintf("the proxy serves port %d, the link names %d", s.Served.Live, s.Live))
	}
	if s.Unfinished != nil && s.Holder == nil && !s.Unfinished.Last.Tool.Alive() {
		all = append(all, fmt.Sprintf("%q was cut off in phase %q: the next command that changes something settles it, or says why it can't", s.Unfinished.Command, s.Unfinished.Last.Phase))
	}
	return all
}
