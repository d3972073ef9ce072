package nginx

import (
	"fmt"
	"strings"
)

// view is what the template shows.
type view struct {
	Generation, Folder string
	Cutover            Cutover
	Listen             []string
	ListenIP           string
	PortPattern        string
	Ports              []string
	User               *account
	OpenFiles          int
	Connections        int
	KeepsIdle          bool
	Custom             string // file with the operator's own directives; empty: none
	Settings
	Hidden, TodoHidden []string
	Body               string // client_max_body_size, in bytes; 0 none
	TodoBody           string // the same for the ToDo service; empty: as for any other
	Live, Fallback     route
	Waited             string // ReadTimeout, for people
	WaitedIdle         string // IdleTimeout, for people
}

// hop is a location that passes requests on.
type hop struct {
	view
	Lasting bool // for upgraded connections and event streams
}

// Hop is the view for a location.
func (v view) Hop(lasting bool) hop { return hop{v, lasting} }

// Suffix is what the names of the location's successors end with.
func (h hop) Suffix() string {
	if h.Lasting {
		return "_lasting"
	}
	return ""
}

// Timeout is how long the instance may be silent.
func (h hop) Timeout() string {
	if h.Lasting {
		return milliseconds(h.IdleTimeout)
	}
	return milliseconds(h.ReadTimeout)
}

// UpstreamIdleMS is empty when no connection is kept.
func (v view) UpstreamIdleMS() string {
	if *v.UpstreamIdle == 0 {
		return ""
	}
	return milliseconds(*v.UpstreamIdle)
}

// route is how a location finds its instance.
type route struct {
	Choose string // the directive that sets $instance
	Todo   string // the condition that the ToDo service is behind it; "" if it is known to be
	Other  bool   // it is known not to be
}

func (s *Server) template(groups []string, who *account, keepsIdle bool, to targets) *view {
	v := &view{
		Folder:      s.folderID(),
		Cutover:     s.cfg.Cutover,
		Listen:      s.addresses(),
		ListenIP:    outerIP(s.cfg.Listen),
		PortPattern: strings.Join(groups, "|"),
		Ports:       groups,
		User:        who,
		KeepsIdle:   keepsIdle,
		Settings:    s.cfg.Settings.withDefaults(),
		Live:        s.route(live, to.live),
		Fallback:    s.route(fallback, to.fallback),
	}
	v.OpenFiles = openFiles()
	v.Connections = connectionsFor(v.OpenFiles)
	v.Hidden, v.TodoHidden = v.Settings.hides()
	v.Body, v.TodoBody = "0", fmt.Sprint(todoMaxBody)
	if v.MaxBody != nil {
		v.Body, v.TodoBody = fmt.Sprint(*v.MaxBody), ""
	}
	v.Waited, v.WaitedIdle = v.ReadTimeout.String(), v.IdleTimeout.String()
	return v
}

// route says how a location finds the instance that a link names.
func (s *Server) route(link string, port int) route {
	switch {
	case s.cfg.Cutover == ByLink:
		return route{
			Choose: "root " + quote(s.served(link)) + ";",
			Todo:   "-f " + quote(s.served(link+"/"+todoMark)),
		}
	case port == 0:
		return route{Choose: "set $instance " + none + ";", Other: true}
	}
	return route{Choose: fmt.Sprintf("set $instance i%d;", port), Other: !s.isTodo(port)}
}

// Routes are the two links and how each is followed.
func (v view) Routes() map[string]route {
	return map[string]route{live: v.Live, fallback: v.Fallback}
}

// DeclaredBody is a regular expression for a Content-Length that is not below
// [todoMaxBody].
func (v view) DeclaredBody() string { return fmt.Sprintf(`~^:0*[1-9]\d{%d,}$`, len(v.TodoBody)-1) }
