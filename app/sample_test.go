package app

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// TestASampleWalksThereAndBack moves tables that others have designed, with
// their rules, to the new database and back, and finds them as they were. What
// to move is given: `scripts/prove.sh sample` fetches it.
func TestASampleWalksThereAndBack(t *testing.T) {
	declaration, file := os.Getenv("MIGRATE_TEST_SAMPLE"), os.Getenv("MIGRATE_TEST_SAMPLE_FILE")
	if declaration == "" || file == "" {
		t.Skip("no sample is given: scripts/prove.sh sample fetches one")
	}
	s := newShop(t, declaration)
	s.keptIn(file)
	before := s.dump()
	accept := strings.Fields(os.Getenv("MIGRATE_TEST_SAMPLE_ACCEPT"))
	tool := s.spawnTool()
	adopter, _ := store.As[store.Adopter](tool.old)
	_, err := adopter.Adopt(t.Context(), store.AdoptOptions{Accept: accept})
	s.must(err)
	tool.close()
	for step := migration.DeployNew; step <= migration.RemoveOld; step++ {
		s.move(step)
		switch step {
		case migration.WriteBoth, migration.ReadBoth, migration.Backfill:
			s.copied(func(old store.Old, to store.New) error {
				rep, err := migration.Verify(t.Context(), old, to, migration.VerifyOptions{})
				if err == nil && (!rep.Clean || rep.Equal == 0) {
					err = fmt.Errorf("the verify at step %d: %+v", step, rep)
				}
				t.Logf("step %d: %d records equal", step, rep.Equal)
				return err
			})
		}
	}
	for step := migration.Backfill; step >= migration.ReadBoth; step-- {
		s.move(step)
	}
	s.comeBack()
	for step := migration.WriteBoth; step >= migration.DeployNew; step-- {
		s.move(step)
	}
	if after := s.dump(); after != before {
		t.Errorf("the tables were\n%s\nand are\n%s", before, after)
	}
}

// dump is the rows of the declared tables as the plain shell shows them.
func (s *shop) dump() string {
	s.t.Helper()
	var all strings.Builder
	for _, c := range s.declaration.Collections {
		rows, err := exec.Command("sqlite3", "-quote", s.file, fmt.Sprintf(`SELECT * FROM "%s" ORDER BY 1, 2`, c.Table)).CombinedOutput()
		s.must(err)
		fmt.Fprintf(&all, "%s:\n%s\n", c.Name, rows)
	}
	return all.String()
}
