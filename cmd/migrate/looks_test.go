package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// lookRow is a command line that says that it changes nothing, with the exit codes
// that it has while no instance runs, and while the next one does.
type lookRow struct {
	args        string
	idle, while int
}

// looks are all of them, by the command's path; with --dry-run where the
// command has that.
var looks = map[string]lookRow{
	"migrate accept-server --dry-run":      {"accept-server --dry-run", 0, 0},
	"migrate adopt --dry-run":              {"adopt --dry-run", 0, 0},
	"migrate advance --dry-run":            {"advance --dry-run", 3, 0},
	"migrate backfill --dry-run":           {"backfill --dry-run", 0, 0},
	"migrate completion":                   {"completion bash", 0, 0},
	"migrate doctor":                       {"doctor", 0, 0},
	"migrate gates":                        {"gates", 2, 0},
	"migrate help":                         {"help gates", 0, 0},
	"migrate history":                      {"history", 0, 0},
	"migrate mongo start --dry-run":        {"mongo start --dry-run", 0, 0},
	"migrate mongo status":                 {"mongo status", 0, 0},
	"migrate mongo stop --dry-run":         {"mongo stop --yes --dry-run", 0, 0},
	"migrate nginx reload --dry-run":       {"nginx reload --dry-run", 0, 0},
	"migrate nginx show":                   {"nginx show", 0, 0},
	"migrate nginx start --dry-run":        {"nginx start --dry-run", 0, 0},
	"migrate nginx stop --dry-run":         {"nginx stop --yes --dry-run", 0, 0},
	"migrate nginx test":                   {"nginx test", 0, 0},
	"migrate quarantine drop --dry-run":    {"quarantine drop --dry-run nothing", 2, 2},
	"migrate quarantine export":            {"quarantine export", 0, 0},
	"migrate quarantine list":              {"quarantine list", 0, 0},
	"migrate quarantine restore --dry-run": {"quarantine restore --dry-run nothing", 2, 2},
	"migrate rollback --dry-run":           {"rollback --dry-run", 3, 0},
	"migrate spawn --dry-run":              {"spawn --step 4 --dry-run", 0, 0},
	"migrate status":                       {"status", 0, 0},
	"migrate stop --dry-run":               {"stop --all --yes --dry-run", 0, 0},
	"migrate switch --dry-run":             {"switch --dry-run", 2, 0},
	"migrate verify --dry-run":             {"verify --repair --dry-run", 7, 7}, // of a row that is gone
	"migrate version":                      {"version", 0, 0},
}

// acting are the commands that change something and don't say otherwise.
var acting = []string{"migrate demo", "migrate load", "migrate serve", "migrate mongo serve", "migrate logs"}

// Every command is one that looks, one that has a dry run, or one that acts; and
// each of the first two is tried below.
func TestEveryLookHasARow(t *testing.T) {
	want := map[string]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		switch path := c.CommandPath(); {
		case !c.Runnable() || c.HasSubCommands() || slices.Contains(acting, path):
		case c.Flags().Lookup("dry-run") != nil:
			want[path+" --dry-run"] = true
		default:
			want[path] = true
		}
	}
	root := newRoot(&globals{})
	root.InitDefaultHelpCmd()
	walk(root)
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(looks))); d != "" {
		t.Errorf("(-commands +rows)\n%s", d)
	}
}

// A look changes nothing: neither database, nor the state folder. With no
// instance running, no write reaches the new database, whose account may not
// write; with the next one running, what decides about data stays as it is.
func TestLooksChangeNothing(t *testing.T) {
	t.Parallel()
	needShell(t)
	s := newSite(t)
	old := filepath.Join(t.TempDir(), "todo.sqlite")
	if err := makeLegacy(old); err != nil {
		t.Fatal(err)
	}
	gate := newTollgate(t, fmt.Sprintf("127.0.0.1:%d", s.first+39))
	s.env = append(s.env, "MIGRATE_SQLITE="+old, "MIGRATE_MONGO_URI=mongodb://"+gate.address()+"/")
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must("advance", "--until", "4")
	s.must("backfill")
	removeUnseen(t, old, "l-3")

	s.must("stop", "--all", "--yes")
	s.must("mongo", "start")
	s.must("nginx", "start")
	gate.close(true)
	s.tryLooks("with no instance running", func(r lookRow) int { return r.idle }, func() map[string]string {
		return merged(s.folder(), map[string]string{"old": dumpOld(t, old), "new": s.dumpNew(bson.D{}), "writes to new": strings.Join(gate.seen(), " ")})
	})
	gate.close(false)

	s.must("spawn", "--step", "4")
	s.must("switch")
	s.must("verify")
	removeUnseen(t, old, "l-2")
	s.must("spawn", "--step", "5", "--accept", "quarantine:1")
	// The instances probe and report by themselves.
	own := bson.D{{Key: "_id", Value: bson.D{{Key: "$ne", Value: "probe"}}}, {Key: "kind", Value: bson.D{{Key: "$ne", Value: "compared"}}}}
	s.tryLooks("with the next instance running", func(r lookRow) int { return r.while }, func() map[string]string {
		return merged(s.folder(), map[string]string{"old": dumpOld(t, old), "new": s.dumpNew(own)})
	})
}

// tryLooks runs each look and compares what was there before with what is after it.
func (s *site) tryLooks(when string, want func(lookRow) int, take func() map[string]string) {
	s.t.Helper()
	before := take()
	for _, path := range slices.Sorted(maps.Keys(looks)) {
		r := looks[path]
		out, errs, code := s.run(strings.Fields(r.args)...)
		if code != want(r) {
			s.t.Errorf("%s, migrate %s: exit %d, want %d\n%s%s", when, r.args, code, want(r), out, errs)
		}
		after := take()
		if d := cmp.Diff(before, after); d != "" {
			s.t.Errorf("%s, migrate %s changed something (-before +after)\n%s", when, r.args, d)
		}
		before = after
	}
}

// folder is what is in the state folder, by path: the logs, what SQLite keeps
// beside a file, sockets and the embedded server's own files left out.
func (s *site) folder() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case path == filepath.Join(s.dir, "data", "mongo"):
			return fs.SkipDir
		case strings.HasPrefix(name, "log"), strings.HasSuffix(name, ".log"), strings.HasSuffix(name, "-wal"), strings.HasSuffix(name, "-shm"), d.Type()&fs.ModeSocket != 0:
			return nil
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			all[rel], err = os.Readlink(path)
		case d.IsDir():
			all[rel] = "a folder"
		default:
			var b []byte
			b, err = os.ReadFile(path)
			all[rel] = fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// dumpNew is all that the new database holds, the migration's own documents as
// far as the filter lets them through.
func (s *site) dumpNew(own bson.D) string {
	s.t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(fmt.Sprintf("mongodb://127.0.0.1:%d/", s.first+39)))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	defer client.Disconnect(ctx)
	var b strings.Builder
	names, err := client.Database("todo").ListCollectionNames(ctx, bson.D{})
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		filter := bson.D{}
		if name == "migrate" {
			filter = own
		}
		cursor, err := client.Database("todo").Collection(name).Find(ctx, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			s.t.Fatal(err)
		}
		var docs []bson.Raw
		if err := cursor.All(ctx, &docs); err != nil {
			s.t.Fatal(err)
		}
		for _, d := range docs {
			fmt.Fprintf(&b, "%s %v\n", name, d)
		}
	}
	return b.String()
}

// dumpOld is what the plain sqlite3 program dumps of the old database.
func dumpOld(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-readonly", file, ".dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// removeUnseen removes a row past the triggers, which are put back afterwards:
// what a sweep would make a tombstone of.
func removeUnseen(t *testing.T, file, id string) {
	t.Helper()
	triggers, err := exec.Command("sqlite3", "-readonly", file, `SELECT sql||';' FROM sqlite_master WHERE type='trigger' AND tbl_name='tasks'`).Output()
	if err != nil {
		t.Fatal(err)
	}
	names, err := exec.Command("sqlite3", "-readonly", file, `SELECT 'DROP TRIGGER "'||name||'";' FROM sqlite_master WHERE type='trigger' AND tbl_name='tasks'`).Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sqlite3", "-batch", "-bail", "-cmd", ".timeout 5000", file)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("BEGIN IMMEDIATE;\n%s DELETE FROM tasks WHERE id='%s';\n%s COMMIT;\n", names, id, triggers))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func merged(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}
