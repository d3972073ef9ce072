// Package nginx runs an nginx of our own under the state folder and moves
// traffic through it, with no client noticing.
//
// Traffic moves by link: `live` is a symbolic link to an empty folder named
// after a port, nginx resolves it at every request, and a move is one
// rename(2). No worker changes and no connection closes, so no request is lost;
// a reload, the usual way, resets whatever a client has just sent on an idle
// connection. `ls -l` shows the truth, [Server.Served] what nginx makes of it.
//
// When the live instance does not answer, a request goes to the one that the
// link names by then, then to the one that `fallback` names, then it is
// answered 503 as JSON. Only what is safe is sent again: what was never sent,
// and GET and HEAD. A change that may have been made is answered
// outcome_unknown instead.
//
// Everything is in one folder:
//
//	nginx.conf  what the template became; replaced only by one that nginx accepts
//	nginx.pid   the master's process id, by nginx
//	started     the same process id, and when that process started, by us
//	live        -> routes/8001
//	fallback    -> routes/8000, or routes/none
//	routes/     an empty folder for each port
//	logs/ temp/
//
// Moving traffic by a rewritten upstream and a reload, for an nginx that can't
// use the link, has its place beside link.go: the same methods Move,
// SetFallback, Clear, Live, Fallback and Served.
package nginx
