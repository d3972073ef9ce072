package store

import "context"

// Lined is a database, old or new, that another server may take over. A server
// that has taken over may lack what was acknowledged last. It writes another line
// of history, and the database keeps which line was accepted: a store that minds
// it fails with [ErrStranger] on any other.
type Lined interface {
	// Line returns the line that the server writes, and the one that was accepted.
	Line(ctx context.Context) (now, accepted string, err error)
	// AcceptLine accepts a line, if the server writes it still; else ErrConflict.
	AcceptLine(ctx context.Context, line string) error
	// Keeps reports whether a server that takes over has all that was acknowledged,
	// as far as the settings tell, and why.
	Keeps(ctx context.Context) (keeps bool, why string, err error)
}
