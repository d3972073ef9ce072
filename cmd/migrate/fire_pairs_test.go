package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
	"migrate.invalid/migrate/cmd/migrate/fire"
)

// envFirePair names the products of a fire, old and new: scripts/prove.sh fire --pair.
const envFirePair = "MIGRATE_FIRE_PAIR"

// The service under fire with PostgreSQL in both places, or in one. Its servers
// crash, stop, end connections, lose answers and hand over to standbys.
func TestFireOfPostgreSQL(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	lasts, seed := fireLength(t)
	pair := os.Getenv(envFirePair)
	if pair == "" {
		pair = "postgres-postgres"
	}
	from, to, _ := strings.Cut(pair, "-")
	t.Logf("%s, seed %d, %v", pair, seed, lasts)

	var oldServer, newServer *server
	if from == "postgres" {
		if _, err := exec.LookPath("psql"); err != nil {
			t.Fatal(err)
		}
		oldServer = newServerOf(t, "legacy")
	}
	if to == "postgres" {
		newServer = newServerOf(t, "todo")
	}
	disk := newDisk(t)
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_LOCK_WAIT=60s")
	var toNew *link
	if newServer != nil {
		toNew = newServer.link
		s.env = append(s.env, "MIGRATE_NEW="+newServer.uri(t))
	} else {
		toNew = newLink(t, fmt.Sprintf("127.0.0.1:%d", s.first+39))
		s.env = append(s.env, "MIGRATE_MONGO_URI=mongodb://"+toNew.address()+"/")
		s.must("mongo", "start")
	}
	file := filepath.Join(disk.dir, "old.sqlite")
	var (
		rows    []fire.Legacy
		foreign fire.Foreign
	)
	if oldServer != nil {
		s.env = append(s.env, "MIGRATE_OLD="+oldServer.uri(t))
		rows, foreign = oldServer.legacy(t), foreignPsql(oldServer.uri(t))
	} else {
		needShell(t)
		s.env = append(s.env, "MIGRATE_SQLITE="+file)
		rows, foreign = fireLegacy(t, file), foreignShell(file)
	}
	s.must("nginx", "start")
	s.must("advance", "--quiet")
	f := fire.Start(t.Context(), fire.Config{
		Address: strings.TrimPrefix(s.url(), "http://"), Seed: seed, Timeout: 12 * time.Second, Legacy: rows, Foreign: foreign,
	})
	stop := sync.OnceFunc(f.Stop)
	defer stop()
	n := newNemesis(s, f, toNew, disk, file, seed)
	n.oldServer, n.newServer = oldServer, newServer
	n.burn(lasts, stop)
	if t.Failed() {
		t.Logf("again: %s=%s %s=%v %s=%d", envFirePair, pair, envFireMinutes, lasts.Minutes(), envFireSeed, seed)
	}
}

// server is a PostgreSQL under fire, which everybody reaches through a link.
type server struct {
	*local.Server
	name string // of its database
	link *link
}

func newServerOf(t *testing.T, name string) *server {
	t.Helper()
	s := &server{Server: pgtest.Start(t, nil), name: name}
	if err := s.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	s.link = newLink(t, s.listens())
	return s
}

func (s *server) listens() string { return fmt.Sprintf("127.0.0.1:%d", s.Port()) }

// uri leads through the link, and so to whatever server has taken over.
func (s *server) uri(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(s.URI(s.name))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = s.link.address()
	return u.String()
}

// legacy lays a table down as somebody has it.
func (s *server) legacy(t *testing.T) (rows []fire.Legacy) {
	t.Helper()
	const count = 120
	if err := s.Exec(t.Context(), s.name, fmt.Sprintf(`create table tasks(id text primary key, assignee text, description text, done boolean);
		insert into tasks select 'legacy-'||n, 'old hand '||n/12, 'legacy task '||n, false from generate_series(0, %d) n`, count-1)); err != nil {
		t.Fatal(err)
	}
	for n := range count {
		rows = append(rows, fire.Legacy{ID: fmt.Sprint("legacy-", n), Assignee: fmt.Sprint("old hand ", n/12), Description: fmt.Sprint("legacy task ", n)})
	}
	return rows
}

// foreignPsql is the plain psql program, which knows nothing of us.
func foreignPsql(uri string) fire.Foreign {
	return func(ctx context.Context, statement string) (rows int, refused bool, err error) {
		out, err := exec.CommandContext(ctx, "psql", "-X", "-A", "-t", "-d", uri, "-c", statement).Output()
		if err == nil {
			tag := strings.Fields(string(out)) // as INSERT 0 1
			if len(tag) == 0 {
				return 0, false, errors.New("psql says nothing")
			}
			rows, err = strconv.Atoi(tag[len(tag)-1])
			return rows, false, err
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			text := string(exit.Stderr)
			// A statement that fails is rolled back; one that found no server never left.
			refused = strings.HasPrefix(text, "ERROR:") || strings.HasPrefix(text, "psql: error: connection to server at ")
			err = fmt.Errorf("%w: %s", err, text)
		}
		return 0, refused, err
	}
}

// ofOldServer is what goes wrong with the old database alone.
func (n *nemesis) ofOldServer() map[string]fault {
	s := n.oldServer
	carried := func(m mode) func() func() {
		return func() func() {
			s.link.set(m)
			return func() { s.link.set(passing) }
		}
	}
	return map[string]fault{
		"old database killed":               {func() func() { return n.crash(s) }, 1, 5},
		"old database stopped":              {func() func() { return n.pause(s) }, 1, 5},
		"old database ends its connections": {func() func() { return n.terminate(s) }, 1, 5},
		"old database hands over":           {func() func() { return n.handOver(s) }, 3, 5},
		"old database locked":               {func() func() { return n.openTransaction(s) }, 1, 5},
		"old database slow":                 {carried(slow), 1, 5},
		"old database stalled":              {carried(stalled), 1, 5},
		"old database's answers lost":       {carried(mute), 1, 5},
	}
}

// ofNewServer is what goes wrong with the new database, beside what does with any.
func (n *nemesis) ofNewServer() map[string]fault {
	s := n.newServer
	return map[string]fault{
		"new database ends its connections": {func() func() { return n.terminate(s) }, 3, 8},
		"new database hands over":           {func() func() { return n.handOver(s) }, 4, 8},
	}
}

// crash ends the server at once, and starts it again when the fault is over.
func (n *nemesis) crash(s *server) func() {
	n.wants("crash", s.Stop("immediate"))
	return func() { n.wants("start after a crash", s.Restart(n.t.Context(), "immediate")) }
}

func (n *nemesis) pause(s *server) func() {
	n.wants("pause", s.Pause())
	return func() { n.wants("continue", s.Continue()) }
}

// terminate ends every connection to the database, a few times.
func (n *nemesis) terminate(s *server) func() {
	for range 5 {
		n.wants("end connections", s.Exec(n.t.Context(), "postgres", "select pg_terminate_backend(pid) from pg_stat_activity where datname = '"+s.name+"'"))
		time.Sleep(n.upTo(300 * time.Millisecond))
	}
	return func() {}
}

// openTransaction is a foreign program that has written, and takes its time.
func (n *nemesis) openTransaction(s *server) func() {
	ctx := n.t.Context()
	conn, err := pgx.Connect(ctx, s.URI(s.name))
	if err != nil {
		n.wants("connect", err)
		return func() {}
	}
	_, err = conn.Exec(ctx, "begin; update tasks set done = done where id = (select min(id) from tasks)")
	if err != nil && !strings.Contains(err.Error(), "MG001") { // the primary may be new
		n.wants("begin", err)
	}
	return func() { _ = conn.Close(context.Background()) } // and with it the transaction
}

// handOver has a synchronous standby take over, and says so as an operator does.
func (n *nemesis) handOver(s *server) func() {
	ctx := n.t.Context()
	standby, err := s.Standby(ctx, filepath.Join(pgtest.Folder(n.t), "server"), true)
	n.wants("make a standby", err)
	if standby == nil {
		return func() {}
	}
	n.t.Cleanup(func() { pgtest.Stop(n.t, standby) })
	if err != nil {
		return func() {}
	}
	time.Sleep(500*time.Millisecond + n.upTo(time.Second)) // commits wait for it
	n.wants("end the former server", s.Stop("immediate"))
	n.wants("promote", standby.Promote(ctx))
	s.Server = standby
	s.link.lead(s.listens())
	return func() { n.settle("accept the server", "accept-server", "--nothing-lost") }
}

func (n *nemesis) wants(what string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Errorf("%s: %v", what, err)
	}
}
