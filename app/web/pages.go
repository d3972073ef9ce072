package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"migrate.invalid/migrate/static"
)

// formerly names the file that is served for a name of the original's. A page
// of the original that a browser has in its cache asks for them; moved.js puts
// the present page in its place.
func formerly(name string) string {
	switch name {
	case "userConsole.js", "taskProducer.js", "serverConfigController.js":
		return "moved.js"
	case "serverConfig.css":
		return "style.css"
	}
	return name
}

// formerConsole leads from the original's address of the user console to ours.
// Not for ever: the original may be put back.
func formerConsole(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	to := "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func (s *Server) console(w http.ResponseWriter, r *http.Request) { servePage(w, r, "index.html") }

func (s *Server) favicon(w http.ResponseWriter, r *http.Request) { servePage(w, r, "favicon.ico") }

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	servePage(w, r, formerly(mux.Vars(r)["file"]))
}

// servePage serves an embedded file.
func servePage(w http.ResponseWriter, r *http.Request, name string) {
	content, err := fs.ReadFile(static.Files(), name)
	if err != nil {
		notFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}
