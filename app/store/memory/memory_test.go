package memory

import (
	"migrate/app/store"
	"migrate/app/task"
)

var (
	_ store.Old[task.Task, task.Filter] = (*Old[task.Task, task.Filter])(nil)
	_ store.New[task.Task, task.Filter] = (*New[task.Task, task.Filter])(nil)
)
