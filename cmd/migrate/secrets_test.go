package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// doorkeeper stands before the embedded server, which knows no users, and lets
// in only one that says the password, by the mechanism PLAIN.
type doorkeeper struct {
	address  string
	password atomic.Pointer[string]
}

func newDoorkeeper(t *testing.T, server, password string) *doorkeeper {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorkeeper{address: l.Addr().String()}
	d.password.Store(&password)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(ctx, conn, server)
		}
	}()
	t.Cleanup(func() { cancel(); l.Close(); <-done })
	return d
}

// uri is the connection string with this password.
func (d *doorkeeper) uri(password string) string {
	return fmt.Sprintf("mongodb://ann:%s@%s/?authMechanism=PLAIN&authSource=$external", strings.ReplaceAll(url.QueryEscape(password), "+", "%20"), d.address)
}

func (d *doorkeeper) serve(ctx context.Context, client net.Conn, server string) {
	defer client.Close()
	behind, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer behind.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); behind.Close() })()
	go func() { _, _ = io.Copy(client, behind); client.Close() }()
	let := *d.password.Load()
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(head)-16)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if let != *d.password.Load() {
			return // it was changed: everybody logs in anew
		}
		if binary.LittleEndian.Uint32(head[12:]) == 2013 && len(body) > 5 {
			if _, payload, ok := bson.Raw(body[5:]).Lookup("payload").BinaryOK(); ok {
				d.answer(client, head, strings.HasSuffix(string(payload), "\x00ann\x00"+let))
				continue
			}
		}
		if _, err := behind.Write(append(head, body...)); err != nil {
			return
		}
	}
}

// answer says of a log-in how it went.
func (d *doorkeeper) answer(client net.Conn, head []byte, welcome bool) {
	reply := bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: true}, {Key: "payload", Value: bson.Binary{}}, {Key: "ok", Value: 1.0}}
	if !welcome {
		reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "Authentication failed."}, {Key: "code", Value: 18}, {Key: "codeName", Value: "AuthenticationFailed"}}
	}
	doc, err := bson.Marshal(reply)
	if err != nil {
		return
	}
	message := append(make([]byte, 21), doc...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	copy(message[8:12], head[4:8])
	binary.LittleEndian.PutUint32(message[12:], 2013)
	_, _ = client.Write(message)
}

// said keeps all that commands print.
type said struct {
	*site
	all strings.Builder
}

// say runs a command, whatever its exit code, and keeps what it prints.
func (s *said) say(args ...string) (string, int) {
	s.t.Helper()
	out, errs, code := s.run(args...)
	fmt.Fprintf(&s.all, "$ migrate %s\n%s%s", strings.Join(args, " "), out, errs)
	return out + errs, code
}

// shown fails where a canary shows in what was printed or written. The state may
// hold what it must, but nobody else may read it.
func (s *said) shown(canary string) {
	s.t.Helper()
	for line := range strings.Lines(s.all.String()) {
		if strings.Contains(line, canary) && !strings.HasPrefix(line, "$ ") {
			s.t.Errorf("printed: %s", line)
		}
	}
	files := map[string]bool{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files[d.Name()] = true
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), canary) {
			info, statErr := d.Info()
			if d.Name() != "state.json" || statErr != nil || info.Mode().Perm() != 0o600 {
				s.t.Errorf("%s holds it", path)
			}
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	for _, name := range []string{"state.json", "journal.jsonl", "proxy.json", "log"} {
		if !files[name] {
			s.t.Errorf("no %s was looked at", name)
		}
	}
}

// A password never shows in anything that a whole walk prints or writes, however
// odd it is, nor does a wrong one.
func TestNoPasswordShowsOnAWalk(t *testing.T) {
	const canary = "c4n4ry"
	password := `it's "` + canary + `" @:/?#%&=two ` + canary
	s := &said{site: newSite(t)}
	s.startEmbedded()
	d := newDoorkeeper(t, fmt.Sprintf("127.0.0.1:%d", s.first+39), password)
	s.env = append(s.env, "MIGRATE_MONGO_URI="+d.uri(password), "MIGRATE_CREATE=true", "MIGRATE_COMPARE_MIN=1")
	s.must("nginx", "start")
	for _, args := range [][]string{
		{"advance", "--until", "4"}, {"advance", "--until", "4", "--json"}, {"status"}, {"status", "--json"}, {"gates"}, {"doctor"}, {"doctor", "--json"},
		{"backfill"}, {"verify", "--json"}, {"advance", "--until", "8", "--backfill"}, {"spawn", "--step", "8", "--json"}, {"switch", "--json"},
		{"rollback", "--dry-run"}, {"history"}, {"history", "--json"}, {"stop", strconv.Itoa(s.first), "--dry-run"}, {"nginx", "show"}, {"mongo", "status"},
	} {
		s.say(args...)
	}
	if text, _ := s.say("status"); !strings.Contains(text, "Step 8 of 8") || !strings.Contains(text, "mongodb://ann:xxxxx@") {
		t.Fatalf("the walk did not end: this proves nothing\n%s", s.all.String())
	}
	b := &browser{t, s.url(), map[string]string{}}
	s.all.Write(b.do("GET", "/config", nil, 200))
	s.say("spawn", "--step", "8", "--mongo-uri", d.uri("wrong "+canary))
	s.say("spawn", "--step", "8", "--mongo-uri", "mongodb://ann:it's "+canary+"@ss@"+d.address+"/")
	s.say("doctor", "--mongo-uri", "mongodb://"+d.address+"/?tls=true&tlsCertificateKeyFilePassword="+canary)
	s.say("backfill", "--mongo-uri", "mongodb+srv://ann:"+canary+"@nowhere.invalid/")
	if text, code := s.say("status", "--mongo-uri", d.uri(password)); code != 0 || !strings.Contains(text, "set MIGRATE_MONGO_URI instead") {
		t.Errorf("a password on the command line: exit %d: %s", code, text)
	}
	s.shown(canary)
}

// Nor does what the command of a service of one's own holds.
func TestNoSecretOfAServiceShows(t *testing.T) {
	const canary = "c4n4ry"
	s := &said{site: newSite(t)}
	fickle := filepath.Join(t.TempDir(), "fickle")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", fickle, "./testdata/fickle").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.must("nginx", "start")
	service := []string{"--", "env", "API_TOKEN=" + canary, "DB=postgres://ann:it's " + canary + "@h/d", fickle, "--api-key=" + canary, "--password", canary + "'s"}
	if text, code := s.say(append([]string{"spawn", "--step", "1"}, service...)...); code != 0 || !strings.Contains(text, "--api-key=xxxxx") {
		t.Fatalf("spawn: exit %d: %s", code, text)
	}
	for _, args := range [][]string{{"status", "--json"}, {"advance"}, {"spawn", "--step", "2"}, {"history", "--json"}, {"doctor"}, append([]string{"spawn", "--step", "4"}, service...)} {
		s.say(args...)
	}
	s.shown(canary)
}

// startEmbedded starts the embedded server, whatever server the tests were given.
func (s *site) startEmbedded() {
	s.t.Helper()
	s.must("mongo", "start")
}

// What keeps a server that is up from being used is said by each command within
// five seconds, each with its own remedy; meanwhile the old database serves.
func TestFaultsOfTheNewDatabaseAreTold(t *testing.T) {
	s := newSite(t)
	s.startEmbedded()
	mongo := fmt.Sprintf("127.0.0.1:%d", s.first+39)
	d := newDoorkeeper(t, mongo, "right")
	s.env = append(s.env, "MIGRATE_MONGO_URI="+d.uri("right"), "MIGRATE_CREATE=true")
	s.must("nginx", "start")
	s.must("advance", "--until", "3")
	began := time.Now()
	s.must("version")
	start := time.Since(began) // of the program, on this machine as it is now
	prompt := func(args ...string) (string, int) {
		t.Helper()
		began := time.Now()
		out, errs, code := s.run(args...)
		if took := time.Since(began); took > 5*time.Second+5*start {
			t.Errorf("%q took %v, and starting the program takes %v", args, took, start)
		}
		return strings.Join(strings.Fields(out+errs), " "), code
	}
	for fault, c := range map[string]struct{ uri, says, remedy string }{
		"name":        {"mongodb://nowhere.invalid/", "the name does not resolve", "look it up"},
		"SRV name":    {"mongodb+srv://nowhere.invalid/", "the name does not resolve", "look it up"},
		"password":    {d.uri("wrong"), "the user or the password is refused", "the right user and password"},
		"replica set": {"mongodb://" + mongo + "/?replicaSet=rs0", "the replica set is another", "correct replicaSet"},
		"TLS":         {"mongodb://" + mongo + "/?tls=true", "TLS is refused", "without TLS leave tls out"},
	} {
		s.env = append(s.env, "MIGRATE_MONGO_URI="+c.uri)
		for command, want := range map[string]int{"doctor": exitFailed, "backfill": exitNotReady, "spawn --step 4": exitNotReady} {
			if text, code := prompt(strings.Fields(command)...); code != want || !strings.Contains(text, c.says) || !strings.Contains(text, c.remedy) {
				t.Errorf("%s, %s: exit %d, want %d, %q and %q: %s", fault, command, code, want, c.says, c.remedy, text)
			}
		}
		s.env = s.env[:len(s.env)-1]
	}
	changed := "changed"
	d.password.Store(&changed) // the instance is shut out in the middle of its work
	b := &browser{t, s.url(), map[string]string{}}
	deadline := time.Now().Add(30 * time.Second)
	for {
		b.create("while it is shut out")
		text, _ := prompt("status")
		if strings.Contains(text, "the user or the password is refused") && strings.Contains(text, "remedy: set MIGRATE_NEW") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status does not say it: %s", text)
		}
	}
	// Started anew with names that do not resolve, it serves from the old one.
	for _, uri := range []string{"mongodb://nowhere.invalid/", "mongodb+srv://nowhere.invalid/"} {
		s.serveWithout(uri)
	}
}

// serveWithout starts an instance at step 3 whose new database's name does not
// resolve, and writes through it.
func (s *site) serveWithout(uri string) {
	s.t.Helper()
	port := s.first + 37
	ctx, cancel := context.WithCancel(s.t.Context())
	cmd := exec.CommandContext(ctx, s.bin, "serve", "--port", strconv.Itoa(port), "--step", "3", "--sqlite", filepath.Join(s.t.TempDir(), "old.sqlite"), "--create")
	cmd.Env = append(s.env, "MIGRATE_MONGO_URI="+uri)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	b := &browser{s.t, fmt.Sprintf("http://127.0.0.1:%d", port), map[string]string{}}
	began := time.Now()
	for !listens(port) {
		if time.Since(began) > 60*time.Second {
			cancel()
			_ = cmd.Wait()
			s.t.Fatalf("%s: it does not serve: %s", uri, log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.create("with old alone")
	deadline := time.Now().Add(30 * time.Second)
	for text := ""; !strings.Contains(text, "the name does not resolve"); text = string(b.do("GET", "/readyz", nil, 200)) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: ready says %s", uri, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	_ = cmd.Wait()
}

func listens(port int) bool {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	return err == nil && conn.Close() == nil
}
