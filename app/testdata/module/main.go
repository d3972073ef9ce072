// A program of another module that walks a declaration of its own, from a file
// to memory, by the packages of this one.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

const declaration = `
collections:
  orders:
    table: Orders
    id: [shop, number]
    fields: {shop: text, number: int, paid: bool}
    lists: [[shop, paid]]
`

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
	fmt.Println("walked")
}

func run(ctx context.Context, dir string) error {
	file := filepath.Join(dir, "shop.db")
	if err := lay(file); err != nil {
		return err
	}
	d, err := record.ReadYAML("migrate.yaml", []byte(declaration))
	if err != nil {
		return err
	}
	of, err := driver.OfOld("sqlite:" + file)
	if err != nil {
		return err
	}
	old, err := of.Open(ctx, "sqlite:"+file, driver.Options{Declaration: d})
	if err != nil {
		return err
	}
	defer old.Close()
	adopter, ok := store.As[store.Adopter](old)
	if !ok {
		return errors.New("the old database can't be taken over")
	}
	if _, err := adopter.Adopt(ctx, store.AdoptOptions{}); err != nil {
		return err
	}
	to := memory.NewNew()
	for step := migration.Step(1); step <= 8; step++ {
		if err := walk(ctx, step, old, to, d.Collections[0]); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	return nil
}

// lay makes a table as somebody may have it.
func lay(file string) error {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	_, err = db.Exec(`CREATE TABLE Orders(shop TEXT NOT NULL, number INTEGER NOT NULL, paid INTEGER, PRIMARY KEY(shop, number));
		INSERT INTO Orders VALUES('north', 1, 0), ('north', 2, 1), ('south', 1, NULL)`)
	return errors.Join(err, db.Close())
}

// walk runs an instance at a step: it reads what was written before, writes one
// more order, and does what the next step's gates will ask for.
func walk(ctx context.Context, step migration.Step, old store.Old, to store.New, orders record.Collection) error {
	cfg := migration.Config{Step: step, CompareMin: 1, Instance: store.Registration{Instance: fmt.Sprint("at step ", int(step))}}
	if step.HasOld() {
		cfg.Old = old
	}
	if step.HasNew() {
		cfg.New = to
	}
	s, err := migration.New(cfg)
	if err != nil {
		return err
	}
	if step.HasNew() {
		if err := s.Prepare(ctx); err != nil {
			return err
		}
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(life) }()
	defer func() { end(); <-done }()
	if step == migration.NewPrimary {
		if err := s.Advance(ctx); err != nil {
			return err
		}
	}
	id, err := order("west", int64(step))
	if err != nil {
		return err
	}
	if _, err := s.Apply(ctx, id, true, func(cur store.Record, _ bool) (store.Record, bool, error) {
		cur.Body = record.NewBody(record.OfBool(true))
		return cur, true, nil
	}); err != nil {
		return err
	}
	first, err := order("north", 2)
	if err != nil {
		return err
	}
	if got, found, err := s.Get(ctx, first); err != nil || !found || !got.Body.Values()[0].Bool() {
		return fmt.Errorf("an order from before: %+v, %v, %w", got, found, err)
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	if step < migration.WriteBoth || step == migration.RemoveOld {
		return seen(ctx, s, orders, int(step))
	}
	if _, err := migration.CopyAll(ctx, old, to, migration.BackfillOptions{}); err != nil {
		return err
	}
	report, err := migration.Verify(ctx, old, to, migration.VerifyOptions{})
	if err != nil || !report.Clean {
		return fmt.Errorf("verify: %+v, %w", report, err)
	}
	return seen(ctx, s, orders, int(step))
}

// seen looks for the order of each step up to this one in a list.
func seen(ctx context.Context, s *migration.Service, orders record.Collection, step int) error {
	west, err := record.OfText("west")
	if err != nil {
		return err
	}
	filter, err := orders.Filter(record.Equals{Field: "shop", Value: west})
	if err != nil {
		return err
	}
	page, err := s.List(ctx, filter, record.ID(""), 100)
	if err != nil || len(page.Records) != step {
		return fmt.Errorf("%d orders, want %d: %w", len(page.Records), step, err)
	}
	return nil
}

func order(shop string, number int64) (record.ID, error) {
	v, err := record.OfText(shop)
	if err != nil {
		return "", err
	}
	return record.NewID("orders", v, record.OfInt(number))
}
