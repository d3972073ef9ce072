package migration

import (
	"context"
	"slices"
)

// try sends old what it lacks, as the way back would, and counts apart what it
// can't hold. Of very many only the first are tried.
func (v *verifier) try(ctx context.Context) error {
	if len(v.lacking) == 0 {
		return nil
	}
	var refused refusals
	out := &outflow{old: v.old, new: v.new, refused: &refused, now: v.opt.Now(), note: func(error) {}}
	for run := range slices.Chunk(v.lacking, v.opt.Batch) {
		if err := out.send(ctx, v.fence.Epoch, run); err != nil {
			return err
		}
	}
	if err := out.end(ctx, v.fence.Epoch); err != nil {
		return err
	}
	for _, rec := range v.lacking {
		f, ok := refused.of(rec)
		if !ok {
			continue
		}
		name := rec.ID.Collection()
		counts := v.rep.Collections[name]
		counts.Behind--
		v.rep.Collections[name] = counts
		v.rep.Behind--
		v.tally(rec.ID, FoundRefused)
		if len(v.rep.Samples) < v.opt.Samples {
			v.rep.Samples = append(v.rep.Samples, Mismatch{Collection: name, ID: rec.ID, Finding: FoundRefused, New: rec.Pair, Rule: f.rule})
		}
	}
	return nil
}
