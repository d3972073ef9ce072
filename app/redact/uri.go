package redact

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// parts are a connection string's, as far as it can be told.
type parts struct {
	scheme  string
	user    string // empty without user information
	secret  string // what stands behind the user's name
	hasUser bool
	hasPass bool
	rest    string // hosts and path
	options string // what stands behind the question mark
	hasOpts bool
}

// URI takes the secrets out of a string that is one connection string: the
// password, and the value of every option that isn't known to hold none. What
// is no URI at all is hidden whole.
func URI(uri string) string {
	p, ok := split(uri)
	switch {
	case uri == "":
		return ""
	case !ok:
		return Hidden
	}
	return p.shown()
}

// Secrets reports whether a connection string holds a secret.
func Secrets(uri string) bool { return len(secretsOf(uri)) > 0 }

func (p parts) shown() string {
	var b strings.Builder
	b.WriteString(p.scheme + "://")
	if p.hasUser {
		b.WriteString(p.user)
		if p.hasPass {
			b.WriteString(":" + Hidden)
		}
		b.WriteString("@")
	}
	b.WriteString(p.rest)
	if p.hasOpts {
		b.WriteString("?" + shownOptions(p.scheme, p.options))
	}
	return b.String()
}

// split takes a connection string apart. A password may hold, by mistake, what
// should have been escaped: the user information ends at the last @ unless all
// before it can only be hosts.
func split(uri string) (parts, bool) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool { return !schemeRune(r) }) {
		return parts{}, false
	}
	p := parts{scheme: scheme}
	if at := endOfUser(scheme, rest); at >= 0 {
		user := rest[:at]
		p.hasUser, rest = true, rest[at+1:]
		p.user, p.secret, p.hasPass = strings.Cut(user, ":")
		if !p.hasPass && !mongoScheme(scheme) && !strings.HasPrefix(scheme, "postgres") { // a token in the place of a user
			p.user, p.secret, p.hasPass = "", user, true
		}
	}
	p.rest, p.options, p.hasOpts = strings.Cut(rest, "?")
	return p, true
}

// endOfUser is the place of the @ that ends the user information, -1 if there is none.
func endOfUser(scheme, rest string) int {
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return -1
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 || at < end {
		return at
	}
	// Something like an address stands in the path or the options. An @ before
	// them is the one; without any they are path and options only if no
	// password can be meant.
	if before := strings.LastIndexByte(rest[:end], '@'); before >= 0 {
		if mongoScheme(scheme) && plainHosts(rest[before+1:end]) && plainTail(rest[end:]) {
			return before
		}
		return at
	}
	if plainHosts(rest[:end]) && (strings.HasPrefix(strings.ToLower(scheme), "http") || mongoScheme(scheme) && plainTail(rest[end:])) {
		return -1
	}
	return at
}

// plainHosts reports whether a text can be nothing but hosts with ports.
func plainHosts(text string) bool {
	if text == "" {
		return false
	}
	for host := range strings.SplitSeq(text, ",") {
		name, port, hasPort := strings.Cut(host, ":")
		if strings.HasPrefix(host, "[") {
			inner, after, closed := strings.Cut(host[1:], "]")
			if !closed || strings.ContainsFunc(inner, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF:.%", r) }) {
				return false
			}
			name, port, hasPort = "v6", strings.TrimPrefix(after, ":"), after != ""
		}
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !hostRune(r) }) {
			return false
		}
		if hasPort && (port == "" || strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' })) {
			return false
		}
	}
	return true
}

// plainTail reports whether a text is a database and known options of MongoDB's.
func plainTail(text string) bool {
	path, options, _ := strings.Cut(strings.TrimPrefix(text, "/"), "?")
	if strings.ContainsAny(path, "@:/?") {
		return false
	}
	for option := range strings.SplitSeq(options, "&") {
		name, _, ok := strings.Cut(option, "=")
		if !ok || !openOption(name) && !openIn(secretOptions, name) {
			return false
		}
	}
	return true
}

// openOptions are MongoDB's options that hold no secret.
var openOptions = []string{
	"appname", "authmechanism", "authsource", "compressors", "connecttimeoutms", "directconnection", "heartbeatfrequencyms",
	"journal", "loadbalanced", "localthresholdms", "maxconnecting", "maxidletimems", "maxpoolsize", "maxstalenessseconds",
	"minpoolsize", "readconcernlevel", "readpreference", "readpreferencetags", "replicaset", "retryreads", "retrywrites",
	"servermonitoringmode", "serverselectiontimeoutms", "sockettimeoutms", "srvmaxhosts", "srvservicename", "ssl",
	"timeoutms", "tls", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames", "tlscafile", "tlscertificatekeyfile",
	"tlsdisablecertificaterevocationcheck", "tlsdisableocspendpointcheck", "tlsinsecure", "uuidrepresentation", "w",
	"waitqueuetimeoutms", "wtimeoutms", "zlibcompressionlevel", "sslcertificateauthorityfile", "sslclientcertificatekeyfile",
	"sslinsecure", "wtimeout",
}

// openProperties are those of authMechanismProperties.
var openProperties = []string{"service_name", "canonicalize_host_name", "service_realm", "service_host", "environment", "token_resource", "allowed_hosts"}

// secretOptions are those of MongoDB's that hold one. Any other option is taken
// for the rest of a secret that has an & in it, its name too.
var secretOptions = []string{"tlscertificatekeyfilepassword", "sslclientcertificatekeypassword", "proxypassword", "proxyusername"}

// secretProperties are the same for authMechanismProperties.
var secretProperties = []string{"aws_session_token"}

func openOption(name string) bool { return openIn(openOptions, name) }

func openIn(names []string, name string) bool {
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	return slices.Contains(names, strings.ToLower(name))
}

func mongoScheme(scheme string) bool {
	scheme = strings.ToLower(scheme)
	return scheme == "mongodb" || scheme == "mongodb+srv"
}

func shownOptions(scheme, options string) string {
	all := strings.Split(options, "&")
	for n, option := range all {
		all[n], _ = shownOption(scheme, option)
	}
	return strings.Join(all, "&")
}

// shownOption returns an option of a URI as it may be shown, and what was taken
// out. Of MongoDB's, the value of one that isn't known is taken for a secret.
func shownOption(scheme, option string) (shown string, secrets []string) {
	name, value, ok := strings.Cut(option, "=")
	switch {
	case option != "" && mongoScheme(scheme) && !openOption(name) && !openIn(secretOptions, name) && !strings.EqualFold(name, "authMechanismProperties"):
		return Hidden, []string{option}
	case !ok || value == "":
		return option, nil
	case !mongoScheme(scheme):
		plain, err := url.QueryUnescape(name)
		if err != nil || secretName(plain) {
			return name + "=" + Hidden, []string{value}
		}
		return option, nil
	case strings.EqualFold(name, "authMechanismProperties"):
		value, secrets = shownProperties(value)
		return name + "=" + value, secrets
	case openOption(name):
		return option, nil
	}
	return name + "=" + Hidden, []string{value}
}

// shownProperties does the same with NAME:VALUE,NAME:VALUE.
func shownProperties(value string) (shown string, secrets []string) {
	all := strings.Split(value, ",")
	for n, property := range all {
		name, v, ok := strings.Cut(property, ":")
		switch {
		case property == "" || openIn(openProperties, name):
		case !ok || !openIn(secretProperties, name):
			all[n], secrets = Hidden, append(secrets, property)
		case v != "":
			all[n], secrets = name+":"+Hidden, append(secrets, v)
		}
	}
	return strings.Join(all, ","), secrets
}

// secretsOf lists the secrets of a connection string, as written and decoded.
func secretsOf(uri string) []string {
	p, ok := split(uri)
	if !ok {
		return nil
	}
	var found []string
	if p.secret != "" {
		found = append(found, p.secret)
	}
	if p.hasOpts {
		for option := range strings.SplitSeq(p.options, "&") {
			_, secrets := shownOption(p.scheme, option)
			found = append(found, secrets...)
		}
	}
	for _, secret := range found[:len(found):len(found)] {
		if plain, err := url.PathUnescape(secret); err == nil && plain != secret {
			found = append(found, plain)
		}
		if plain, err := url.QueryUnescape(secret); err == nil && plain != secret {
			found = append(found, plain)
		}
	}
	return found
}

// startsURI reports whether a text begins with a scheme.
func startsURI(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && scheme != "" && !strings.ContainsFunc(scheme, func(r rune) bool { return !schemeRune(r) })
}

func schemeRune(r rune) bool {
	return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("+.-", r))
}

func hostRune(r rune) bool {
	return r == '.' || r == '-' || r == '_' || r == '%' || unicode.IsLetter(r) || unicode.IsDigit(r)
}
