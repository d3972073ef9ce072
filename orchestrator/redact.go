package orchestrator

import "regexp"

var (
	uriPassword   = regexp.MustCompile(`(://[^:/?#\s"'@]*):[^\s"']*@`)
	paramPassword = regexp.MustCompile(`(?i)((?:password|secret|session_token|access_token)[a-z_]*[=:])[^&\s"',]+`)
)

// Redact takes passwords out of a text that may quote a URI or a command line.
func Redact(s string) string { return redact(s) }

// redact takes passwords out of a text that may quote a URI or a command line.
func redact(s string) string {
	s = uriPassword.ReplaceAllString(s, "$1:xxxxx@")
	return paramPassword.ReplaceAllString(s, "${1}xxxxx")
}
