// Package redact takes secrets out of what is shown, logged or kept: out of
// connection strings, command lines, and texts that quote either.
//
// It parses: a secret ends where its form ends, not at the first character that
// looks odd. In doubt it hides too much. It imports nothing of ours, so that
// every part of the program can use the same rules.
package redact

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden stands where a secret was.
const Hidden = "xxxxx"

// Hides reports whether something was taken out of a text.
func Hides(s string) bool { return strings.Contains(s, Hidden) }

// Text takes the secrets out of a text that may quote connection strings or
// command lines.
func Text(s string) string {
	if !strings.ContainsAny(s, ":= ") {
		return s
	}
	return assignments(uris(s))
}

// Words takes the secrets out of a command line, word by word: out of URIs,
// --api-key=X, --password X and NAME=X.
func Words(words []string) []string {
	all := make([]string, len(words))
	for n, word := range words {
		all[n] = one(word)
		if n > 0 && bareFlag(words[n-1]) && !strings.HasPrefix(word, "-") {
			all[n] = Hidden
		}
	}
	return all
}

// Shows lists the words of a command line that show a secret, as they are once
// it is taken out.
func Shows(words []string) []string {
	var all []string
	for n, word := range Words(words) {
		switch {
		case word == words[n]:
		case word == Hidden && n > 0:
			all = append(all, words[n-1])
		default:
			all = append(all, word)
		}
	}
	return all
}

// one takes the secrets out of one word of a command line, which may hold
// anything: a shell's script too.
func one(word string) string {
	name, value, ok := strings.Cut(word, "=")
	if !ok || strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
		if startsURI(word) {
			return URI(word)
		}
		return Text(word)
	}
	switch {
	case value == "" || placeholder(value):
		return word
	case secretName(name):
		return name + "=" + Hidden
	case startsURI(value):
		return name + "=" + URI(value)
	}
	return name + "=" + Text(value)
}

// bareFlag reports whether a word is a flag whose value, a secret, is the next.
func bareFlag(word string) bool {
	return strings.HasPrefix(word, "-") && !strings.Contains(word, "=") && secretName(word)
}

// placeholder is what spawn replaces, and no secret.
func placeholder(value string) bool { return value == "{port}" || value == "{step}" }

// Redactor knows secrets, and takes them out wherever they stand.
type Redactor struct {
	uris  []string
	known []string
}

// shortest is the length of a known secret that is looked for in any text: a
// shorter one would be found in words that have nothing to do with it.
const shortest = 4

// Knowing returns a redactor that knows the secrets of these connection
// strings, as they are written there and as they are decoded.
func Knowing(uris ...string) *Redactor {
	r := &Redactor{}
	for _, uri := range uris {
		if Secrets(uri) {
			r.uris = append(r.uris, uri)
		}
		for _, secret := range secretsOf(uri) {
			if len(secret) >= shortest {
				r.known = append(r.known, secret)
			}
		}
	}
	slices.SortFunc(r.known, func(a, b string) int { return len(b) - len(a) }) // none is cut by another that it holds
	return r
}

// Text takes the secrets out of a text: those that are known, and those that
// [Text] finds. A nil redactor knows none.
func (r *Redactor) Text(s string) string {
	if r != nil {
		for _, uri := range r.uris {
			s = strings.ReplaceAll(s, uri, URI(uri))
		}
		for _, secret := range r.known {
			s = strings.ReplaceAll(s, secret, Hidden)
		}
	}
	return Text(s)
}

// Error returns the error with the secrets taken out of its text. What it wraps
// is still found.
func (r *Redactor) Error(err error) error {
	if err == nil {
		return nil
	}
	return redacted{err, r}
}

type redacted struct {
	error
	by *Redactor
}

func (e redacted) Error() string { return e.by.Text(e.error.Error()) }
func (e redacted) Unwrap() error { return e.error }

// secretParts are what the name of a secret has among its words.
var secretParts = []string{
	"password", "passwd", "passphrase", "pass", "pwd", "pw", "secret", "token", "apikey", "key", "auth", "authorization",
	"credential", "credentials", "cred", "creds", "private", "salt", "cookie", "signature", "dsn", "bearer", "pat",
}

// secretEnds are the same, run together with what stands before them.
var secretEnds = []string{"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "credential", "credentials"}

// openEnds are last words of a name that make it a place, a count or a kind.
var openEnds = []string{
	"file", "path", "dir", "folder", "name", "id", "length", "size", "ttl", "timeout", "count", "source", "mechanism", "type",
	"url", "uri", "host", "port", "min", "max", "mode", "method", "realm", "expiry", "algorithm",
}

// secretName reports whether what has this name is a secret: a variable, a flag
// or an option of a URI.
func secretName(name string) bool {
	parts := nameParts(name)
	if len(parts) == 0 {
		return false
	}
	last := parts[len(parts)-1]
	if slices.Contains(openEnds, last) {
		return false
	}
	for _, part := range parts {
		if slices.Contains(secretParts, part) {
			return true
		}
	}
	return slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(last, end) })
}

// strongName reports whether a name is a secret's in prose too, where "key" and
// "auth" are words like others.
func strongName(name string) bool {
	parts := nameParts(name)
	return secretName(name) && slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(strings.Join(parts, ""), end) })
}

// nameParts are the words of a name, in lower case: of API_KEY, --api-key and
// apiKey they are api and key.
func nameParts(name string) []string {
	var (
		parts []string
		part  strings.Builder
		lower bool
	)
	end := func() {
		if part.Len() > 0 {
			parts = append(parts, part.String())
			part.Reset()
		}
	}
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r):
			end()
			lower = false
			continue
		case unicode.IsUpper(r) && lower:
			end()
		}
		lower = unicode.IsLower(r)
		part.WriteRune(unicode.ToLower(r))
	}
	end()
	return parts
}

func nameRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
}
