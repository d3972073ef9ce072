package web

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// sameOrigin refuses writes from pages of another origin.
//
// net/http believes Sec-Fetch-Site, which browsers send to https and to this
// machine, and else compares Origin with Host. Behind a proxy that rewrites
// Host our own pages would fail that comparison: what the proxy in front was
// asked for is compared, too.
func sameOrigin(next http.Handler) http.Handler {
	check := http.NewCrossOriginProtection().Check
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if check(r) == nil || check(asForwarded(r)) == nil {
			next.ServeHTTP(w, r)
			return
		}
		writeProblem(w, &problem{http.StatusForbidden, "cross_origin", crossOriginMessage(r)})
	})
}

// asForwarded is the request with the origin's host in Host, if a proxy on this
// machine says that this host was asked for. Our nginx passes on what a trusted
// proxy says and replaces what others say. A page of another origin can't make
// a browser send these headers: it would ask the service first, which never
// allows it.
func asForwarded(r *http.Request) *http.Request {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(peer); err != nil || ip == nil || !ip.IsLoopback() {
		return r
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	host, port := first(r, "X-Forwarded-Host"), first(r, "X-Forwarded-Port")
	if err != nil || !sameHost(origin, host) && !sameHost(origin, host+":"+port) {
		return r
	}
	forwarded := *r
	forwarded.Host = origin.Host
	return &forwarded
}

// first is the first value of a header to which each proxy appends its own.
func first(r *http.Request, name string) string {
	value, _, _ := strings.Cut(r.Header.Get(name), ",")
	return strings.TrimSpace(value)
}

// sameHost compares hosts without case, and with the port that the scheme means.
func sameHost(origin *url.URL, host string) bool {
	standard := map[string]string{"http": ":80", "https": ":443"}[origin.Scheme]
	plain := func(host string) string { return strings.TrimSuffix(strings.ToLower(host), standard) }
	return host != "" && origin.Host != "" && plain(origin.Host) == plain(host)
}

func crossOriginMessage(r *http.Request) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return fmt.Sprintf("writes from pages of another origin are refused: the browser says that this one is %s (Sec-Fetch-Site)", site)
	}
	asked := r.Host
	if host := first(r, "X-Forwarded-Host"); host != "" {
		asked = host
	}
	return fmt.Sprintf("writes from pages of another origin are refused: the page is of %s, the request is for %s. "+
		"If the page is the service's own, the proxy in front of it must pass on the Host that the browser sent, or put it into X-Forwarded-Host",
		r.Header.Get("Origin"), asked)
}
