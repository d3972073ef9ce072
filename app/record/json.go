package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a JSON value.
const (
	jsonDigits = 1_000 // of a number, written out
	jsonDepth  = 1_000 // of arrays and objects in one another
)

// canonicalJSON returns the one text of a JSON value: see [OfJSON].
func canonicalJSON(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("is not valid UTF-8")
	}
	if err := loneSurrogate(s); err != nil {
		return "", err
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	b, err := appendJSON(nil, dec, 0)
	if err != nil {
		return "", err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("has text after the JSON value")
	}
	return string(b), nil
}

func appendJSON(b []byte, dec *json.Decoder, depth int) ([]byte, error) {
	if depth > jsonDepth {
		return nil, fmt.Errorf("is nested more than %d deep", jsonDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, errors.New("is not JSON")
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return appendArray(b, dec, depth)
		}
		return appendObject(b, dec, depth)
	case json.Number:
		return appendNumber(b, token.String())
	case string:
		return appendString(b, token), nil
	case bool:
		return strconv.AppendBool(b, token), nil
	}
	return append(b, "null"...), nil
}

func appendArray(b []byte, dec *json.Decoder, depth int) ([]byte, error) {
	b = append(b, '[')
	var err error
	for n := 0; dec.More(); n++ {
		if n > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("is not JSON")
	}
	return append(b, ']'), nil
}

func appendObject(b []byte, dec *json.Decoder, depth int) ([]byte, error) {
	type member struct {
		key   string
		value []byte
	}
	var members []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, errors.New("is not JSON")
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("is not JSON")
		}
		value, err := appendJSON(nil, dec, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("is not JSON")
	}
	slices.SortStableFunc(members, func(x, y member) int { return strings.Compare(x.key, y.key) })
	b = append(b, '{')
	for n, m := range members {
		if n > 0 {
			if m.key == members[n-1].key {
				return nil, fmt.Errorf("has the key %q twice", shorten(m.key))
			}
			b = append(b, ',')
		}
		b = append(appendString(b, m.key), ':')
		b = append(b, m.value...)
	}
	return append(b, '}'), nil
}

// appendString writes a JSON string, escaping only what JSON demands.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string that is valid UTF-8 can be encoded
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// appendNumber writes a JSON number as a plain decimal. Its scale is kept: 1.50
// stays 1.50, and 1.5e1 is 15.
func appendNumber(b []byte, s string) ([]byte, error) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > jsonDigits || shift < -jsonDigits {
			return nil, fmt.Errorf("has a number, %s, of more than %d digits", shorten(s), jsonDigits)
		}
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	all, scale := whole+fraction, len(fraction)-shift
	if scale < 0 {
		all, scale = all+strings.Repeat("0", -scale), 0
	}
	if short := scale + 1 - len(all); short > 0 {
		all = strings.Repeat("0", short) + all
	}
	whole, fraction = strings.TrimLeft(all[:len(all)-scale], "0"), all[len(all)-scale:]
	if len(whole)+len(fraction) > jsonDigits {
		return nil, fmt.Errorf("has a number, %s, of more than %d digits", shorten(s), jsonDigits)
	}
	if negative && strings.Trim(all, "0") != "" {
		b = append(b, '-')
	}
	if whole == "" {
		whole = "0"
	}
	b = append(b, whole...)
	if fraction != "" {
		b = append(append(b, '.'), fraction...)
	}
	return b, nil
}

// loneSurrogate refuses an escape such as \ud800 without its other half: it is
// no character, and decoders replace it in silence.
func loneSurrogate(s string) error {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++ // the escaped character
		if s[i] != 'u' {
			continue
		}
		switch half := hexAt(s, i+1); {
		case half >= 0xd800 && half < 0xdc00:
			if low := hexAt(s, i+7); i+6 < len(s) && s[i+5] == '\\' && s[i+6] == 'u' && low >= 0xdc00 && low < 0xe000 {
				i += 6
				continue
			}
			return fmt.Errorf(`has half a character, \u%04x`, half)
		case half >= 0xdc00 && half < 0xe000:
			return fmt.Errorf(`has half a character, \u%04x`, half)
		}
	}
	return nil
}

// hexAt reads four hexadecimal digits; -1 if there are none.
func hexAt(s string, at int) int64 {
	if at+4 > len(s) {
		return -1
	}
	n, err := strconv.ParseUint(s[at:at+4], 16, 16)
	if err != nil {
		return -1
	}
	return int64(n)
}
