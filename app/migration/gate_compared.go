package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// gateCompared wants to know that new answers as old does, before it decides: for
// each collection that holds records.
func (s *Service) gateCompared(ctx context.Context, meta store.NewLook) Gate {
	const remedy = "let the instance at step 4 serve reads for longer, or run: migrate backfill, then migrate verify"
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return gate(GateCompared, "", err, remedy)
	}
	if fence.Primary == store.PrimaryNew {
		return gate(GateCompared, "the new database is primary already", nil, "")
	}
	p, err := meta.Progress(ctx, fence.Epoch)
	if err != nil {
		return gate(GateCompared, "", err, remedy)
	}
	held, err := collections(ctx, s.old)
	if err != nil {
		return gate(GateCompared, "", err, remedy)
	}
	for c := range p.Compared {
		if !slices.Contains(held, c) {
			held = append(held, c)
		}
	}
	slices.Sort(held)
	if len(held) == 0 {
		held = []string{""} // a clean verify, or no record, says enough
	}
	var found, missing []string
	different := false
	for _, c := range held {
		said, enough := s.enough(p, c)
		found = append(found, said)
		if !enough {
			missing = append(missing, said)
		}
		different = different || p.Compared[c].Different > 0
	}
	switch {
	case different:
		return gate(GateCompared, "", errors.New(strings.Join(found, "; ")), "records differ between the databases: run migrate verify and look at each; once they are mended, --force compared passes the reads that were counted before")
	case len(missing) > 0:
		return gate(GateCompared, "", fmt.Errorf("%s; %d wanted", strings.Join(missing, "; "), s.cfg.CompareMin), remedy)
	}
	return gate(GateCompared, strings.Join(found, "; "), nil, "")
}

// enough says what was found out about a collection, and whether that suffices.
func (s *Service) enough(p store.Progress, collection string) (said string, enough bool) {
	c := p.Compared[collection]
	read := c.Equal + c.Different
	said = fmt.Sprintf("%d reads compared, %d different; p99 old %.1f ms, new %.1f ms; %d errors of new",
		read, c.Different, float64(c.OldP99)/1000, float64(c.NewP99)/1000, c.Errors)
	if collection != "" {
		said = collection + ": " + said
	}
	if c.Different > 0 {
		return said, false
	}
	if read >= s.cfg.CompareMin {
		return said, true
	}
	if p.Verify == nil || !p.Verify.Clean {
		return said, false
	}
	v, ok := p.Verify.Collections[collection]
	if !ok && len(p.Verify.Collections) == 0 { // no record was there, or the result has no counts apart
		v = store.VerifyCounts{Equal: p.Verify.Equal, Behind: p.Verify.Behind, Late: p.Verify.Late}
	}
	switch {
	case v.Equal > 0:
		return fmt.Sprintf("%s; a clean verify found %d equal", said, v.Equal), true
	case v.Behind == 0 && v.Late == 0:
		return said + "; there is nothing to compare: a clean verify found no records", true
	}
	return said, false
}

// collections returns the collections of which old holds a record.
func collections(ctx context.Context, old store.Old) ([]string, error) {
	var names []string
	after := record.ID("")
	for {
		page, _, err := old.Scan(ctx, after, 1)
		if err != nil || len(page.Records) == 0 {
			return names, err
		}
		name := page.Records[0].ID.Collection()
		names = append(names, name)
		if after = record.End(name); name == "" {
			return names, nil // ids without a collection: a test's
		}
	}
}
