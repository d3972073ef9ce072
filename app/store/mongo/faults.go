package mongo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Why a server can't be used although it may be up. Errors of calls wrap them
// beside [migrate.invalid/migrate/app/store.ErrUnavailable].
var (
	// ErrName: the server's name does not resolve.
	ErrName = errors.New("the name does not resolve")
	// ErrPassword: the server refuses the user or the password.
	ErrPassword = errors.New("the user or the password is refused")
	// ErrReplicaSet: the server is not of the replica set that the URI names.
	ErrReplicaSet = errors.New("the replica set is another")
	// ErrTLS: no connection by TLS comes about.
	ErrTLS = errors.New("TLS is refused")
	// ErrPlain: the server ends connections without TLS.
	ErrPlain = errors.New("the connection is ended at once; the server may want TLS")
)

// faults remembers what the driver found at each server. Its own errors tell of
// the last server only, and nothing of one that it left out because it is of
// another replica set.
type faults struct {
	mu     sync.Mutex
	set    string // the replica set that is asked for
	secure bool
	last   map[string]error  // by address; nil once a server has answered
	sets   map[string]string // the replica set that each server says it is of
}

func newFaults(o *options.ClientOptions) *faults {
	f := &faults{last: map[string]error{}, sets: map[string]string{}}
	f.expect(o)
	return f
}

// expect notes what a connection string asks for.
func (f *faults) expect(o *options.ClientOptions) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.ReplicaSet != nil {
		f.set = *o.ReplicaSet
	}
	f.secure = o.TLSConfig != nil
}

// monitor is told by the driver of each look at a server.
func (f *faults) monitor() *event.ServerMonitor {
	return &event.ServerMonitor{
		ServerHeartbeatSucceeded: func(e *event.ServerHeartbeatSucceededEvent) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.last[address(e.ConnectionID)] = nil
			f.sets[address(e.ConnectionID)] = e.Reply.SetName
		},
		ServerHeartbeatFailed: func(e *event.ServerHeartbeatFailedEvent) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.last[address(e.ConnectionID)] = e.Failure
		},
	}
}

// address is that of a connection, which the driver numbers: host:port[-3].
func address(connection string) string {
	if i := strings.LastIndexByte(connection, '['); i > 0 {
		return connection[:i]
	}
	return connection
}

// cause is what an error comes from; nil if that is not known.
func (f *faults) cause(err error) error {
	if refusedUser(err) {
		return ErrPassword
	}
	if !strings.Contains(err.Error(), "server selection") {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for server, set := range f.sets {
		switch {
		case f.set == "" || f.set == set:
		case set == "":
			return fmt.Errorf("%w: %s is of none, the URI asks for %q", ErrReplicaSet, server, f.set)
		default:
			return fmt.Errorf("%w: %s is of %q, the URI asks for %q", ErrReplicaSet, server, set, f.set)
		}
	}
	for _, failure := range f.last {
		if cause := f.kind(failure); cause != nil {
			return cause
		}
	}
	return nil
}

// kind says which fault a failed look at a server shows.
func (f *faults) kind(failure error) error {
	var (
		name    *net.DNSError
		header  tls.RecordHeaderError
		alert   tls.AlertError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
	)
	ended := errors.Is(failure, io.EOF) || errors.Is(failure, io.ErrUnexpectedEOF) || errors.Is(failure, syscall.ECONNRESET)
	switch {
	case failure == nil:
		return nil
	case errors.As(failure, &name):
		return ErrName
	case refusedUser(failure):
		return ErrPassword
	case errors.As(failure, &header), errors.As(failure, &alert), errors.As(failure, &verify), errors.As(failure, &unknown), errors.As(failure, &host):
		return ErrTLS
	case ended && f.secure:
		return ErrTLS
	case ended:
		return ErrPlain
	}
	return nil
}

// refusedUser reports whether an error is that of a log-in. The driver makes
// some of them into plain texts.
func refusedUser(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return all(answerCodes(err), codeAuthenticationFailed) && len(answerCodes(err)) > 0 ||
		strings.Contains(text, "auth error") || strings.Contains(text, "(AuthenticationFailed)")
}
