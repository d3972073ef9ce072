package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// uris takes the secrets out of the URIs that a text quotes.
func uris(s string) string {
	var b strings.Builder
	for {
		mark := strings.Index(s, "://")
		if mark < 0 {
			b.WriteString(s)
			return b.String()
		}
		begin := mark
		for begin > 0 && schemeRune(rune(s[begin-1])) {
			begin--
		}
		if begin == mark {
			b.WriteString(s[:mark+3])
			s = s[mark+3:]
			continue
		}
		end := begin + len(quotedURI(s[begin:]))
		b.WriteString(s[:begin])
		b.WriteString(URI(s[begin:end]))
		s = s[end:]
	}
}

// quotedURI returns the URI that a text begins with. It ends at a blank or a
// quotation mark, unless a password goes on beyond those: then, at the first of
// them behind the last @ of the line that a host can follow.
func quotedURI(s string) string {
	mark := strings.Index(s, "://") + 3
	rest := s[mark:]
	word := len(rest)
	if i := strings.IndexFunc(rest, endsURI); i >= 0 {
		word = i
	}
	user := strings.IndexAny(rest[:word], ":/?#@")
	if strings.HasPrefix(rest, "[") && !strings.Contains(rest[:word], "@") { // an address of IPv6
		return s[:mark+word]
	}
	if user < 0 || rest[user] != ':' || !strings.Contains(rest[:word], "@") && isPort(rest[user+1:word]) {
		return s[:mark+word]
	}
	line := rest
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	if i := nextURI(line); i >= 0 {
		line = line[:i]
	}
	for at := strings.LastIndexByte(line, '@'); at > user; at = strings.LastIndexByte(line[:at], '@') {
		if r, _ := utf8.DecodeRuneInString(line[at+1:]); !hostRune(r) && r != '[' {
			continue
		}
		end := at + 1
		if i := strings.IndexFunc(line[end:], endsURI); i >= 0 {
			return s[:mark+end+i]
		}
		return s[:mark+len(line)]
	}
	return s[:mark+word]
}

// nextURI is where another URI begins in a text, -1 if there is none.
func nextURI(line string) int {
	for from := 0; ; {
		mark := strings.Index(line[from:], "://")
		if mark < 0 {
			return -1
		}
		mark += from
		begin := mark
		for begin > from && schemeRune(rune(line[begin-1])) {
			begin--
		}
		if begin < mark {
			return begin
		}
		from = mark + 3
	}
}

// isPort reports whether what follows a host's colon is a port and then, if
// anything, more hosts, a path or options.
func isPort(s string) bool {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	return len(s) > 0 && (i < 0 || i > 0 && strings.IndexByte(",/?#.;)]}", s[i]) >= 0)
}

func endsURI(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'`<>\\", r) }

// assignments takes out the values of secrets that a text names: NAME=X,
// "name": "X", --flag X.
func assignments(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if !nameRune(rune(s[0])) {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		n := strings.IndexFunc(s, func(r rune) bool { return !nameRune(r) })
		if n < 0 {
			n = len(s)
		}
		name := s[:n]
		b.WriteString(name)
		s = s[n:]
		if !secretName(name) {
			continue
		}
		before, value := valueOf(name, s)
		b.WriteString(s[:before])
		if value > 0 {
			b.WriteString(Hidden)
		}
		s = s[before+value:]
	}
	return b.String()
}

// valueOf says where the value of a secret's name begins in what follows the
// name, and how long it is; 0 if it has none there.
func valueOf(name, s string) (before, length int) {
	i := 0
	for i < len(s) && (s[i] == '"' || s[i] == '\'' || s[i] == '\\') { // the name was quoted
		i++
	}
	quoted := i > 0
	switch {
	case i < len(s) && s[i] == '=':
		i++
	case i < len(s) && s[i] == ':' && (quoted || strongName(name) && alone(s[i+1:])):
		i++
		for i < len(s) && s[i] == ' ' {
			i++
		}
	case !quoted && strings.HasPrefix(name, "-") && i < len(s) && s[i] == ' ':
		for i < len(s) && s[i] == ' ' {
			i++
		}
		if i < len(s) && s[i] == '-' {
			return 0, 0
		}
	default:
		return 0, 0
	}
	if n := len(shellWord(s[i:])); n > 0 && !placeholder(s[i:i+n]) {
		return i, n
	}
	return 0, 0
}

// alone reports whether a line goes on with a word that stands alone, so that
// "password: hunter2" is told from "password: none was given".
func alone(s string) bool {
	line, _, _ := strings.Cut(s, "\n")
	return len(strings.Fields(line)) == 1 || line != "" && !unicode.IsSpace(rune(line[0]))
}

// shellWord returns the word that a text begins with, as a shell takes it: with
// what stands between quotation marks, and behind a backslash.
func shellWord(s string) string {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			if !strings.ContainsRune(s[i+1:], rune(c)) { // it ends what the whole is quoted by
				return s[:i]
			}
			quote = c
		case strings.IndexByte(" \t\n&;|)},", c) >= 0:
			return s[:i]
		}
	}
	return s
}
