package orchestrator

import "regexp"

var (
	uriPassword   = regexp.MustCompile(`(://[^:/?#\s"'@]*):[^\s"']*@`)
	paramPassword = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api_?key)[a-z_]*[=:])[^&\s"',]+`)
	flagPassword  = regexp.MustCompile(`(?i)^--?[a-z_-]*(?:password|passwd|secret|token|api[_-]?key)[a-z_-]*$`)
)

// hidden stands for what was taken out.
const hidden = "xxxxx"

// redactWords takes passwords out of a command line, those in a word of their
// own behind a flag too.
func redactWords(words []string) []string {
	all := make([]string, len(words))
	for n, word := range words {
		all[n] = redact(word)
		if n > 0 && flagPassword.MatchString(words[n-1]) {
			all[n] = hidden
		}
	}
	return all
}

// Redact takes passwords out of a text that may quote a URI or a command line.
func Redact(s string) string { return redact(s) }

// redact takes passwords out of a text that may quote a URI or a command line.
func redact(s string) string {
	s = uriPassword.ReplaceAllString(s, "$1:"+hidden+"@")
	return paramPassword.ReplaceAllString(s, "${1}"+hidden)
}
