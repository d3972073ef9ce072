package fire

import (
	"cmp"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run uses a fake service for as many requests, and judges it. atEnd may break
// it between the fire and the judgement.
func run(t *testing.T, s *fake, requests int64, atEnd func(*fake)) Report {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	var legacy []Legacy
	for n := range 20 {
		legacy = append(legacy, Legacy{fmt.Sprint("legacy-", n), fmt.Sprint("old ", n/groupSize), fmt.Sprint("legacy task ", n)})
		s.legacy(legacy[n])
	}
	f := Start(t.Context(), Config{
		Address: strings.TrimPrefix(server.URL, "http://"), Seed: 1, Think: 2 * time.Millisecond, Legacy: legacy,
		Foreign: s.foreign,
	})
	for all, _ := f.Answered(); all < requests && t.Context().Err() == nil; all, _ = f.Answered() {
		pause(t.Context(), 10*time.Millisecond)
	}
	f.Stop()
	if atEnd != nil {
		s.mu.Lock()
		atEnd(s)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.fault = ""
	s.mu.Unlock()
	rep, err := f.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// foreign understands the foreigner's statements by their first word.
func (s *fake) foreign(_ context.Context, statement string) (rows int, refused bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := strings.Split(statement, "'")
	req, id := request{Op: opErase}, texts[len(texts)-2]
	var assignee string
	switch {
	case strings.HasPrefix(statement, "INSERT"):
		req, id, assignee = request{Op: opInsert, Description: texts[5]}, texts[1], texts[3]
	case strings.HasPrefix(statement, "UPDATE"):
		req = request{Op: opUpdate, Description: texts[1]}
	}
	if s.tasks[id] == nil {
		s.tasks[id] = &fakeTask{id: id, assignee: assignee}
	}
	s.tasks[id].assignee = cmp.Or(assignee, s.tasks[id].assignee)
	if s.rng.IntN(10) == 0 {
		return 0, true, nil
	}
	next, a := s.tasks[id].state.next(req)
	if a.Status != 204 {
		return 0, req.Op == opInsert, nil
	}
	s.tasks[id].state = next
	return 1, false, nil
}

// An honest service has nothing to fear, for all its unknown outcomes.
func TestHonest(t *testing.T) {
	rep := run(t, newFake(""), 20_000, nil) // a foreign program pauses longer than a client
	t.Logf("%v", rep)
	for _, v := range append(rep.Violations, rep.Stories...) {
		t.Error(v)
	}
	if rep.Unknown < 10 || rep.Refused < 10 || rep.Lists < 50 || rep.Ops["insert"]+rep.Ops["update"] < 5 || rep.Ops["delete"] < 5 || rep.Ops["create"] < 50 {
		t.Errorf("too little was tried: %v", rep)
	}
}

// Each way in which a service can lie is seen.
func TestEveryLieIsSeen(t *testing.T) {
	for fault, word := range map[string]string{
		"stale read":              "no order",
		"lost update":             "no order",
		"refused, but done":       "no order",
		"back from the dead":      "no order",
		"blind":                   "no order",
		"list misses one":         "misses",
		"list shows one twice":    "twice",
		"list is stale":           "after rev",
		"list shows what is gone": "no longer matched",
	} {
		t.Run(fault, func(t *testing.T) {
			s := newFake(fault)
			rep := run(t, s, 4000, nil)
			t.Logf("%d faults, %d violations", s.faults, len(rep.Violations))
			if s.faults == 0 {
				t.Fatal("the service made no mistake")
			}
			if !strings.Contains(strings.Join(rep.Violations, "\n"), word) {
				t.Errorf("%d mistakes were made, and none is reported with %q: %q", s.faults, word, rep.Violations)
			}
		})
	}
}

// What is gone when the fire is out is counted.
func TestLossAtTheEndIsCounted(t *testing.T) {
	for name, lose := range map[string]func(*fakeTask){
		"the record":      func(task *fakeTask) { task.state = state{} },
		"its last change": func(task *fakeTask) { task.state = task.was },
	} {
		t.Run(name, func(t *testing.T) {
			rep := run(t, newFake(""), 1000, func(s *fake) {
				for _, task := range s.tasks {
					if task.state.is == live && task.was.is == live {
						lose(task)
					}
				}
			})
			if rep.Lost == 0 || len(rep.Stories) == 0 {
				t.Errorf("lost %d, %d stories: %q", rep.Lost, len(rep.Stories), rep.Violations)
			}
		})
	}
}
