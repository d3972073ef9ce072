package main

import (
	"cmp"
	"errors"
	"strings"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/orchestrator"
)

// newRemedy says what helps against an error of the new database.
func newRemedy(text, uri string) string { return cmp.Or(knownRemedy(text, uri), startNew(uri)) }

// remediesOf are what helps against what an instance says of its databases.
func remediesOf(text string, d *orchestrator.Databases) (all []string) {
	if d == nil {
		return nil
	}
	ofOld, ofNew := aboutOld(text)
	if help := (app.Databases{Old: d.Old}).OldRemedy(errors.New(ofOld)); help != "" {
		all = append(all, help)
	}
	if help := knownRemedy(ofNew, d.New); help != "" {
		all = append(all, help)
	}
	return all
}

// aboutOld parts what an instance says of the old database from what it says of the
// new one.
func aboutOld(text string) (ofOld, ofNew string) {
	const oldSays, newSays = "old database: ", "new database: "
	for text != "" {
		end := len(text)
		for _, says := range []string{oldSays, newSays} {
			if at := strings.Index(text[1:], says); at >= 0 {
				end = min(end, at+1)
			}
		}
		if strings.HasPrefix(text, oldSays) {
			ofOld += text[:end]
		} else {
			ofNew += text[:end]
		}
		text = text[end:]
	}
	return ofOld, ofNew
}

// knownRemedy goes by an error's text, which is all that an instance tells of
// it; empty if nothing particular helps.
func knownRemedy(text, uri string) string {
	d, err := driver.OfNew(uri)
	if err != nil {
		return ""
	}
	return d.Remedy(text)
}
