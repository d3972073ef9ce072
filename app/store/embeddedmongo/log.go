package embeddedmongo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// maxLog is how large the write-ahead log of a file may grow before it is begun
// anew, in bytes.
const maxLog = 4 << 20

// logs begins the write-ahead logs of FerretDB's files anew. SQLite does so by
// itself at a commit while nobody reads; but FerretDB commits an update while
// the read that found the document is still open, and without an insert its log
// grows for ever, by 12 kB an update. The holder of the turn owns this: between
// two commands nobody reads but an open cursor.
type logs struct {
	dir    string
	logger *slog.Logger
	most   int64
	tried  map[string]int64 // size of a log that an open cursor has kept from being begun anew
}

// after looks at the log of the file that a command has written to. A log that
// can't be begun anew only takes room, so it fails no command.
func (l *logs) after(ctx context.Context, req *request) {
	db, ok := req.body.Lookup("$db").StringValueOK()
	if !ok || arrays[req.command()] == "" && req.command() != "findAndModify" && req.command() != "findandmodify" {
		return
	}
	path := filepath.Join(l.dir, db+".sqlite")
	info, err := os.Stat(path + "-wal")
	if err != nil || info.Size() <= l.tried[db]+l.most {
		return
	}
	begun, err := beginLog(ctx, path)
	if begun {
		delete(l.tried, db)
		return
	}
	l.tried[db] = info.Size()
	if err != nil {
		l.logger.WarnContext(ctx, "embedded server can't begin its log anew",
			slog.String("file", path), slog.Int64("bytes", info.Size()), slog.Any("error", err))
	}
}

// beginLog moves what is in a file's log into the file and cuts the log to
// nothing. It reports false while somebody still reads from the log.
func beginLog(ctx context.Context, path string) (begun bool, err error) {
	db, err := openBeside(path, "busy_timeout(50)") // the turn is held meanwhile
	if err != nil {
		return false, err
	}
	defer func() {
		if e := db.Close(); err == nil {
			err = e
		}
	}()
	var busy, frames, moved int
	if err := db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved); err != nil {
		return false, fmt.Errorf("move the log into %s: %w", path, err)
	}
	return busy == 0, nil
}
