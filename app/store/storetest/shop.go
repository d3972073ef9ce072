package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/record"
)

// shopCases are about ids and values of every type, and about several
// collections in one store.
func shopCases() []Case[Records] {
	return slices.Concat(shopIDCases(), shopValueCases(), shopFilterCases(), shopCollectionCases())
}

// shop returns the collection of the shop with this name.
func shop(name string) record.Collection {
	c, ok := Shop().Collection(name)
	if !ok {
		panic("storetest: the shop has no " + name)
	}
	return c
}

// The ids of the shop.
func accountID(n byte) record.ID {
	return must(shop(accounts).MakeID(record.OfUUID(uuid.UUID{0: n, 15: 1})))
}

func itemID(n int64) record.ID { return must(shop(items).MakeID(record.OfInt(n))) }

func orderID(place string, n int64) record.ID {
	return must(shop(orders).MakeID(record.UncheckedText(place), record.OfInt(n)))
}

// must is for what can't fail: ids and values of the suite's own.
func must[T any](v T, err error) T {
	if err != nil {
		panic("storetest: " + err.Error())
	}
	return v
}

// values are those of a body, by the names of their fields; NULL where none is.
type values map[string]record.Value

// of returns a live record of a shop's collection.
func (v values) of(id record.ID, rev, epoch int64) Record {
	var body []record.Value
	for _, f := range shop(id.Collection()).Body() {
		given := v[f.Name]
		if given.IsNull() && f.NotNull {
			given = record.OfBool(false) // the shop's only fields without NULL
		}
		body = append(body, given)
	}
	return Record{ID: id, Pair: pair(rev, epoch), Request: fmt.Sprint("made at ", rev), Body: record.NewBody(body...)}
}

// gone is the tombstone of a record.
func gone(r Record, rev, epoch int64) Record {
	r.Pair, r.Deleted, r.Pending, r.Body = pair(rev, epoch), true, false, ""
	return r
}

// edges are values of each type that a database is likely to change: the reader
// of the suite adds to them.
func edges(f record.Field) []record.Value {
	parse := func(texts ...string) (all []record.Value) {
		for _, text := range texts {
			all = append(all, must(record.Parse(f.Type, text)))
		}
		return all
	}
	switch f.Type {
	case record.Text:
		return parse("", " ", "a", "A", "é", "e\u0301", "\U0010FFFF", "\uFEFF", "a\x00b", "\x00", "0", "1.0", "NULL", "null", "trailing  ", "\n", "'", `"`, `\`, "$a", "{}", "true", strings.Repeat("long", 5_000))
	case record.Raw:
		return parse("", "1 day", "[1,5)", "{1,2}", "10.0.0.0/8", "$1.00", "a\x00b", "1.0", "01")
	case record.Int:
		return parse("0", "-1", "1", "2147483647", "2147483648", "-2147483649", "9007199254740993", "9223372036854775807", "-9223372036854775808")
	case record.Float:
		return []record.Value{
			record.OfFloat(0), record.OfFloat(math.Copysign(0, -1)), record.OfFloat(1), record.OfFloat(0.1), record.OfFloat(-1e300), record.OfFloat(math.SmallestNonzeroFloat64),
			record.OfFloat(math.MaxFloat64), record.OfFloat(1 << 53), record.OfFloat(1e15), record.OfFloat(1e21), record.OfFloat(math.NaN()), record.OfFloat(math.Inf(1)), record.OfFloat(math.Inf(-1)),
		}
	case record.Decimal:
		return parse("0", "1", "1.0", "1.00", "-0.1", "0.10", "10", "100", "0.000000001", "12345678901234567.89", "9007199254740993", "1234567890123456789012345678901234",
			"12345678901234567890123456789012345", "0.1234567890123456789012345678901234", "-"+strings.Repeat("9", 60)+"."+strings.Repeat("1", 60))
	case record.Bool:
		return parse("true", "false")
	case record.Bytes:
		return parse(`\x`, `\x00`, `\x61`, `\xff00fe`, `\x`+strings.Repeat("00ff", 1_000))
	case record.Timestamp:
		return parse("1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00.001Z", "2026-11-30T12:00:00.000001Z", "2026-11-30T12:00:00.1Z",
			"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1582-10-10T00:00:00Z")
	case record.Date:
		return parse("1970-01-01", "0001-01-01", "9999-12-31", "2024-02-29", "1582-10-10")
	case record.UUID:
		return parse("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "0198c5a2-7d1e-7c3b-8f00-1234567890ab")
	case record.JSON:
		return parse("null", "true", "0", "1.0", "1.50", "-1", `""`, `"text"`, "[]", "{}", `[1,"a",null,[],{}]`, `[[1],[2]]`, `{"a":{"b":[{"c":null}]}}`, `{"b":1,"a":2}`,
			"9007199254740993", "9223372036854775807", "9223372036854775808", "0.1", "1e400", "123456789012345678901234567890123456", `{"$set":1}`, `{"a.b":1}`, `{"":1}`, `"a\u0000b"`, `{"a\u0000b":1}`,
			`"<&>\u2028é😀"`, `{"_id":1,"_migrate":2}`, strings.Repeat("[", 200)+strings.Repeat("]", 200))
	}
	return nil
}

// plain are values of each type that a database which has the type at all holds,
// two of each.
func plain(f record.Field) []record.Value {
	parse := func(texts ...string) (all []record.Value) {
		for _, text := range texts {
			all = append(all, must(record.Parse(f.Type, text)))
		}
		return all
	}
	switch f.Type {
	case record.Text, record.Raw:
		return parse("some", "other")
	case record.Int:
		return parse("7", "-8")
	case record.Float:
		return parse("7.5", "-8.25")
	case record.Decimal:
		return parse("7.50", "-8")
	case record.Bool:
		return parse("true", "false")
	case record.Bytes:
		return parse(`\x0102`, `\xff`)
	case record.Timestamp:
		return []record.Value{must(record.OfTime(time.UnixMilli(1_900_000_000_123))), must(record.OfTime(time.UnixMilli(1_800_000_000_000)))}
	case record.Date:
		return parse("2026-11-30", "1999-01-01")
	case record.UUID:
		return parse("0198c5a2-7d1e-7c3b-8f00-1234567890ab", "0198c5a2-7d1e-7c3b-8f00-1234567890ac")
	}
	return parse(`{"a":[1,"b",null,true]}`, `[]`)
}
