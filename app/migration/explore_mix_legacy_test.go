package migration

// legacyScenarios are of a database that was taken over, of what one of the two can't
// hold, and of databases and instances that come back.
func legacyScenarios() []scenario {
	flip := role{name: "flip", step: NewPrimary, do: []operation{flips}}
	relay := role{name: "relay", step: ReadBoth, do: []operation{relays}}
	adopting := role{name: "adopting", do: []operation{adopts}}
	all := []scenario{
		{name: "legacy/unknown/write", state: stateOf("legacy", 1), legacy: legacy{unknown: true}, roles: []role{
			{name: "writer", step: DeployNew, do: []operation{appends("a")}},
			{name: "writer", step: AddDAO, do: []operation{deletes("a"), creates("a")}},
			{name: "foreign program", do: []operation{foreign("a")}},
			adopting,
		}},
		{name: "legacy/unknown/flip", state: stateOf("legacy", 1), legacy: legacy{unknown: true}, roles: []role{
			{name: "backfill", do: []operation{backfills(3)}},
			{name: "foreign program", do: []operation{replaced("a")}},
			adopting, flip,
			{name: "reader", step: NewPrimary, do: []operation{reads("a"), reads("a")}},
		}},
		{name: "legacy/gap", state: stateOf("equal", 1), roles: []role{
			// Of a record that changes unseen while our own write is under way, one
			// change is lost: nothing tells the two copies apart.
			{name: "foreign program", do: []operation{unseen("a"), unseen("a")}},
			{name: "writer", step: ReadBoth, do: []operation{appends("b"), appends("b")}},
			adopting, flip,
			{name: "reader", step: NewPrimary, do: []operation{reads("a"), reads("b")}},
		}},
		{name: "legacy/unfit", state: stateOf("equal", 1), legacy: legacy{picky: true}, roles: []role{
			{name: "foreign program", do: []operation{spoils("a"), foreign("a")}},
			relay, flip,
			{name: "reader", step: ReadBoth, do: []operation{reads("a"), reads("a")}},
		}},
		{name: "legacy/unfit-backfill", state: stateOf("equal", 1), legacy: legacy{picky: true}, roles: []role{
			{name: "foreign program", do: []operation{spoils("a"), spoils("b")}},
			{name: "backfill", do: []operation{backfills(1)}},
			flip,
			{name: "writer", step: NewPrimary, do: []operation{appends("a"), deletes("b")}},
		}},
		{name: "legacy/swap", state: stateOf("equal", 2), legacy: legacy{rules: true}, roles: []role{
			{name: "writer", step: ReadBoth, do: []operation{takes("c", "B"), takes("b", "C")}},
			{name: "tool", do: []operation{returns}},
			relay,
			{name: "reader", step: ReadBoth, do: []operation{reads("b"), reads("c")}},
		}},
		{name: "legacy/refused", state: stateOf("equal", 2), legacy: legacy{rules: true}, roles: []role{
			{name: "writer", step: ReadBoth, do: []operation{takes("c", "B")}},
			{name: "tool", do: []operation{returns}},
			{name: "later", step: WriteBoth, apart: true, do: []operation{appends("c"), appends("b")}},
			relay,
		}},
		{name: "legacy/old-put-back", state: stateOf("equal", 2), roles: []role{
			{name: "backup", do: []operation{putsBack, bringsBack}},
			{name: "writer", step: ReadBoth, do: []operation{appends("a"), appends("a")}},
			{name: "reader", step: NewPrimary, do: []operation{reads("a"), lists(2)}},
			{name: "newcomer", step: ReadBoth, apart: true, do: []operation{starts, appends("a")}},
		}},
		{name: "legacy/on-word", state: stateOf("equal", 2), roles: []role{
			{name: "six", step: StopOldWrites, do: []operation{appends("a"), reads("a")}},
			{name: "tool", do: []operation{returnsOnWord}},
			{name: "settling", step: StopOldWrites, do: []operation{settles}},
			{name: "reader", step: WriteBoth, apart: true, do: []operation{reads("a"), appends("a")}},
		}},
		{name: "legacy/on-word-list", state: stateOf("stale", 2), roles: []role{
			{name: "six", step: StopOldWrites, do: []operation{lists(1)}},
			{name: "tool", do: []operation{returnsOnWord}},
			{name: "writer", step: WriteBoth, apart: true, do: []operation{appends("a")}},
		}},
	}
	return all
}
