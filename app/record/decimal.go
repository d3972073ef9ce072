package record

import (
	"encoding/hex"
	"errors"
	"strings"
)

// decimalFault says why the text is not a canonical decimal, "" if it is one:
// an optional minus sign, digits without a leading zero, an optional point with
// digits. Zero has no minus sign.
func decimalFault(s string) string {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	switch {
	case strings.Trim(whole+fraction, "0123456789") != "" || whole == "" || point && fraction == "":
		return "is not a plain decimal number"
	case len(whole) > 1 && whole[0] == '0':
		return "has a leading zero"
	case negative && strings.Trim(digits, "0.") == "":
		return "is a zero with a minus sign"
	}
	return ""
}

// bytesOf reads the text of Bytes: \x and two hexadecimal digits a byte.
func bytesOf(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, `\x`)
	if !ok {
		return nil, errors.New(`want \x and hexadecimal digits`)
	}
	return hex.DecodeString(digits)
}
