package embeddedmongo

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver that FerretDB uses
)

// idIndexes gives each of FerretDB's tables an index for look-ups by _id.
// FerretDB 1.24 makes one on the expression doc->"_id", but asks for
// doc->'$._id', which is another to SQLite: it reads the whole table. The
// holder of the turn owns this.
type idIndexes struct {
	dir    string
	logger *slog.Logger
	seen   map[string]bool // collections that are known to have theirs, with their database
}

// after follows what a command does to collections. An index that can't be
// made only costs time, so it fails no command.
func (x *idIndexes) after(ctx context.Context, req *request) {
	switch req.command() {
	case "insert", "update", "findAndModify", "findandmodify", "create", "createIndexes":
	case "drop", "dropDatabase", "renameCollection":
		clear(x.seen)
		return
	default:
		return
	}
	db, _ := req.body.Lookup("$db").StringValueOK()
	collection, _ := req.body.Index(0).Value().StringValueOK()
	name := db + "." + collection
	if x.seen[name] {
		return
	}
	x.seen[name] = true
	if err := indexTables(ctx, filepath.Join(x.dir, db+".sqlite")); err != nil {
		x.logger.WarnContext(ctx, "embedded server looks up slowly by _id",
			slog.String("collection", name), slog.Any("error", err))
	}
}

// indexTables adds the index wherever it is missing in a file. FerretDB may
// have the file open: its other connections notice.
func indexTables(ctx context.Context, path string) (err error) {
	db, err := openBeside(path, "busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() {
		if e := db.Close(); err == nil {
			err = e
		}
	}()
	tables, err := tablesOf(ctx, db)
	if err != nil {
		return err
	}
	for _, table := range tables {
		_, err := db.ExecContext(ctx, fmt.Sprintf(
			`CREATE INDEX IF NOT EXISTS %s ON %s (_ferretdb_sjson->'$._id')`, quote(table+"_lookup"), quote(table)))
		if err != nil {
			return err
		}
	}
	return nil
}

// openBeside opens one of FerretDB's files while FerretDB has it open.
func openBeside(path, pragma string) (*sql.DB, error) {
	u := url.URL{
		Scheme: "file",
		Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(),
		// rw: a name that FerretDB refused must not become a file.
		RawQuery: url.Values{"mode": {"rw"}, "_pragma": {pragma}}.Encode(),
	}
	return sql.Open("sqlite", u.String())
}

// tablesOf lists the tables that hold a collection each.
func tablesOf(ctx context.Context, db *sql.DB) (tables []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(table, "_ferretdb_") && !strings.HasPrefix(table, "sqlite_") {
			tables = append(tables, table)
		}
	}
	return tables, rows.Err()
}

// quote makes an SQL identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
