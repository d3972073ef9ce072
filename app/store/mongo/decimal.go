package mongo

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
)

// maxDigits is how many digits a Decimal128 has.
const maxDigits = 34

// encodeDecimal returns a Decimal128 with the very digits and the scale of a
// canonical decimal text.
func encodeDecimal(text string, can limits) (any, error) {
	if !can.decimal {
		return nil, errors.New("the embedded server can't hold a Decimal128; a real MongoDB can, or declare as: text")
	}
	digits := strings.TrimLeft(strings.ReplaceAll(strings.TrimPrefix(text, "-"), ".", ""), "0")
	if len(digits) > maxDigits {
		return nil, fmt.Errorf("the number has %d digits, a Decimal128 has %d; declare as: text", len(digits), maxDigits)
	}
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		return nil, fmt.Errorf("the number does not fit a Decimal128; declare as: text: %w", err)
	}
	if back, err := plainDecimal(d); err != nil || back != text {
		return nil, fmt.Errorf("the number would come back from a Decimal128 as %s; declare as: text", back)
	}
	return d, nil
}

// plainDecimal writes a Decimal128 without an exponent.
func plainDecimal(d bson.Decimal128) (string, error) {
	n, exponent, err := d.BigInt()
	if err != nil {
		return "", err // NaN or an infinity
	}
	digits, sign := n.String(), ""
	if n.Sign() < 0 {
		digits, sign = digits[1:], "-"
	}
	switch {
	case exponent > 0 && n.Sign() != 0:
		digits += strings.Repeat("0", exponent)
	case exponent < 0:
		if short := 1 - exponent - len(digits); short > 0 {
			digits = strings.Repeat("0", short) + digits
		}
		digits = digits[:len(digits)+exponent] + "." + digits[len(digits)+exponent:]
	}
	return sign + digits, nil
}

func decodeDecimal(raw bson.RawValue) (record.Value, error) {
	if raw.Type == bson.TypeString {
		return decodeBy(raw, record.OfDecimal)
	}
	d, ok := raw.Decimal128OK()
	if !ok {
		return record.Value{}, errOtherType
	}
	text, err := plainDecimal(d)
	if err != nil {
		return record.Value{}, err
	}
	return record.OfDecimal(text)
}
