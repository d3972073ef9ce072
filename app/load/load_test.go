package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// loadOn runs a load of about n requests and returns its figures and its ledger.
func loadOn(t *testing.T, base string, n int64, cfg Config) (Figures, string) {
	t.Helper()
	cfg.BaseURL, cfg.Ledger = base, filepath.Join(t.TempDir(), "ledger.jsonl")
	if cfg.MaxTasks == 0 {
		cfg.MaxTasks = 80
	}
	if cfg.Clients == 0 {
		cfg.Clients = 4
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g.Start(ctx)
	waited := g.Wait(ctx, n)
	figures, err := g.Stop()
	if err := errors.Join(waited, err); err != nil {
		t.Fatal(err)
	}
	return figures, cfg.Ledger
}

func check(t *testing.T, base, ledger string, min int) Report {
	t.Helper()
	report, err := Check(t.Context(), CheckConfig{BaseURL: base, Ledger: ledger, Min: min})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestSoundServicePasses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := serve(t)
	defer s.Close()
	var own []string
	for i := range 20 {
		id := fmt.Sprintf("old %d/%%?", i)
		own = append(own, id)
		s.tasks[id] = state{Rev: 1, Assignee: "Somebody", Description: "legacy", Done: i%2 == 0}
	}
	f, ledger := loadOn(t, s.URL, 3000, Config{Own: own})
	if f.Failed+f.Unknown+f.Lost+f.Stale != 0 {
		t.Fatalf("%+v", f)
	}
	if f.Requests < 3000 || f.Acknowledged < f.Requests/2 || f.P50 <= 0 || f.P99 < f.P50 || f.Worst < f.P99 {
		t.Errorf("%+v", f)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "GET"} {
		if s.asked[method] < 20 {
			t.Errorf("only %d requests by %s", s.asked[method], method)
		}
	}
	live := 0
	for _, task := range s.tasks {
		if !task.Deleted {
			live++
		}
	}
	if live > 80+4 || live < 40 {
		t.Errorf("%d tasks are live, about 80 should be", live)
	}
	r := check(t, s.URL, ledger, 100)
	if err := r.Err(); err != nil {
		t.Errorf("%v\n%s", err, strings.Join(r.Problems, "\n"))
	}
	if r.Checked != int(f.Acknowledged) || r.Acknowledged != r.Checked || r.Unknown != 0 {
		t.Errorf("%+v, but %d were acknowledged", r, f.Acknowledged)
	}
	if r := check(t, s.URL, ledger, r.Checked+1); !errors.Is(r.Err(), ErrDiffers) {
		t.Error("too few entries were checked, and nobody says so")
	}
}

// Every fault of a service is noticed, while the load runs or when its ledger
// is checked, and named as what it is.
func TestFaultsAreNoticed(t *testing.T) {
	every := func(n int, method, fault string) func(string, string, int) string {
		return func(m, path string, i int) string {
			if m == method && i%n == 0 && (method != "GET" || (path == "/tasks") == strings.HasPrefix(fault, "list")) {
				return fault
			}
			return ""
		}
	}
	lost := func(f Figures, r Report) bool { return f.Lost > 0 }
	stale := func(f Figures, r Report) bool { return f.Stale > 0 }
	kind := func(kind string, mayHaveHappened bool) func(Figures, Report) bool {
		return func(f Figures, r Report) bool {
			return f.Kinds[kind] == f.Failed && f.Failed > 0 && f.Lost+f.Stale == 0 && r.Err() == nil &&
				(f.Unknown > 0) == mayHaveHappened && r.Unknown == int(f.Unknown)
		}
	}
	mix := DefaultMix()
	mix.List = 100
	for _, c := range []struct {
		name   string
		fault  func(string, string, int) string
		notice func(Figures, Report) bool
	}{
		{"an update is lost", every(50, "PATCH", "lose"), func(f Figures, r Report) bool { return f.Stale > 0 && r.Stale > 0 }},
		{"a create is lost", every(5, "POST", "lose"), func(f Figures, r Report) bool { return f.Lost > 0 && r.Lost > 0 }},
		{"a deletion is lost", every(1, "DELETE", "lose"), func(f Figures, r Report) bool { return f.Lost > 0 && r.Lost > 0 }},
		{"a deleted task comes back", every(1, "GET", "resurrect"), lost},
		{"a read is stale", every(20, "GET", "stale"), stale},
		{"a read is forged", every(20, "GET", "other content"), stale},
		{"an update's answer is stale", every(50, "PATCH", "stale"), stale},
		{"a list omits", every(3, "GET", "list omits"), lost},
		{"a list repeats", every(3, "GET", "list twice"), stale},
		{"a list is stale", every(3, "GET", "list stale"), stale},
		{"a list shows deleted ones", every(3, "GET", "list deleted"), lost},
		{"refused", every(30, "PATCH", "refused"), kind("status 503 refused", false)},
		{"unavailable", every(30, "GET", "unavailable"), kind("status 503 unavailable", false)},
		{"unknown", every(30, "PATCH", "outcome_unknown"), kind("status 503 outcome_unknown", true)},
		{"unknown, but done", every(10, "DELETE", "done, yet unknown"), kind("status 503 outcome_unknown", true)},
		{"bad gateway", every(30, "PUT", "bad gateway"), kind("status 502", true)},
		{"closed before it acts", every(30, "PATCH", "close before"), kind("closed", true)},
		{"closed after it acts", every(30, "PATCH", "close after"), kind("closed", true)},
		{"closed after a create", every(10, "POST", "close after"), kind("closed", true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t)
			s.fault = c.fault
			f, ledger := loadOn(t, s.URL, 900, Config{Mix: mix, Seed: 7})
			s.mu.Lock()
			s.fault = func(string, string, int) string { return "" }
			arrived := int64(0)
			for _, n := range s.asked {
				arrived += int64(n)
			}
			s.mu.Unlock()
			if arrived != f.Requests {
				t.Errorf("%d requests arrived of the %d that were made: some were repeated", arrived, f.Requests)
			}
			r := check(t, s.URL, ledger, 1)
			if !c.notice(f, r) {
				t.Errorf("not noticed as what it is:\n%+v\n%+v", f, r)
			}
			if f.Lost+f.Stale > 0 && len(f.Problems) == 0 {
				t.Error("it is counted, but not told in words")
			}
		})
	}
}

// A service that loses something after the load has ended is found by the
// check alone, and so is a list that doesn't show what is there.
func TestCheckReadsEverythingBack(t *testing.T) {
	s := serve(t)
	f, ledger := loadOn(t, s.URL, 1000, Config{})
	if f.Failed != 0 {
		t.Fatalf("%+v", f)
	}
	some := func(deleted bool) string {
		for id, task := range s.tasks {
			if task.Deleted == deleted {
				return id
			}
		}
		t.Fatal("there is no such task")
		return ""
	}
	var far [2]int
	r, err := Check(t.Context(), CheckConfig{BaseURL: s.URL, Ledger: ledger, Progress: func(done, total int) {
		if done != far[0]+1 {
			t.Errorf("task %d was told after %d", done, far[0])
		}
		far = [2]int{done, total}
	}})
	if want := [2]int{r.Tasks, r.Tasks}; err != nil || r.Tasks == 0 || far != want {
		t.Errorf("told to have come to %v, want %v; %v", far, want, err)
	}
	live, gone := some(false), some(true)
	lost := func(r Report) bool { return r.Lost == 1 && r.Stale == 0 }
	stale := func(r Report) bool { return r.Lost == 0 && r.Stale == 1 }
	for _, c := range []struct {
		name   string
		id     string
		now    state
		notice func(Report) bool
	}{
		{"lost", live, state{Deleted: true}, lost},
		{"back", gone, state{Rev: 3, Assignee: "Bill", Description: "x"}, lost},
		{"older", live, state{Rev: s.tasks[live].Rev - 1, Assignee: s.tasks[live].Assignee, Description: s.tasks[live].Description, Done: s.tasks[live].Done}, stale},
		{"other", live, state{Rev: s.tasks[live].Rev, Assignee: s.tasks[live].Assignee, Description: "other", Done: s.tasks[live].Done}, stale},
		{"newer", live, state{Rev: s.tasks[live].Rev + 1, Assignee: "Bill", Description: "x"}, stale},
	} {
		was := s.tasks[c.id]
		s.tasks[c.id] = c.now
		if r := check(t, s.URL, ledger, 1); !c.notice(r) || r.Err() == nil || !strings.Contains(r.Problems[0], c.id) {
			t.Errorf("%s: %+v", c.name, r)
		}
		s.tasks[c.id] = was
	}
	s.fault = func(_, path string, _ int) string {
		if path == "/tasks" {
			return "list omits"
		}
		return ""
	}
	if r := check(t, s.URL, ledger, 1); r.Lost == 0 {
		t.Error("a list that shows nothing is not noticed")
	}
	s.Close()
	if _, err := Check(t.Context(), CheckConfig{BaseURL: s.URL, Ledger: ledger}); err == nil {
		t.Error("nothing could be read, and the check is content")
	}
}

// Whatever is altered in a ledger, at its start, in its middle or at its end,
// is noticed.
func TestAlteredLedgerIsNoticed(t *testing.T) {
	s := serve(t)
	_, path := loadOn(t, s.URL, 400, Config{MaxTasks: 30})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	swap := func(old, new string) func([]byte) []byte {
		return func(line []byte) []byte { return bytes.Replace(line, []byte(old), []byte(new), 1) }
	}
	changes := map[string]func([]byte) []byte{
		"rev":         swap(`"rev":`, `"rev":1`),
		"inner space": swap(`"done":`, `"done" :`),
		"client":      swap(`"client":"`, `"client":"x`),
		"time":        swap(`"time":"2`, `"time":"3`),
		"outcome":     swap(`"acked"`, `"refused"`),
		"space":       swap(`{`, `{ `),
		"extra field": swap(`{`, `{"more":1,`),
		"removed":     func([]byte) []byte { return nil },
		"twice":       func(l []byte) []byte { return append(bytes.Clone(l), l...) },
		"torn":        func(l []byte) []byte { return l[:len(l)/2] },
		"no JSON":     func([]byte) []byte { return []byte("x\n") },
	}
	for name, change := range changes {
		for _, at := range []int{0, len(lines) / 2, len(lines) - 1} {
			if name == "removed" && at == len(lines)-1 {
				continue // below: the data shows it
			}
			altered := filepath.Join(t.TempDir(), "altered")
			text := bytes.Join(lines[:at], nil)
			text = append(text, change(bytes.Clone(lines[at]))...)
			text = append(text, bytes.Join(lines[at+1:], nil)...)
			if bytes.Equal(text, whole) {
				t.Fatalf("%s changes nothing in %s", name, lines[at])
			}
			if err := os.WriteFile(altered, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := check(t, s.URL, altered, 1); r.Altered == 0 || !errors.Is(r.Err(), ErrDiffers) {
				t.Errorf("%s at line %d is not noticed", name, at+1)
			}
		}
	}
}

// Somebody who alters an entry and mends the chain still has the data against
// him; so has a ledger whose end is missing.
func TestMendedLedgerDiffersFromTheData(t *testing.T) {
	s := serve(t)
	_, path := loadOn(t, s.URL, 1000, Config{})
	var entries []Entry
	if err := readLedger(path, func(_ int, e Entry, fault error) { entries = append(entries, e) }); err != nil {
		t.Fatal(err)
	}
	mend := func(entries []Entry) Report {
		t.Helper()
		mended := filepath.Join(t.TempDir(), "mended")
		var text []byte
		sum := ""
		for _, e := range entries {
			line, err := e.seal(sum)
			if err != nil {
				t.Fatal(err)
			}
			sum = e.Sum
			text = append(text, line...)
		}
		if err := os.WriteFile(mended, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return check(t, s.URL, mended, 1)
	}
	if r := mend(entries); r.Err() != nil {
		t.Fatalf("mended without a change: %+v", r)
	}
	last := len(entries) - 1
	for entries[last].Op != "patch" { // a change of a task that the rest of the ledger knows
		last--
	}
	if r := mend(entries[:last]); r.Altered != 0 || r.Err() == nil {
		t.Errorf("the end is missing: %+v", r)
	}
	for _, at := range []int{0, last / 2, len(entries) - 1} {
		changed := append([]Entry(nil), entries...)
		changed[at].Rev += 3
		if r := mend(changed); r.Altered != 0 || r.Err() == nil {
			t.Errorf("entry %d: %+v", at, r)
		}
	}
}

func TestRateAndFiguresBetweenMarks(t *testing.T) {
	s := serve(t)
	cfg := Config{BaseURL: s.URL, Ledger: filepath.Join(t.TempDir(), "l"), Rate: 400, Clients: 8}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.Start(t.Context())
	var sum int64
	for range 3 {
		if err := g.Wait(t.Context(), 50); err != nil {
			t.Fatal(err)
		}
		if f := g.Snapshot(); f.Requests < 50 {
			t.Errorf("waited for 50 requests, there were %d", f.Requests)
		}
		f := g.Mark()
		// Each client may have been let go before the mark and answered after it.
		if f.Requests < 50 || float64(f.Requests) > cfg.Rate*f.Elapsed.Seconds()+float64(cfg.Clients)+1 {
			t.Errorf("%d requests in %v are more than %v a second", f.Requests, f.Elapsed, cfg.Rate)
		}
		sum += f.Requests
	}
	total, err := g.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if rest := g.Snapshot().Requests; total.Requests != sum+rest {
		t.Errorf("%d requests in all, %d and %d between marks", total.Requests, sum, rest)
	}
	if err := g.Wait(t.Context(), 1<<40); err == nil {
		t.Error("it waits for requests that will never come")
	}
}

func TestMixOfOneKind(t *testing.T) {
	s := serve(t)
	f, ledger := loadOn(t, s.URL, 500, Config{Mix: Mix{Create: 1}, Think: time.Millisecond})
	if s.asked["POST"] != int(f.Requests) || f.Acknowledged != f.Requests {
		t.Errorf("%v of %d requests", s.asked, f.Requests)
	}
	if r := check(t, s.URL, ledger, 500); r.Err() != nil {
		t.Errorf("%+v", r)
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	f, err := Run(t.Context(), Config{
		BaseURL: "http://" + l.Addr().String(), Ledger: filepath.Join(t.TempDir(), "l"), Duration: 50 * time.Millisecond,
	})
	if err != nil || f.Failed == 0 || f.Failed != f.Kinds["connect"] || f.Unknown != 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := Run(t.Context(), Config{
		BaseURL: "http://" + l.Addr().String(), Ledger: filepath.Join(t.TempDir(), "l"),
		Duration: 100 * time.Millisecond, Timeout: 20 * time.Millisecond, Clients: 2,
	})
	if err != nil || f.Failed == 0 || f.Failed != f.Kinds["timeout"] || f.Unknown == 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{BaseURL: "https://x", Ledger: filepath.Join(t.TempDir(), "l")},
		{BaseURL: "nonsense", Ledger: filepath.Join(t.TempDir(), "l")},
		{BaseURL: "http://127.0.0.1:1", Ledger: filepath.Join(t.TempDir(), "none", "l")},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
