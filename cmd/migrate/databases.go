package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/orchestrator"
)

// spellings are the flags that name the databases: --sqlite FILE is short for
// --old sqlite:FILE, --mongo-uri URI for --new URI.
type spellings struct {
	Old, SQLite   string
	New, MongoURI string
}

const (
	flagOld, flagSQLite   = "old", "sqlite"
	flagNew, flagMongoURI = "new", "mongo-uri"
)

// databaseFlags binds the flags that name the databases.
func (g *globals) databaseFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&g.spelled.Old, flagOld, "", "the old database's `URI`, sqlite:FILE or postgres://HOST/NAME (default: sqlite:data/todo.sqlite in the state folder)")
	f.StringVar(&g.spelled.New, flagNew, "", "the new database's `URI`, mongodb://HOST:PORT/NAME or postgres://HOST/NAME; in MIGRATE_NEW if it holds a password (default: the embedded server on "+defaultMongo+")")
	f.StringVar(&g.spelled.SQLite, flagSQLite, "", "short for --old sqlite:FILE, with the `file`'s path")
	f.StringVar(&g.spelled.MongoURI, flagMongoURI, "", "short for --new, with a `URI` of MongoDB's")
	f.StringVar(&g.Name, "mongo-db", "", "name of the new database (default: the one in --new, else "+defaultDatabase+")")
	f.StringVar(&g.Config, "config", "", "the `file` that declares databases and collections (default: "+configName+" here or in the state folder)")
}

// typedSpellings are those of the flags that stand on the command line.
func typedSpellings(cmd *cobra.Command) map[string]bool {
	typed := map[string]bool{}
	for _, name := range []string{flagOld, flagSQLite, flagNew, flagMongoURI} {
		typed[name] = cmd.Flags().Changed(name)
	}
	return typed
}

// nameDatabases takes the databases from the flags, and refuses what names none,
// and flags that contradict one another. What stands on the command line wins
// over a variable.
func (g *globals) nameDatabases(typed map[string]bool) error {
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the folder of this command: %w", err)
	}
	short := ""
	if g.spelled.SQLite != "" {
		short = driver.SchemeSQLite + ":" + g.spelled.SQLite
	}
	if g.Old, err = choose(choice{flagOld, g.spelled.Old}, choice{flagSQLite, short}, typed,
		func(uri string) (string, error) { return resolveOld(uri, here) }); err != nil {
		return err
	}
	if g.New, err = choose(choice{flagNew, g.spelled.New}, choice{flagMongoURI, g.spelled.MongoURI}, typed, resolveNew); err != nil {
		return err
	}
	if g.spelled.New == "" || typed[flagMongoURI] && !typed[flagNew] {
		return g.nameNew("--" + flagMongoURI)
	}
	return g.nameNew("--" + flagNew)
}

// choice is a flag and the URI that it stands for; "" for none.
type choice struct{ flag, uri string }

func choose(long, short choice, typed map[string]bool, resolve func(string) (string, error)) (string, error) {
	if typed[long.flag] != typed[short.flag] { // a variable stands behind the command line
		if typed[long.flag] {
			short.uri = ""
		} else {
			long.uri = ""
		}
	}
	var found []string
	for _, c := range []choice{long, short} {
		if c.uri == "" {
			continue
		}
		uri, err := resolve(c.uri)
		if err != nil {
			return "", next(usageError{fmt.Errorf("--%s: %w", c.flag, err)}, "nothing was changed", "the same command with "+example(long.flag))
		}
		found = append(found, uri)
	}
	switch {
	case len(found) == 0:
		return "", nil
	case len(found) == 2 && found[0] != found[1]:
		return "", next(usageError{fmt.Errorf("--%s names %s, and --%s names %s", long.flag, shown(found[0]), short.flag, shown(found[1]))},
			"nothing was changed", "give one of the two flags; a variable of the same name counts as its flag")
	}
	return found[0], nil
}

func example(flag string) string {
	if flag == flagOld {
		return "--old sqlite:FILE, or postgres://HOST/NAME"
	}
	return "--new mongodb://HOST:PORT, mongodb+srv://NAME, or postgres://HOST/NAME"
}

func resolveOld(uri, folder string) (string, error) {
	d, err := driver.OfOld(uri)
	if err != nil {
		return "", err
	}
	return d.Resolve(uri, folder)
}

func resolveNew(uri string) (string, error) {
	d, err := driver.OfNew(uri)
	if err != nil {
		return "", err
	}
	return uri, d.Check(uri)
}

// nameNew takes the new database's name from its URI, and refuses one that is
// named otherwise by --mongo-db.
func (g *globals) nameNew(from string) error {
	if g.New == "" {
		return nil
	}
	d, err := driver.OfNew(g.New)
	if err != nil {
		return err
	}
	switch named := d.Named(g.New); {
	case named == "":
	case g.Name != "" && g.Name != named:
		return next(usageError{fmt.Errorf("%s names the database %s, and --mongo-db names %s", from, named, g.Name)}, "nothing was changed",
			fmt.Sprintf("leave --mongo-db out, or name %s in both; a user who is known to another database is found by ?authSource=%s", g.Name, named))
	default:
		g.Name = named
	}
	return nil
}

// shown is a URI without its secrets.
func shown(uri string) string {
	if driver.Scheme(uri) == driver.SchemeSQLite {
		return uri
	}
	return redact.URI(uri)
}

// databases are those of the flags, else of the declaration, else of the state
// folder, else the defaults.
func (g *globals) databases(o *orchestrator.Orchestrator) (app.Databases, error) {
	db, err := g.named(o)
	if err != nil {
		return db, err
	}
	if db.New == "" {
		if db.New, err = embeddedURI(o); err != nil {
			return db, err
		}
	}
	db.Name = cmp.Or(db.Name, defaultDatabase)
	return db, nil
}

// named are the databases that a flag, the declaration or the state folder names.
// As long as nobody has named a new one, that stays open.
func (g *globals) named(o *orchestrator.Orchestrator) (app.Databases, error) {
	kept, err := o.Databases()
	if err != nil {
		return app.Databases{}, err
	}
	declared, err := g.declaration()
	if err != nil {
		return app.Databases{}, err
	}
	// Only a file at a path that nobody has typed is made by the way.
	db := app.Databases{Old: driver.SchemeSQLite + ":" + filepath.Join(o.Dir(), "data", "todo.sqlite"), Create: g.Create || g.Old == "" && declared.Old == ""}
	if kept != nil {
		db = app.Databases{Old: kept.Old, New: kept.New, Name: kept.Name, Migration: kept.Migration, Create: g.Create}
	}
	db.Declaration = declared.Declaration
	db.Old = cmp.Or(g.Old, declared.Old, db.Old)
	if uri := cmp.Or(g.New, declared.New); uri != "" {
		db.New, db.Name = uri, cmp.Or(g.Name, declared.Name, db.Name)
		return db, nil
	}
	if db.New != "" {
		d, err := driver.OfNew(db.New)
		if err != nil {
			return db, err
		}
		db.New = d.Naming(db.New, cmp.Or(g.Name, db.Name))
	}
	if redact.Hides(db.New) {
		return db, next(fmt.Errorf("the password of %s is nowhere kept", db.New), "nothing was changed", "set MIGRATE_NEW to the whole URI and repeat the command")
	}
	db.Name = cmp.Or(g.Name, db.Name)
	return db, nil
}

// keptDatabases are the databases as the state folder keeps them.
func keptDatabases(db app.Databases) orchestrator.Databases {
	return orchestrator.Databases{Old: db.Old, New: db.New, Name: db.Name, Migration: db.Migration}
}

// earlierDatabases reads what a version before --old and --new has kept.
func earlierDatabases(b []byte) (orchestrator.Databases, error) {
	var was struct {
		SQLite string `json:"sqlite"`
		URI    string `json:"mongo_uri"`
		Name   string `json:"mongo_db"`
	}
	if err := json.Unmarshal(b, &was); err != nil {
		return orchestrator.Databases{}, err
	}
	if was.SQLite == "" {
		return orchestrator.Databases{}, errors.New("it names no old database")
	}
	return orchestrator.Databases{Old: driver.SchemeSQLite + ":" + was.SQLite, New: was.URI, Name: was.Name}, nil
}
