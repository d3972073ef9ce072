package mongo_test

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"migrate.invalid/migrate/app/store"
)

// What goes over the wire decides what an acknowledgement is worth.
func TestConcerns(t *testing.T) {
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	for options, level := range map[string]string{
		"": "majority",
		"?w=1&journal=false&readConcernLevel=local&readPreference=secondary": "majority",
		"?readConcernLevel=linearizable":                                     "linearizable",
	} {
		s := prepared(t, open(t, p.uri()+options, name, time.Minute))
		p.requests()
		for name, w := range writes() {
			// Some conflict; they were sent all the same.
			if err := w.call(t.Context(), s); err != nil && name != "create" && name != "swap" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.ProbeRecord(t.Context()); err != nil {
			t.Error(err)
		}
		sent := p.requests("insert", "update", "delete")
		for _, r := range sent {
			w, _ := r.body.Lookup("writeConcern", "w").StringValueOK()
			j, _ := r.body.Lookup("writeConcern", "j").BooleanOK()
			if limit, ok := r.body.Lookup("maxTimeMS").AsInt64OK(); w != "majority" || !j || !ok || limit <= 0 {
				t.Errorf("%q: sent without majority, journal or limit: %v", options, r.body)
			}
		}
		if len(sent) < len(writes())+2 {
			t.Errorf("%q: saw %d writes", options, len(sent))
		}
		for _, read := range []string{"Get", "Get many", "List", "Scan"} {
			if err := reads()[read](t.Context(), s); err != nil {
				t.Error(err)
			}
			sent := p.requests("find")
			if len(sent) != 1 || sent[0].body.Lookup("readConcern", "level").StringValue() != level {
				t.Errorf("%q: %s sent %v", options, read, sent)
			}
		}
	}
}

// A causal read follows an acknowledged write of ours, in one session: it asks
// for no earlier time than the one at which that write was made.
func TestMetaReadsAreCausal(t *testing.T) {
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	s := prepared(t, open(t, p.uri()+"?readConcernLevel=linearizable", name, time.Minute))
	for i, read := range []string{"Mirror", "Registrations", "Progress"} {
		at := bson.Timestamp{T: uint32(1000 - i), I: 7} // each earlier, so that it's this session's
		p.treat(only("update", fault{ending: answerItself, answer: bson.D{
			{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, {Key: "nModified", Value: int32(1)}, {Key: "operationTime", Value: at},
		}}))
		p.requests()
		if err := reads()[read](t.Context(), s); err != nil {
			t.Fatal(err)
		}
		sent := p.requests("insert", "update", "find", "aggregate")
		if len(sent) < 2 || sent[0].name != "update" {
			t.Errorf("%s: no write before it: %v", read, sent)
			continue
		}
		for _, r := range sent[1:] {
			if level := r.body.Lookup("readConcern", "level").StringValue(); level != "majority" {
				t.Errorf("%s: read with %q", read, level)
			}
			if t1, t2, ok := r.body.Lookup("readConcern", "afterClusterTime").TimestampOK(); !ok || t1 != at.T || t2 != at.I {
				t.Errorf("%s: read that needn't be later than the write: %v", read, r.body)
			}
		}
	}
}

// A standalone knows no such times: there the write and the read share a
// connection, also when many ask at once.
func TestMetaUsesOneConnection(t *testing.T) {
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	s := prepared(t, open(t, p.uri(), name, time.Minute))
	p.requests()
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			_, err := s.Progress(t.Context(), 1)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	sent := p.requests("update", "find")
	if len(sent) != 8*3 {
		t.Errorf("saw %d commands, want 24", len(sent))
	}
	for _, r := range sent {
		if r.conn != sent[0].conn {
			t.Fatalf("connections %d and %d", sent[0].conn, r.conn)
		}
	}
}

// Many copies cost as many commands as one does.
func TestPutSendsOneCommandForMany(t *testing.T) {
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	s := prepared(t, open(t, p.uri(), name, time.Minute))
	p.requests()
	var many []store.Record
	for i := range 200 {
		many = append(many, copyOf(string(rune('a'+i)), 1, 1))
	}
	if err := s.PutIfNewer(t.Context(), many...); err != nil {
		t.Fatal(err)
	}
	if sent := p.requests("update", "insert", "find"); len(sent) != 1 {
		t.Errorf("200 new copies took %d commands", len(sent))
	}
	var marks []store.Mark
	for _, r := range many {
		marks = append(marks, r.Mark())
	}
	if err := s.ClearPending(t.Context(), marks...); err != nil {
		t.Fatal(err)
	}
	if sent := p.requests("update"); len(sent) != 1 {
		t.Errorf("clearing 200 took %d commands", len(sent))
	}
	// All there already: told by one more command that reads.
	if err := s.PutIfNewer(t.Context(), many...); err != nil {
		t.Fatal(err)
	}
	if sent := p.requests("update", "insert", "find"); len(sent) != 2 {
		t.Errorf("200 known copies took %d commands", len(sent))
	}
}
