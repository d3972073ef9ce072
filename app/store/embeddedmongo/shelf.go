package embeddedmongo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// shelf reads and replaces single documents in FerretDB's files, beside it.
// FerretDB looks up no _id but a text or an ObjectID: for a number, a UUID or a
// document it reads the whole collection. The holder of the turn owns this, so
// nothing changes between a look and what follows from it.
type shelf struct {
	dir    string
	files  map[string]*sql.DB // by database
	tables map[string]string  // by database and collection
}

func newShelf(dir string) *shelf {
	return &shelf{dir: dir, files: map[string]*sql.DB{}, tables: map[string]string{}}
}

// forget closes the files before a command removes or renames what is in them.
func (s *shelf) forget(command string) {
	switch command {
	case "drop", "dropDatabase", "renameCollection":
		_ = s.close() // an open file only costs room
	}
}

func (s *shelf) close() error {
	var failed error
	for _, file := range s.files {
		failed = errors.Join(failed, file.Close())
	}
	clear(s.files)
	clear(s.tables)
	return failed
}

// table returns the open file and the table of a collection; nil if there is none.
func (s *shelf) table(ctx context.Context, db, collection string) (*sql.DB, string, error) {
	file := s.files[db]
	if file == nil {
		path := filepath.Join(s.dir, db+".sqlite")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, "", nil
		}
		var err error
		if file, err = openBeside(path, "busy_timeout(10000)"); err != nil {
			return nil, "", err
		}
		file.SetMaxOpenConns(1)
		s.files[db] = file
	}
	name := db + "." + collection
	if table, ok := s.tables[name]; ok {
		return file, table, nil
	}
	var table string
	err := file.QueryRowContext(ctx, `SELECT table_name FROM _ferretdb_collections WHERE name = ?`, collection).Scan(&table)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	}
	s.tables[name] = table
	return file, table, nil
}

// find returns the document with this _id, nil if there is none. errForm: only
// FerretDB can tell.
func (s *shelf) find(ctx context.Context, db, collection string, id bson.RawValue) (bson.Raw, error) {
	_, key, err := sjsonValue(id)
	if err != nil {
		return nil, err
	}
	file, table, err := s.table(ctx, db, collection)
	if err != nil || file == nil {
		return nil, err
	}
	var text []byte
	err = file.QueryRowContext(ctx, fmt.Sprintf(`SELECT _ferretdb_sjson FROM %s WHERE _ferretdb_sjson->'$._id' = ?`, quote(table)), string(key)).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	doc, err := readSJSON(text)
	if err != nil {
		return nil, err
	}
	// A text that looks like the UUID's, say, is another _id.
	if order, ok := compareIDs(doc.Lookup("_id"), id); !ok || order != 0 {
		return nil, nil
	}
	return doc, nil
}

// replace puts a document in the place of that with its _id.
func (s *shelf) replace(ctx context.Context, db, collection string, doc bson.Raw) error {
	text, err := writeSJSON(doc)
	if err != nil {
		return err
	}
	_, key, err := sjsonValue(doc.Lookup("_id"))
	if err != nil {
		return err
	}
	file, table, err := s.table(ctx, db, collection)
	if err != nil {
		return err
	}
	if file == nil {
		return errForm
	}
	result, err := file.ExecContext(ctx, fmt.Sprintf(`UPDATE %s SET _ferretdb_sjson = ? WHERE _ferretdb_sjson->'$._id' = ?`, quote(table)), string(text), string(key))
	if err != nil {
		return fmt.Errorf("%w: replace a document: %w", errBackend, err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w: replace a document: %d replaced, %v", errBackend, n, err)
	}
	return nil
}
