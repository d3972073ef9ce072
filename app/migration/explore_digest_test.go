package migration

import (
	"errors"
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// mix folds a number into a digest (the finalizer of splitmix64).
func mix(h, v uint64) uint64 {
	h = (h ^ v) + 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

func mixString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h, uint64(len(s)))
}

func digestRecord(r store.Record) uint64 {
	h := mix(uint64(r.Rev), uint64(r.Epoch))
	if r.Deleted {
		h = mix(h, 2)
	}
	if r.Pending {
		h = mix(h, 3)
	}
	if r.Unfit != "" {
		h = mix(h, 4)
	}
	return mixString(mixString(mixString(h, string(r.ID)), r.Request), string(r.Body))
}

// digest is of what a store answered.
func digest(v any) uint64 {
	switch v := v.(type) {
	case answer:
		return mix(digest(v.recs), digest(v.fence))
	case page:
		return mix(digest(v.recs), digest(v.fence))
	case map[record.ID]store.Record:
		var h uint64 // whatever the order
		for _, r := range v {
			h += digestRecord(r)
		}
		return mix(h, uint64(len(v)))
	case recordPage:
		h := mixString(digest(v.Records), string(v.Next))
		if v.End {
			h = mix(h, 4)
		}
		return h
	case []store.Record:
		h := uint64(len(v))
		for _, r := range v {
			h = mix(h, digestRecord(r))
		}
		return h
	case store.Fence:
		h := mixString(mixString(uint64(v.Epoch), string(v.Primary)), v.Token)
		if v.Closing {
			h = mix(h, uint64(v.Deadline.Unix()))
		}
		return h
	case store.Mirror:
		return mixString(uint64(v.Epoch), string(v.Primary))
	case []store.Registration:
		h := uint64(len(v))
		for _, r := range v {
			h = mixString(h, r.Instance)
		}
		return h
	case store.Progress:
		h := mixString(uint64(v.Epoch), string(v.After))
		if v.Complete {
			h++
		}
		return h
	case nothing:
		return 0
	}
	return mixString(1, fmt.Sprint(v))
}

func (s *scene) digestOld() uint64 {
	ctx := background
	page, fence, _ := s.old.Scan(ctx, "", 100)
	return mix(digest(page.Records), digest(fence))
}

func (s *scene) digestNew() uint64 {
	ctx := background
	page, _ := s.new.Scan(ctx, "", 100)
	mirror, _ := s.new.Mirror(ctx)
	regs, _ := s.new.Registrations(ctx)
	h := mix(mix(digest(page.Records), digest(mirror)), digest(regs))
	for epoch := range mirror.Epoch + 3 {
		p, _ := s.new.Progress(ctx, epoch)
		h = mix(h, digest(p))
	}
	return h
}

// kind tells errors apart as far as the shipped code does.
func kind(err error) uint64 {
	for i, known := range []error{nil, store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrStranger, store.ErrRule, store.ErrUnfit} {
		if err == known || known != nil && errors.Is(err, known) {
			return uint64(i)
		}
	}
	return 99
}

// show writes what a story needs to know of arguments and answers.
func show(v any) string {
	switch v := v.(type) {
	case nil, nothing:
		return ""
	case answer:
		return show(v.recs) + " " + show(v.fence)
	case page:
		return show(v.recs) + " " + show(v.fence)
	case recordPage:
		if v.End {
			return show(v.Records) + ", the end"
		}
		return show(v.Records) + ", more after " + v.Next.String()
	case store.Record:
		flags := ""
		if v.Deleted {
			flags += " deleted"
		}
		if v.Pending {
			flags += " pending"
		}
		return fmt.Sprintf("%s%v %q%s", v.ID, v.Pair, v.Request, flags)
	case map[record.ID]store.Record:
		var parts []string
		for _, id := range union(v, nil) {
			parts = append(parts, show(v[id]))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []store.Record:
		var parts []string
		for _, r := range v {
			parts = append(parts, show(r))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case store.Fence:
		state := "open"
		if v.Closing {
			state = "closing"
		}
		return fmt.Sprintf("fence(%d %s %s)", v.Epoch, v.Primary, state)
	case store.Mirror:
		return fmt.Sprintf("mirror(%d %s)", v.Epoch, v.Primary)
	case []store.Registration:
		var parts []string
		for _, r := range v {
			parts = append(parts, r.Instance)
		}
		return "registered[" + strings.Join(parts, " ") + "]"
	case store.Progress:
		return fmt.Sprintf("progress(%d after %q complete %t)", v.Epoch, v.After, v.Complete)
	case swap:
		return fmt.Sprintf("%s over %v", show(v.rec), v.expect)
	}
	return fmt.Sprint(v)
}

func outcome(v any, err error, how manner) string {
	said := "ok " + show(v)
	if err != nil {
		said = err.Error()
	}
	switch how {
	case unknown:
		said += " (it took effect)"
	case late:
		said += " (it will take effect later)"
	}
	return said
}
