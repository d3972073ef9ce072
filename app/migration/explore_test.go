package migration

import "testing"

func TestExploreFirst(t *testing.T) {
	for _, st := range states {
		if st.epoch%2 == 0 {
			continue
		}
		sc := scenario{name: "x", state: st, roles: []role{
			{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
			{name: "writer", step: NewPrimary, do: []operation{appends("a")}},
			{name: "reader", step: ReadBoth, do: []operation{reads("a"), reads("a")}},
		}}
		for _, b := range []bounds{{0, 2, 100000}, {0, -1, 100000}, {1, 2, 100000}} {
			res := explore(sc, b)
			t.Logf("%s/%d %+v: %d runs %d states complete %v", st.name, st.epoch, b, res.runs, res.states, res.complete)
			if res.found != nil {
				story, _, err := replay(sc, res.found.schedule)
				t.Errorf("%s\n%s\n%s%v", res.found.fault, res.found.schedule, story, err)
				return
			}
		}
	}
}
