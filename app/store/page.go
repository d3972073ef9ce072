package store

import "migrate.invalid/migrate/app/record"

// Page is a run of a store's records in the order of their ids.
//
// The store alone says whether there are more: a page may hold fewer records
// than were asked for, because one of them is large or because most of what was
// looked at is not meant. Nobody may infer the end from a length. A page that is
// not the end holds at least one record.
type Page struct {
	Records []Record
	Next    record.ID // where the next page begins: after this id; of no meaning at the end
	End     bool      // no record comes after this page
}

// PageOf is the page of a store that has looked for up to limit records and has
// found these: there are no more if it has found fewer.
func PageOf(records []Record, limit int) Page {
	if len(records) < limit {
		return Page{Records: records, End: true}
	}
	return Page{Records: records, Next: records[len(records)-1].ID}
}
