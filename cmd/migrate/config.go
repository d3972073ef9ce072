package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/todo"
)

// configName is the file that declares what a migration moves.
const configName = "migrate.yaml"

// declared is what a file declares; the ToDo service's declaration without one.
type declared struct {
	record.Declaration
	Name string // of the new database
	File string // "" without one
}

// service reports whether the ToDo service can serve what is declared.
func (d declared) service() bool { return d.Digest() == todo.Declaration().Digest() }

// declaration reads the file that --config names, else the one in this folder,
// else the one in the state folder.
func (g *globals) declaration() (declared, error) {
	if g.declares != nil {
		return *g.declares, nil
	}
	d, err := g.readDeclaration()
	if err == nil {
		g.declares = &d
	}
	return d, err
}

func (g *globals) readDeclaration() (declared, error) {
	file, text, err := g.findConfig()
	if err != nil {
		return declared{}, err
	}
	if file == "" {
		d := declared{Declaration: todo.Declaration()}
		d.Old, d.New = "", ""
		return d, nil
	}
	d := declared{File: file}
	if d.Declaration, err = record.ReadYAML(file, text); err != nil {
		return declared{}, next(usageError{err}, "nothing was changed", "correct "+file+", and repeat the command")
	}
	return d, g.place(&d)
}

// place checks the URIs of a file; a relative path is seen from the file's folder.
func (g *globals) place(d *declared) error {
	var faults []error
	var err error
	if d.Old != "" {
		if d.Old, err = resolveOld(d.Old, filepath.Dir(d.File)); err != nil {
			faults = append(faults, fmt.Errorf("%s: old: %w", d.File, err))
		}
	}
	if d.New != "" {
		if d.New, err = resolveNew(d.New); err != nil {
			faults = append(faults, fmt.Errorf("%s: new: %w", d.File, err))
		} else if of, err := driver.OfNew(d.New); err == nil {
			d.Name = of.Named(d.New)
		}
	}
	if len(faults) > 0 {
		return next(usageError{errors.Join(faults...)}, "nothing was changed", "correct "+d.File+", and repeat the command")
	}
	return nil
}

// findConfig returns the file's absolute path and its text; "" if there is none.
func (g *globals) findConfig() (string, []byte, error) {
	candidates := []string{configName, filepath.Join(g.Dir, configName)}
	if g.Config != "" {
		candidates = []string{g.Config}
	}
	for _, file := range candidates {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && g.Config == "" {
			continue
		}
		if err != nil {
			return "", nil, next(usageError{fmt.Errorf("read the declaration: %w", err)}, "nothing was changed", "name a file that can be read with --config, or leave it out for the ToDo service's declaration")
		}
		if file, err = filepath.Abs(file); err != nil {
			return "", nil, err
		}
		return file, text, nil
	}
	return "", nil, nil
}

// mustServe refuses to start the ToDo service for another declaration than its own.
func (d declared) mustServe() error {
	if d.service() {
		return nil
	}
	var names []string
	for _, c := range d.Collections {
		names = append(names, c.Name)
	}
	return next(usageError{fmt.Errorf("the ToDo service can't serve what %s declares (%s): it has a declaration of its own, the collection tasks, and nothing else here serves these",
		d.File, joined(names))}, "nothing was changed",
		"migrate adopt, quarantine, backfill, verify and doctor work with any declaration; a program of yours serves them by the packages app/migration and app/store; to start the ToDo service, move the file away or name another one with --config")
}

// joined names some of many.
func joined(names []string) string {
	const most = 5
	text := ""
	for n, name := range names {
		switch {
		case n == most:
			return fmt.Sprintf("%s and %d more", text, len(names)-most)
		case n > 0:
			text += ", "
		}
		text += name
	}
	return text
}
