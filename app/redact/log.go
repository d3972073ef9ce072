package redact

import "log/slog"

// Attr takes the secrets out of an attribute of a log, its message too: it is
// what [slog.HandlerOptions] calls ReplaceAttr.
func (r *Redactor) Attr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(r.Text(v))
	case error:
		a.Value = slog.StringValue(r.Text(v.Error()))
	}
	return a
}
