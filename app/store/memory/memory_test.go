package memory_test

import (
	"testing"

	"migrate/app/store"
	"migrate/app/store/memory"
	"migrate/app/store/storetest"
	"migrate/app/task"
)

func TestOld(t *testing.T) {
	storetest.RunOld(t, func(*testing.T) store.Old[task.Task, task.Filter] {
		return memory.NewOld[task.Task, task.Filter]("a migration")
	})
}

func TestNew(t *testing.T) {
	storetest.RunNew(t, func(*testing.T) store.New[task.Task, task.Filter] {
		return memory.NewNew[task.Task, task.Filter]()
	})
}
