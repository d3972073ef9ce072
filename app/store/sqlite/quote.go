package sqlite

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ident writes a name in SQL, exactly, whatever is in it.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoted writes a text that we made, without zero bytes, in SQL.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// literal writes a stored value in SQL.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	case string:
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return fmt.Sprintf("CAST(x'%x' AS TEXT)", v)
		}
		return quoted(v)
	case float64:
		return number(v)
	default:
		return fmt.Sprint(v)
	}
}

// number writes a number that is stored as a floating-point one in SQL.
func number(v float64) string {
	switch text := strconv.FormatFloat(v, 'g', -1, 64); {
	case math.IsInf(v, 1):
		return "9e999"
	case math.IsInf(v, -1):
		return "-9e999"
	case strings.ContainsAny(text, ".e"):
		return text
	default:
		return text + ".0" // else it would be another type of value
	}
}

// name is an id as people see and type it: the text itself, if it is one. The
// empty text is written as in SQL, since nobody can type nothing; so is the
// text that this would be mistaken for.
func name(id any) string {
	if s, ok := id.(string); ok && utf8.ValidString(s) && s != "" && s != "''" {
		return s
	}
	return literal(id)
}

// list writes n items, numbered from 1, with a separator between them.
func list(n int, separator string, item func(int) string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = item(i + 1)
	}
	return strings.Join(items, separator)
}
