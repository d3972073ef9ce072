// Package static holds the pages of the ToDo service, with their styles and
// scripts, inside the program.
package static

import (
	"embed"
	"io/fs"
)

//go:embed *.html *.css *.js *.svg *.ico
var files embed.FS

// Files returns the pages, styles and scripts by name.
func Files() fs.FS { return files }
