package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// SchemeSQLite is that of a URI that is followed by a path.
const SchemeSQLite = "sqlite"

type sqliteDriver struct{}

// path is that of the file.
func (sqliteDriver) path(uri string) string {
	_, path, _ := strings.Cut(uri, ":")
	if rest, ok := strings.CutPrefix(path, "//"); ok && strings.HasPrefix(rest, "/") {
		return rest
	}
	return path
}

func (d sqliteDriver) Resolve(uri, folder string) (string, error) {
	path := d.path(uri)
	switch {
	case strings.TrimSpace(path) == "":
		return "", fmt.Errorf("%w: a path must stand behind %s:, such as %[2]s:todo.sqlite", ErrURI, SchemeSQLite)
	case strings.HasPrefix(path, "//"):
		return "", fmt.Errorf("%w: %s names a host, and a file has none; write %s:PATH", ErrURI, uri, SchemeSQLite)
	case !filepath.IsAbs(path):
		path = filepath.Join(folder, path)
	}
	return SchemeSQLite + ":" + realPath(path), nil
}

// realPath resolves the links of the longest part of a path that is there. Who
// uses a path that can't be resolved meets the error, and says what for.
func realPath(path string) string {
	there, missing := filepath.Clean(path), ""
	for {
		real, err := filepath.EvalSymlinks(there)
		if err == nil {
			return filepath.Join(real, missing)
		}
		above := filepath.Dir(there)
		if !errors.Is(err, fs.ErrNotExist) || above == there {
			return filepath.Clean(path)
		}
		there, missing = above, filepath.Join(filepath.Base(there), missing)
	}
}

func (d sqliteDriver) Place(uri string) Place {
	return Place{Scheme: SchemeSQLite, Where: d.path(uri)}
}

func (d sqliteDriver) Missing(uri string) bool {
	_, err := os.Stat(d.path(uri))
	return errors.Is(err, fs.ErrNotExist)
}

func (sqliteDriver) Remedy(string) string { return "" }

func (sqliteDriver) Bring() string {
	return "put that file back where it was, as it was last and with its -wal file if there is one"
}

// Room is for two copies: one that is made, and what the write-ahead log grows to.
func (d sqliteDriver) Room(uri string) (string, uint64) {
	path := d.path(uri)
	if info, err := os.Stat(path); err == nil {
		return filepath.Dir(path), 2 * uint64(info.Size())
	}
	return filepath.Dir(path), 0
}

func (d sqliteDriver) Identify(ctx context.Context, uri string) (string, error) {
	path := d.path(uri)
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is no file", store.ErrStranger, path)
	}
	id, err := sqlite.Identify(ctx, path)
	if errors.Is(err, store.ErrStranger) {
		return "", nil
	}
	return id, err
}

// Same refuses another name of the same file, too, since SQLite would keep another
// -wal beside that one. The same folder may have another path.
func (d sqliteDriver) Same(a, b string) (bool, error) {
	one, other := d.path(a), d.path(b)
	if filepath.Base(one) != filepath.Base(other) {
		return false, nil
	}
	for _, pair := range [][2]string{{one, other}, {filepath.Dir(one), filepath.Dir(other)}} {
		if same, err := oneFile(pair[0], pair[1]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// oneFile reports whether two paths lead to one file or folder.
func oneFile(a, b string) (bool, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	other, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(one, other), nil
}

func (d sqliteDriver) Prepare(uri string) error {
	return os.MkdirAll(filepath.Dir(d.path(uri)), 0o700)
}

func (d sqliteDriver) Open(ctx context.Context, uri string, o Options) (store.Old, error) {
	return sqlite.Open(ctx, sqlite.Config{Path: d.path(uri), Collections: o.Declaration.Collections, Logger: o.Log, Create: o.Create})
}
