package main

import (
	"cmp"

	"migrate.invalid/migrate/app/driver"
)

// newRemedy says what helps against an error of the new database.
func newRemedy(text, uri string) string { return cmp.Or(knownRemedy(text, uri), startNew(uri)) }

// knownRemedy goes by an error's text, which is all that an instance tells of
// it; empty if nothing particular helps.
func knownRemedy(text, uri string) string {
	d, err := driver.OfNew(uri)
	if err != nil {
		return ""
	}
	return d.Remedy(text)
}
