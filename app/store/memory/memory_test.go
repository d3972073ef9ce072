package memory_test

import (
	"testing"

	"migrate/app/record"
	"migrate/app/store"
	"migrate/app/store/memory"
	"migrate/app/store/storetest"
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
