// Package nginx runs an nginx of our own under the state folder and moves
// traffic through it, with no client noticing.
//
// By default traffic moves by link: `live` is a symbolic link to an empty folder named
// after a port, nginx resolves it at every request, and a move is one
// rename(2). No worker changes and no connection closes, so no request is lost;
// a reload, the usual way, resets whatever a client has just sent on an idle
// connection. `ls -l` shows the truth, [Server.Served] what nginx makes of it.
//
// When the live instance does not answer, a request goes to the one that the
// link names by then, then to the one that `fallback` names, then it is
// answered 503 as JSON. Only what is safe is sent again: what was never sent,
// and GET and HEAD whose connection broke. A change that may have been made is
// answered outcome_unknown instead. What took too long is never sent again: the
// instance works on it still.
//
// By reload, the usual way, is for an nginx that can't use the link: the
// upstreams are rewritten, tested and reloaded. What closes on clients is
// announced to them first, where nginx has no directive for it: see
// [Server.TakeCut]; requests in flight finish where they began: see
// [Server.Outgoing]. The links are kept as well, and say what the file says, so
// that either way can follow the other. A request that finds its instance gone
// is not sent to a newer one, as it is by link: an old worker knows only the
// instances of its own time.
//
// Everything is in one folder:
//
//	nginx.conf  what the template became; replaced only by one that nginx accepts
//	custom.conf the operator's own directives, if there are any
//	custom/     a copy of them, as nginx.conf includes it
//	nginx.pid   the master's process id, by nginx
//	started     the same process id, and when that process started, by us
//	live        -> routes/8001
//	fallback    -> routes/8000, or routes/none
//	routes/     a folder for each port; the file todo in it says what runs there
//	ports       those outside the configured range that may be live, too
//	closing/    names configurations that announce their end to clients
//	open        -> a second folder with live, fallback, routes/, closing/ and temp/,
//	            if the workers of root's nginx, who have no rights, can't walk here
//	logs/ temp/
package nginx
