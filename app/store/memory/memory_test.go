package memory_test

import (
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/store/storetest"
)

func TestOld(t *testing.T) {
	storetest.RunOld(t, func(*testing.T, record.Declaration) store.Old {
		return memory.NewOld("a migration")
	})
}

func TestNew(t *testing.T) {
	storetest.RunNew(t, func(*testing.T, record.Declaration) store.New {
		return memory.NewNew()
	})
}
