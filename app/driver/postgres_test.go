package driver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// changed is a connection string with something else in it.
func changed(t *testing.T, uri string, change func(u *url.URL, options url.Values)) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	options := u.Query()
	change(u, options)
	u.RawQuery = options.Encode()
	return u.String()
}

func option(t *testing.T, uri string, pairs ...string) string {
	t.Helper()
	return changed(t, uri, func(_ *url.URL, options url.Values) {
		for n := 0; n < len(pairs); n += 2 {
			options.Set(pairs[n], pairs[n+1])
		}
	})
}

// asks looks whose database this is, in both roles.
func asks(t *testing.T, uri string) (oldErr, newErr error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, oldErr = oldPostgres{}.Identify(ctx, uri)
	s, err := newPostgres{}.Open(ctx, uri, Options{Declaration: someDeclaration(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, newErr = s.Identify(ctx)
	return oldErr, newErr
}

func works(t *testing.T, what, uri string) {
	t.Helper()
	if oldErr, newErr := asks(t, uri); oldErr != nil || newErr != nil {
		t.Errorf("%s: %v; %v", what, oldErr, newErr)
	}
}

// What is wrong with a connection string is said soon, on one line, without the
// password, and with a remedy of its own.
func TestPostgreSQLSaysWhatIsWrong(t *testing.T) {
	uri := pgtest.Database(t)
	secure := secured(t)
	pooled, err := pgtest.Bouncer(t, pgtest.Shared(t), "transaction").URI(uri)
	if err != nil {
		t.Fatal(err)
	}
	works(t, "a pooler", pooled)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(secure.authority), 0o600); err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(t.TempDir(), "strange.crt")
	if err := os.WriteFile(strange, []byte(certificate(t).authority), 0o600); err != nil {
		t.Fatal(err)
	}
	remedies := map[string]string{}
	for what, c := range map[string]struct{ uri, says, remedy string }{
		"a wrong password":     {changed(t, uri, func(u *url.URL, _ url.Values) { u.User = url.UserPassword(u.User.Username(), "hunter2") }), "password authentication failed", "right user and password"},
		"an unknown database":  {changed(t, uri, func(u *url.URL, _ url.Values) { u.Path = "/nowhere" }), `database "nowhere" does not exist`, "create the database"},
		"TLS that is refused":  {option(t, uri, "sslmode", "require"), "server refused TLS connection", "sslmode=disable"},
		"TLS that is demanded": {option(t, secure.uri, "sslmode", "disable"), "no pg_hba.conf entry", "pg_hba.conf"},
		"another authority":    {option(t, secure.uri, "sslmode", "verify-ca", "sslrootcert", strange), "x509:", "sslrootcert"},
		"another host than the certificate's": {changed(t, option(t, secure.uri, "sslmode", "verify-full", "sslrootcert", ca), func(u *url.URL, _ url.Values) {
			u.Host = net.JoinHostPort("localhost", u.Port())
		}), "localhost", "as its certificate does"},
		"a wrong password, without TLS afterwards": {changed(t, option(t, uri, "sslmode", "prefer"), func(u *url.URL, _ url.Values) { u.User = url.UserPassword(u.User.Username(), "hunter2") }), "password authentication failed", "right user and password"},
		"an option that a pooler refuses":          {option(t, pooled, "statement_timeout", "1000"), "unsupported startup parameter: statement_timeout", "leave the option"},
		"a name that doesn't resolve":              {changed(t, uri, func(u *url.URL, _ url.Values) { u.Host = "nowhere.invalid:5432" }), "nowhere.invalid", "look it up"},
	} {
		began := time.Now()
		oldErr, newErr := asks(t, c.uri)
		if took := time.Since(began) / 2; took > 5*time.Second {
			t.Errorf("%s: said after %v", what, took)
		}
		for _, role := range []struct {
			err      error
			remedy   func(string) string
			variable string
		}{{oldErr, oldPostgres{}.Remedy, "MIGRATE_OLD"}, {newErr, newPostgres{}.Remedy, "MIGRATE_NEW"}} {
			if !errors.Is(role.err, store.ErrUnavailable) {
				t.Errorf("%s: %v", what, role.err)
				continue
			}
			text := role.err.Error()
			if !strings.Contains(text, c.says) || strings.Contains(text, "hunter2") || strings.Contains(text, "\n") || strings.Contains(c.says, "password") && strings.Contains(text, "TLS") || strings.Count(text, "nowhere.invalid") > 1 {
				t.Errorf("%s: %q", what, text)
			}
			help := role.remedy(text)
			if !strings.Contains(help, c.remedy) || !strings.Contains(help, role.variable) {
				t.Errorf("%s: the remedy is %q, for %q", what, help, text)
			}
			if other, ok := remedies[help]; ok && other != what && !strings.HasPrefix(what, other) && !strings.HasPrefix(other, what) {
				t.Errorf("%s has the remedy of %s", what, other)
			}
			remedies[help] = what
		}
	}
	works(t, "TLS", option(t, secure.uri, "sslmode", "require"))
	works(t, "TLS, checked", option(t, secure.uri, "sslmode", "verify-full", "sslrootcert", ca))
	works(t, "TLS where there is some", option(t, secure.uri, "sslmode", "prefer"))
	if err := (newPostgres{}).Check(option(t, uri, "sslmode", "verify-ca", "sslrootcert", "/nowhere")); !errors.Is(err, ErrURI) || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a file that is missing: %v", err)
	}
}

func TestPostgreSQLTakesWhatPsqlTakes(t *testing.T) {
	uri := pgtest.Database(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	name := strings.TrimPrefix(u.Path, "/")
	dir := t.TempDir()
	pass, services := filepath.Join(dir, "pass"), filepath.Join(dir, "services")
	for file, text := range map[string]string{
		pass:     strings.Join([]string{u.Hostname(), u.Port(), name, u.User.Username(), password}, ":") + "\n",
		services: "[prod]\nhost=" + u.Hostname() + "\nport=" + u.Port() + "\ndbname=" + name + "\nuser=" + u.User.Username() + "\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PGPASSFILE", pass)
	t.Setenv("PGSERVICEFILE", services)
	bare := "postgres://" + u.User.Username() + "@" + u.Host + "/" + name + "?sslmode=disable"
	for what, uri := range map[string]string{
		"a password in a file":   bare,
		"a service":              "postgres://?service=prod&sslmode=disable",
		"a name as an option":    "postgresql://" + u.User.Username() + "@" + u.Host + "?sslmode=disable&dbname=" + name,
		"a scheme in capitals":   "PostgreSQL" + strings.TrimPrefix(uri, "postgres"),
		"a limit on the session": option(t, uri, "connect_timeout", "3", "application_name", "todo"),
	} {
		works(t, what, uri)
		d := newPostgres{}
		if got := d.Named(uri); got != name {
			t.Errorf("%s: the database is %q, not %q", what, got, name)
		}
		if got := d.Naming(uri, "other"); got != uri {
			t.Errorf("%s: another database is named: %s", what, got)
		}
	}
	for uri, want := range map[string]string{
		"postgres://h":                          "postgres://h/todo",
		"postgres://u:p@h:1,i/?sslmode=disable": "postgres://u:p@h:1,i/todo?sslmode=disable",
	} {
		if got := (newPostgres{}).Naming(uri, "todo"); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}

// Of several hosts the one that takes writes is the one, wherever it stands; those
// that are down, or don't answer, cost little time.
func TestPostgreSQLFindsTheHostThatTakesWrites(t *testing.T) {
	primary := pgtest.Start(t, map[string]string{"fsync": "off"})
	standby, err := primary.Standby(t.Context(), filepath.Join(pgtest.Folder(t), "server"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pgtest.Stop(t, standby) })
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections into its queue, and no more
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	host := func(s *local.Server) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())) }
	uri := changed(t, primary.URI("postgres"), func(u *url.URL, _ url.Values) {
		u.Host = strings.Join([]string{silent.Addr().String(), host(standby), host(primary)}, ",")
	})
	d := someDeclaration(t)
	s, err := (newPostgres{}).Open(t.Context(), uri, Options{Declaration: d})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	began := time.Now()
	if err := s.Prepare(t.Context(), "m"); err != nil || time.Since(began) > 5*time.Second {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	rec := func(id int64) store.Record {
		key, err := record.NewID(d.Collections[0].Name, record.OfInt(id))
		if err != nil {
			t.Fatal(err)
		}
		return store.Record{ID: key, Pair: store.Pair{Rev: 1, Epoch: 1}, Deleted: true}
	}
	if err := s.PutIfNewer(t.Context(), rec(1)); err != nil {
		t.Fatal(err)
	}
	if err := primary.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	err = s.PutIfNewer(t.Context(), rec(2))
	if help := (newPostgres{}).Remedy(errText(err)); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(help, "takes writes") {
		t.Errorf("with a standby alone: %v (remedy: %s)", err, help)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.PutIfNewer(t.Context(), rec(2)); err != nil {
		t.Fatalf("once the standby is promoted: %v", err)
	}
	if found, err := s.Get(t.Context(), rec(1).ID, rec(2).ID); err != nil || len(found) != 2 {
		t.Errorf("%v, %v", found, err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// secure is a server that lets in whom TLS has brought.
type secure struct{ uri, authority string }

func secured(t *testing.T) secure {
	t.Helper()
	c := certificate(t)
	s := pgtest.Start(t, map[string]string{"fsync": "off"})
	for name, text := range map[string]string{
		"server.crt": c.authority, "server.key": c.key, "pg_hba.conf": "hostssl all all 127.0.0.1/32 scram-sha-256\n",
	} {
		if err := s.Put(name, text); err != nil {
			t.Fatal(err)
		}
	}
	conn := "alter system set ssl = on"
	if err := s.Exec(t.Context(), "postgres", conn); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", "select pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	uri := option(t, s.URI("postgres"), "sslmode", "require")
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := oldPostgres{}.Identify(t.Context(), uri)
		if err == nil {
			return secure{uri, c.authority}
		}
		if time.Now().After(until) {
			t.Fatalf("the server takes no TLS: %v", err)
		}
	}
}

// pair is a certificate of 127.0.0.1 that vouches for itself, and its key.
type pair struct{ authority, key string }

func certificate(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return pair{text("CERTIFICATE", der), text("PRIVATE KEY", secret)}
}
