package doctor

import (
	"context"
	"errors"
	"strings"

	"migrate.invalid/migrate/nginx"
)

// nginx: it is installed, takes the configuration, runs if it should, and
// serves what the links say, which shows that its workers can walk to them.
func (x *examination) nginx(ctx context.Context) {
	version, err := x.Proxy.Version(ctx)
	if err != nil {
		x.fail("nginx", "scripts/install-nginx.sh, or name one in MIGRATE_NGINX", "%v", err)
		return
	}
	x.ok("nginx", "%s", version)
	if err := x.Proxy.Test(ctx); err != nil {
		x.fail("nginx.conf", "migrate nginx show prints it; what runs goes on as it is", "%s", firstLine(err))
	} else {
		x.ok("nginx.conf", "nginx takes the configuration")
	}
	x.served(ctx)
}

func (x *examination) served(ctx context.Context) {
	st, err := x.Proxy.Status(ctx)
	if err != nil {
		x.fail("proxy", "migrate nginx start", "%v", err)
		return
	}
	if !st.Running {
		x.stopped(st)
		return
	}
	route, err := x.Proxy.Served(ctx)
	switch {
	case err != nil:
		x.fail("proxy", "see nginx/logs/error.log in the state folder; migrate nginx stop --yes, then start", "process %d runs, but %v", st.PID, err)
	case route.Live == 0 && st.Live != 0:
		x.fail("proxy", "migrate nginx start, which makes what they need where they can walk to it",
			"its workers can't follow the link %s", x.Proxy.LinkPath())
	case route.Live != st.Live || route.Fallback != st.Fallback:
		x.fail("proxy", "migrate status; then migrate switch", "it serves ports %d and %d, the links name %d and %d",
			route.Live, route.Fallback, st.Live, st.Fallback)
	default:
		x.ok("proxy", "http://%s (process %d), its workers reach the links", st.Listen, st.PID)
	}
	switch {
	case st.OpenFiles == 0: // it can't be asked on this system
	case st.Low() != "":
		x.note("open files", "raise the hard limit (ulimit -Hn; LimitNOFILE= of a systemd unit), then migrate nginx stop --yes && migrate nginx start",
			"each of %d workers may open %d, enough for about %d clients at once", st.Workers, st.OpenFiles, st.Clients)
	default:
		x.ok("open files", "each of %d workers may open %d, enough for about %d clients at once", st.Workers, st.OpenFiles, st.Clients)
	}
}

// stopped: no proxy runs. Before the first one was started that is no fault.
func (x *examination) stopped(st nginx.Status) {
	switch {
	case !bindable(st.Listen):
		x.fail("proxy", "end the program that has it, or choose another with --nginx-listen", "it does not run, and %s is taken", st.Listen)
	case st.Live != 0:
		x.fail("proxy", "migrate nginx start", "it does not run, so clients reach nobody")
	default:
		x.note("proxy", "migrate nginx start", "it is not started yet; %s is free", st.Listen)
	}
}

// firstLine is the first line of an error. Of what nginx says, it is the first one
// that is no warning: nginx rejects nothing over a warning.
func firstLine(err error) string {
	text := strings.TrimSpace(err.Error())
	if before, said, found := strings.Cut(text, "nginx: [warn]"); found && errors.Is(err, nginx.ErrRejected) {
		for line := range strings.Lines(said) {
			if strings.HasPrefix(line, "nginx: [") && !strings.HasPrefix(line, "nginx: [warn]") {
				text = before + line
				break
			}
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
