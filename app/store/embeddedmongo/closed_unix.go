//go:build unix

package embeddedmongo

import (
	"net"
	"strings"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// closed reports whether the other end has closed the connection, which only a
// look at what has arrived can tell.
func closed(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err == nil && n == 0 || err == syscall.ECONNRESET
	})
	return gone || err != nil
}

// killCursor closes the cursor that an answer has left open.
func (b *backend) killCursor(answer []byte) {
	reply, err := parseRequest(answer)
	if err != nil {
		return
	}
	id, _ := reply.body.Lookup("cursor", "id").AsInt64OK()
	ns, _ := reply.body.Lookup("cursor", "ns").StringValueOK()
	db, collection, ok := strings.Cut(ns, ".")
	if id == 0 || !ok {
		return
	}
	command, err := bson.Marshal(bson.D{
		{Key: "killCursors", Value: collection}, {Key: "cursors", Value: bson.A{id}}, {Key: "$db", Value: db},
	})
	if err == nil {
		_, _ = b.run(command) // the connection ends in any case
	}
}
