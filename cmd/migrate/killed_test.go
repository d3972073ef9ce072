package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/app/load"
)

// bulk is how much larger a pending request is than any of the load's.
const bulk = 8 << 10

// pending is a request on a connection of its own, which can't be repeated.
type pending struct {
	t    *testing.T
	conn net.Conn
	rest string // of the body, not sent yet
}

// post sends a POST of a task but for the last bytes of its body.
func (s *site) post(description string, keep int) *pending {
	s.t.Helper()
	body := fmt.Sprintf(`{"assignee":"Kim","description":%q%s}`, description, strings.Repeat(" ", bulk))
	sent := len(body) - keep
	return s.begin(fmt.Sprintf("POST /tasks HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d", len(body)), body[:sent], body[sent:])
}

// get sends a GET of a path.
func (s *site) get(path string) *pending {
	s.t.Helper()
	return s.begin(fmt.Sprintf("GET %s HTTP/1.1%s", path, strings.Repeat("\r\nX-Bulk: "+strings.Repeat("x", bulk/2), 2)), "", "")
}

func (s *site) begin(head, body, rest string) *pending {
	s.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", s.first+38)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	p := &pending{s.t, conn, rest}
	p.send(head + "\r\nHost: " + address + "\r\n\r\n" + body)
	return p
}

func (p *pending) send(text string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// reply is what came of a request, as far as the answer says.
type reply struct {
	status       int
	ID, Instance string
	Port         int
	Error        struct{ Code string }
}

func (p *pending) answer() (r reply) {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(p.conn), nil)
	if err != nil {
		p.t.Fatalf("a request has no answer: %v", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		p.t.Fatalf("answered %s, and no JSON: %v", resp.Status, err)
	}
	r.status = resp.StatusCode
	return r
}

// frozen says whether no thread of a process runs.
func frozen(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	return !slices.ContainsFunc(threads, func(path string) bool {
		text, err := os.ReadFile(path)
		_, state, _ := strings.Cut(string(text), ") ")
		return err == nil && !strings.HasPrefix(state, "T")
	})
}

// unread is how many connections to a port hold as many bytes as a pending
// request has, at the least, which whoever listens there has not read.
func unread(t *testing.T, port int) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		// number, local address, remote address, state, sent:received, …
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			continue
		}
		_, received, _ := strings.Cut(f[4], ":")
		if bytes, err := strconv.ParseInt(received, 16, 64); err == nil && f[3] == "01" && bytes >= bulk {
			n++
		}
	}
	return n
}

type killedStatus struct {
	Live, Fallback int
	Served         struct{ Live, Fallback int }
	Warnings       []string
	Instances      []killedInstance
}

type killedInstance struct {
	Instance, Role, Reason string
	Port, Step             int
	Running, Ready         bool
	Process                struct{ PID int }
}

// The instance that serves is killed under load, with requests that it has got
// and not answered. Those are told that nobody knows; all others are answered
// by the one that stands by, which status says, with the way on.
func TestKilledUnderLoad(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	const clients, held = 12, 4
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.startMongo()
	s.must("nginx", "start")
	s.must("advance", "--until", "4")
	var before killedStatus
	s.json(&before, "status")
	pid, standby := 0, ""
	for _, i := range before.Instances {
		switch i.Port {
		case before.Live:
			pid = i.Process.PID
		case before.Fallback:
			standby = i.Instance
		}
	}
	if pid == 0 || standby == "" {
		t.Fatalf("there is no pair: %+v", before)
	}

	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	gen, err := load.New(load.Config{BaseURL: s.url(), Ledger: ledger, Clients: clients, MaxTasks: 240, Think: 10 * time.Millisecond, Timeout: time.Minute, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	gen.Start(t.Context())
	defer gen.Stop()
	more := func(n int64) {
		t.Helper()
		if err := gen.Wait(t.Context(), gen.Snapshot().Requests+n); err != nil {
			t.Fatal(err)
		}
	}
	more(300)

	// It is frozen first, so that what is sent to it now is in flight for sure,
	// and what of the load it had begun is in any state there is.
	upload := s.post("not sent yet", 1)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !waitFor(t.Context(), time.Minute, func() bool { return frozen(t, pid) }) {
		t.Fatal("the active instance can't be stopped")
	}
	inFlight := []*pending{s.get("/config")}
	for len(inFlight) < held {
		inFlight = append(inFlight, s.post("in flight", 0))
	}
	if !waitFor(t.Context(), time.Minute, func() bool { return unread(t, before.Live) == held }) {
		t.Fatalf("%d of %d requests have come to the active instance", unread(t, before.Live), held)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	for n, p := range inFlight {
		r := p.answer()
		if n == 0 && (r.status != 200 || r.Port != before.Fallback) { // it changes nothing, and can be sent again
			t.Errorf("a read in flight: answered %+v, want it from port %d", r, before.Fallback)
		}
		if n > 0 && (r.status != 503 || r.Error.Code != "outcome_unknown") {
			t.Errorf("a write in flight: answered %+v, want 503 outcome_unknown", r)
		}
	}
	command := s.stoodInFor(before)
	upload.send(upload.rest)
	sent := upload.answer()
	if sent.status != 201 {
		t.Fatalf("what was not sent yet: answered %+v, want 201 by the one that stands by", sent)
	}
	if r := s.get("/config").answer(); r.status != 200 || r.Port != before.Fallback || r.Instance != standby {
		t.Errorf("answered by %+v, want port %d, instance %s", r, before.Fallback, standby)
	}
	more(300)
	s.must(command...)
	var after killedStatus
	s.json(&after, "status")
	if after.Live != before.Fallback || strings.Contains(fmt.Sprint(after.Warnings), "has ended") {
		t.Errorf("after migrate %s: %+v; want port %d active, and none that has ended", strings.Join(command, " "), after, before.Fallback)
	}
	more(300)
	f, err := gen.Stop()
	if err != nil {
		t.Fatal(err)
	}
	// A client had one request in flight, and its next may still have gone to a connection of the dying one.
	const unknown = "status 503 outcome_unknown"
	if f.Failed != f.Kinds[unknown] || f.Failed != f.Unknown || f.Failed > 2*clients || f.Lost+f.Stale > 0 {
		t.Errorf("%d failed %v, %d of them writes; want writes alone, at most two a client, and %s; lost %d, stale %d\n%s",
			f.Failed, f.Kinds, f.Unknown, unknown, f.Lost, f.Stale, strings.Join(f.Problems, "\n"))
	}

	b := &browser{t, s.url(), nil}
	check := func(where string) {
		t.Helper()
		rep, err := load.Check(t.Context(), load.CheckConfig{BaseURL: s.url(), Ledger: ledger, Min: 300})
		if err != nil {
			t.Fatal(err)
		}
		if err := rep.Err(); err != nil {
			t.Errorf("%s: %v\n%s", where, err, strings.Join(rep.Problems, "\n"))
		}
		var kims []struct{ ID, Description string }
		if err := json.Unmarshal(b.do("GET", "/tasks?assignee=Kim", nil, 200), &kims); err != nil {
			t.Fatal(err)
		}
		// The dead one never read the others: had one come to be, somebody sent it again.
		if len(kims) != 1 || kims[0].ID != sent.ID || kims[0].Description != "not sent yet" {
			t.Errorf("%s: of the requests of our own there is %+v, want the one that was answered", where, kims)
		}
		t.Logf("%s: acknowledged %d, lost %d, stale %d, unknown %d; failed %v", where, rep.Acknowledged, rep.Lost, rep.Stale, rep.Unknown, f.Kinds)
	}
	check("read from old")
	s.must("advance", "--until", "5", "--backfill")
	check("read from new")
}

// stoodInFor wants status to tell of it in JSON and as text, and returns the
// command that it offers.
func (s *site) stoodInFor(before killedStatus) (command []string) {
	s.t.Helper()
	var st killedStatus
	dead := func() bool {
		st = killedStatus{}
		s.json(&st, "status")
		return slices.ContainsFunc(st.Instances, func(i killedInstance) bool {
			return i.Port == before.Live && i.Role == "active" && !i.Running && !i.Ready && strings.Contains(i.Reason, "has ended")
		}) && st.Served.Live == before.Live && st.Served.Fallback == before.Fallback
	}
	if !waitFor(s.t.Context(), time.Minute, dead) {
		s.t.Fatalf("the active instance was killed, port %d stands by, and status says %+v", before.Fallback, st)
	}
	told := regexp.MustCompile(fmt.Sprintf(`the active instance on port %d has ended; the fallback on port %d answers .*: migrate (.+) makes it active`, before.Live, before.Fallback))
	text := s.must("status")
	for in, told := range map[string][]string{"JSON": told.FindStringSubmatch(strings.Join(st.Warnings, "\n")), "text": told.FindStringSubmatch(text)} {
		if told == nil {
			s.t.Fatalf("status as %s does not tell that port %d has ended and port %d answers:\n%q\n%s", in, before.Live, before.Fallback, st.Warnings, text)
		}
		command = strings.Fields(told[1])
	}
	return command
}
