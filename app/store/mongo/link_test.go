package mongo_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/mongo"
	"migrate.invalid/migrate/app/store/storetest"
)

func TestValidate(t *testing.T) {
	for uri, says := range map[string]string{
		"":                            "scheme",
		"localhost:27017":             "scheme",
		"mongodb://h:notaport/":       "port",
		"mongodb+srv://a.invalid:1/":  "without a port",
		"mongodb+srv://a,b/":          "one name",
		"mongodb://u:p@ss@h/":         "must be escaped",
		"mongodb://u:p%zz@h/":         "must be escaped",
		"mongodb://u:p@h:x/":          "xxxxx",
		"mongodb://h/?w=1&replicaSet": "",
	} {
		err := mongo.Validate(uri)
		if !errors.Is(err, mongo.ErrMalformed) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "p%zz") || strings.Contains(err.Error(), "ss@") {
			t.Errorf("%s: %v, want ErrMalformed that says %q", uri, err, says)
		}
	}
	for _, uri := range []string{
		"mongodb://h", "mongodb://h/todo", "mongodb://nowhere.invalid:1,[::1]:2/?replicaSet=r", "mongodb+srv://nowhere.invalid",
		"mongodb+srv://u:p%40@nowhere.invalid/todo?srvServiceName=custom&srvMaxHosts=2&w=1", "mongodb+srv://u:p@nowhere.invalid?w=1",
	} {
		if err := mongo.Validate(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestDatabaseOf(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h": "", "mongodb://h/": "", "mongodb://h/prod": "prod", "mongodb://u:p@h1:1,h2:2/prod?w=1": "prod",
		"mongodb+srv://u:p@h.invalid/prod": "prod", "mongodb://h/?w=1": "", "mongodb://h/pr%C3%B6d": "pröd", "no uri/prod": "",
	} {
		if got := mongo.DatabaseOf(uri); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

func TestNaming(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h/prod": "mongodb://h/todo", "mongodb://h/": "mongodb://h/", "mongodb://h/todo": "mongodb://h/todo",
		"mongodb://u:p@h/prod":                    "mongodb://u:p@h/todo?authSource=prod",
		"mongodb://u:p@h/prod?w=1":                "mongodb://u:p@h/todo?w=1&authSource=prod",
		"mongodb://u:p@h/prod?authSource=admin":   "mongodb://u:p@h/todo?authSource=admin",
		"mongodb+srv://h.invalid/prod?ssl=false&": "mongodb+srv://h.invalid/todo?ssl=false&",
	} {
		if got := mongo.Naming(uri, "todo"); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

// open opens a store for the length of the test; every call fails within limit.
func openAt(t *testing.T, uri string, limit time.Duration) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Collections: storetest.Tasks().Collections, Select: limit})
	if err != nil {
		t.Fatalf("%s: %v", uri, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A name that does not resolve is a database out of reach, by both schemes.
func TestNameThatDoesNotResolve(t *testing.T) {
	for _, uri := range []string{"mongodb://nowhere.invalid/", "mongodb+srv://nowhere.invalid/"} {
		s := openAt(t, uri, time.Second)
		for range 2 {
			_, err := s.Get(t.Context(), key("a"))
			if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, mongo.ErrName) {
				t.Errorf("%s: %v, want ErrUnavailable and ErrName", uri, err)
			}
		}
		if _, err := s.Look().Prepared(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: a look: %v, want ErrUnavailable", uri, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Get(ctx, key("a")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// Each way in which a server can be up and of no use says which one it is.
func TestFaultsAreTold(t *testing.T) {
	plain := serve(t, func(conn net.Conn) { answerHello(conn, bson.D{{Key: "isWritablePrimary", Value: true}}) })
	member := serve(t, func(conn net.Conn) {
		answerHello(conn, bson.D{{Key: "isWritablePrimary", Value: true}, {Key: "setName", Value: "rs1"}})
	})
	ends := serve(t, func(net.Conn) {})
	for name, c := range map[string]struct {
		uri  string
		want error
		says string
	}{
		"password":        {"mongodb://ann:wr0ng@" + plain + "/?authMechanism=SCRAM-SHA-256", mongo.ErrPassword, ""},
		"another set":     {"mongodb://" + member + "/?replicaSet=rs0", mongo.ErrReplicaSet, `is of "rs1", the URI asks for "rs0"`},
		"no set":          {"mongodb://" + plain + "/?replicaSet=rs0", mongo.ErrReplicaSet, "is of none"},
		"TLS":             {"mongodb://" + plain + "/?tls=true", mongo.ErrTLS, ""},
		"TLS by embedded": {strings.TrimSuffix(embeddedURI, "/") + "/?tls=true", mongo.ErrTLS, ""},
		"no TLS":          {"mongodb://" + ends + "/", mongo.ErrPlain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openAt(t, c.uri, time.Second).Get(t.Context(), key("a"))
			if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	nobody := serve(t, nil)
	_, err := openAt(t, "mongodb://"+nobody+"/?replicaSet=rs0&tls=true", 200*time.Millisecond).Get(t.Context(), key("a"))
	for _, cause := range []error{mongo.ErrName, mongo.ErrPassword, mongo.ErrReplicaSet, mongo.ErrTLS, mongo.ErrPlain} {
		if errors.Is(err, cause) {
			t.Errorf("nobody listens: %v", err)
		}
	}
}

// serve listens until the test ends; nil: it closes at once.
func serve(t *testing.T, each func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if each == nil {
		l.Close()
		return address
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				each(conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return address
}

// answerHello speaks as much of MongoDB's protocol as it takes to be found: it
// answers every hello, and refuses to log anybody in.
func answerHello(conn net.Conn, says bson.D) {
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length, opcode := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[12:])
		if length < 16 || length > 1<<20 || opcode != 2004 && opcode != 2013 {
			return // such as the hello of TLS
		}
		body := make([]byte, length-16)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		reply := append(bson.D{{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true}, {Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21},
			{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48_000_000}, {Key: "maxWriteBatchSize", Value: 100_000}}, says...)
		if opcode == 2013 && strings.Contains(string(body[:40]), "saslStart") {
			reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "Authentication failed."}, {Key: "code", Value: 18}, {Key: "codeName", Value: "AuthenticationFailed"}}
		}
		doc, err := bson.Marshal(reply)
		if err != nil {
			return
		}
		answer := make([]byte, 16)
		binary.LittleEndian.PutUint32(answer[4:], 1)
		copy(answer[8:12], head[4:8])
		if opcode == 2004 {
			binary.LittleEndian.PutUint32(answer[12:], 1) // OP_REPLY
			answer = append(answer, make([]byte, 20)...)
			binary.LittleEndian.PutUint32(answer[32:], 1)
		} else {
			binary.LittleEndian.PutUint32(answer[12:], 2013)
			answer = append(answer, 0, 0, 0, 0, 0)
		}
		answer = append(answer, doc...)
		binary.LittleEndian.PutUint32(answer, uint32(len(answer)))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
