package migration

import (
	"fmt"
	"slices"
)

// pair is two neighbouring steps, or one twice, and who may be primary then.
type pair struct {
	low, high Step
	oldFirst  bool // the scenario begins with old as primary
}

var pairs = []pair{
	{DeployNew, DeployNew, true}, {DeployNew, AddDAO, true}, {AddDAO, AddDAO, true}, {AddDAO, WriteBoth, true}, {WriteBoth, WriteBoth, true},
	{WriteBoth, ReadBoth, true}, {ReadBoth, ReadBoth, true}, {ReadBoth, NewPrimary, true}, {NewPrimary, NewPrimary, true},
	{ReadBoth, ReadBoth, false}, {ReadBoth, NewPrimary, false}, {NewPrimary, NewPrimary, false},
	{NewPrimary, StopOldWrites, false}, {StopOldWrites, StopOldWrites, false}, {StopOldWrites, Backfill, false},
	{Backfill, Backfill, false}, {Backfill, RemoveOld, false}, {RemoveOld, RemoveOld, false},
}

// clients are the requests of a scenario.
type clients struct {
	name  string
	roles func(low, high Step) []role
}

var mixes = []clients{
	{"two-writers", func(low, high Step) []role {
		return []role{
			{name: "writer", step: low, do: []operation{appends("a")}},
			{name: "writer", step: high, do: []operation{appends("a")}},
			{name: "reader", step: low, do: []operation{reads("a"), reads("a")}},
		}
	}},
	{"reader-above", func(low, high Step) []role {
		return []role{
			{name: "writer", step: low, do: []operation{appends("a"), appends("a")}},
			{name: "reader", step: high, do: []operation{reads("a"), looks("a")}},
		}
	}},
	{"delete-create", func(low, high Step) []role {
		return []role{
			{name: "deleter", step: low, do: []operation{deletes("a")}},
			{name: "creator", step: high, do: []operation{creates("a"), reads("a")}},
		}
	}},
	{"create-delete", func(low, high Step) []role {
		return []role{
			{name: "creator", step: low, do: []operation{creates("a"), reads("a")}},
			{name: "deleter", step: high, do: []operation{deletes("a")}},
		}
	}},
	{"lister", func(low, high Step) []role {
		return []role{
			{name: "writer", step: low, do: []operation{appends("a"), deletes("b")}},
			{name: "lister", step: high, do: []operation{lists(1)}},
		}
	}},
	{"lister-below", func(low, high Step) []role {
		return []role{
			{name: "writer", step: high, do: []operation{deletes("a"), creates("a")}},
			{name: "lister", step: low, do: []operation{lists(1)}},
		}
	}},
	{"fresh", func(low, high Step) []role {
		return []role{
			{name: "maker", step: low, do: []operation{makes("c"), reads("c")}},
			{name: "reader", step: high, do: []operation{reads("c"), changes("c")}},
		}
	}},
	{"nothing-to-commit", func(low, high Step) []role {
		return []role{
			{name: "writer", step: low, do: []operation{appends("a")}},
			{name: "looker", step: high, do: []operation{looks("a"), looks("a")}},
			{name: "looker", step: low, do: []operation{looks("a")}},
		}
	}},
}

// movers are what goes on beside the requests; each names where it belongs.
type mover struct {
	name  string
	fits  func(p pair) bool
	roles func(p pair) []role
}

var movers = []mover{
	{"", func(pair) bool { return true }, func(pair) []role { return nil }},
	{"relay", func(p pair) bool { return p.high >= WriteBoth && p.low <= NewPrimary }, func(p pair) []role {
		return []role{{name: "relay", step: min(max(p.low, WriteBoth), NewPrimary), do: []operation{relays}}}
	}},
	{"backfill", func(p pair) bool { return p.high >= WriteBoth }, func(pair) []role {
		return []role{{name: "backfill", do: []operation{backfills(1)}}}
	}},
	{"flip", func(p pair) bool { return p.high == NewPrimary && p.oldFirst }, func(pair) []role {
		return []role{{name: "flip", step: NewPrimary, do: []operation{flips}}}
	}},
	{"flip+backfill", func(p pair) bool { return p.high == NewPrimary && p.oldFirst }, func(pair) []role {
		return []role{
			{name: "flip", step: NewPrimary, do: []operation{flips}},
			{name: "backfill", do: []operation{backfills(2)}},
		}
	}},
	{"foreign", func(p pair) bool { return p.oldFirst }, func(p pair) []role {
		return []role{{name: "foreign program", do: []operation{foreign("a")}}}
	}},
	{"foreign+flip", func(p pair) bool { return p.high == NewPrimary && p.oldFirst }, func(p pair) []role {
		return []role{
			{name: "foreign program", do: []operation{foreign("a"), foreign("a")}},
			{name: "flip", step: NewPrimary, do: []operation{flips}},
		}
	}},
	{"return", atFour, func(pair) []role { return []role{{name: "tool", do: []operation{returns}}} }},
	{"return+reopening", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "clock", free: true, do: []operation{ticks}},
		}
	}},
	{"return+three", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "writer", step: WriteBoth, apart: true, do: []operation{appends("a")}},
		}
	}},
	{"return+stray-five", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "stray", step: NewPrimary, apart: true, do: []operation{starts, appends("a"), reads("a")}},
		}
	}},
	{"return+stray-six", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "stray", step: StopOldWrites, apart: true, do: []operation{starts, appends("a"), reads("a")}},
		}
	}},
	{"two-returns", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "tool", do: []operation{returns}},
			{name: "clock", free: true, do: []operation{ticks}},
		}
	}},
	{"return+flip", atFour, func(pair) []role {
		return []role{
			{name: "tool", do: []operation{returns}},
			{name: "flip", step: NewPrimary, apart: true, do: []operation{starts, flips}},
		}
	}},
	{"backfill+settling", func(p pair) bool { return p.high == StopOldWrites || p.high == Backfill }, func(p pair) []role {
		return []role{
			{name: "backfill", do: []operation{backfills(2)}},
			{name: "settling", step: p.high, do: []operation{settles}},
		}
	}},
	{"registers", func(p pair) bool { return p.high >= StopOldWrites }, func(p pair) []role {
		return []role{{name: "newcomer", step: p.high, apart: true, do: []operation{starts, appends("a"), reads("a")}}}
	}},
}

// skippable are the movers beside which instances may leave their copies on old
// to the relay, too.
var skippable = []string{"return", "return+reopening"}

// pages are the mixes and movers that read page by page: there pages are short, too.
var pages = []string{"lister", "lister-below", "relay", "backfill", "flip+backfill", "backfill+settling", "return"}

func atFour(p pair) bool { return p.high == ReadBoth && !p.oldFirst }

// scenarios are all combinations that make sense.
func scenarios() []scenario {
	all := legacyScenarios()
	for _, p := range pairs {
		for _, st := range states {
			if (st.epoch%2 == 1) != p.oldFirst {
				continue
			}
			for _, c := range mixes {
				for _, m := range movers {
					if !m.fits(p) {
						continue
					}
					sc := scenario{
						name:   fmt.Sprintf("%d+%d/%s@%d/%s/%s", p.low, p.high, st.name, st.epoch, c.name, m.name),
						state:  st,
						marked: p.high == RemoveOld,
						roles:  append(c.roles(p.low, p.high), m.roles(p)...),
					}
					all = append(all, sc)
					if slices.Contains(skippable, m.name) {
						sc.name, sc.skips = sc.name+"+skipping", true
						all = append(all, sc)
						sc.skips = false
					}
					if slices.Contains(pages, c.name) || slices.Contains(pages, m.name) {
						sc.name, sc.short = fmt.Sprintf("%d+%d/%s@%d/%s/%s+short", p.low, p.high, st.name, st.epoch, c.name, m.name), true
						all = append(all, sc)
					}
				}
			}
		}
	}
	return all
}
