package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"migrate/static"
)

// page serves the embedded files; / is index.html.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["file"]
	if name == "" {
		name = "index.html"
	}
	content, err := fs.ReadFile(static.Files(), name)
	if err != nil {
		notFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}
