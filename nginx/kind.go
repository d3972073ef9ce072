package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// todoMark is the file in the folder of a port that says that the instance
// there is the ToDo service. Its requests have limits that another's have not.
// nginx looks at it at every request, so that no reload is needed for it.
const todoMark = "todo"

// Describe says whether the instance on a port is the ToDo service, or some
// other one. It is to be called before traffic moves there.
func (s *Server) Describe(port int, todo bool) error {
	for _, root := range s.roots() {
		if err := markIn(root, strconv.Itoa(port), todo); err != nil {
			return fmt.Errorf("nginx: say what runs on port %d: %w", port, err)
		}
	}
	return s.give()
}

// markIn sets or removes the mark in one of the folders with routes.
func markIn(root, port string, todo bool) error {
	folder := filepath.Join(root, "routes", port)
	mark := filepath.Join(folder, todoMark)
	if !todo {
		if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := makeWalkable(folder); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}

// isTodo reports whether the instance on a port is the ToDo service.
func (s *Server) isTodo(port int) bool {
	_, err := os.Stat(s.path(filepath.Join("routes", strconv.Itoa(port), todoMark)))
	return err == nil
}
