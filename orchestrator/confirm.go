package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// confirm asks through the proxy's own port until it serves the instance's port
// and, if the instance names itself, that instance answers.
func (s *switching) confirm(ctx context.Context, i Instance) error {
	port := i.Port
	var last error // why not, before the time was over
	for {
		live, _, err := s.o.cfg.Traffic.Served(ctx)
		if err == nil && live != port {
			err = fmt.Errorf("the proxy serves port %d", live)
		}
		if path := i.configPath(); err == nil && i.ID != "" && path != NoConfig {
			var f face
			f, _, err = readFace(ctx, strings.TrimSuffix(s.o.cfg.Traffic.URL(), "/")+path)
			switch {
			case err == nil && f.Instance != i.ID:
				err = fmt.Errorf("the proxy is answered by instance %q, not %q", f.Instance, i.ID)
			case i.isOwn():
				err = nil // it need not answer there
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !sleep(ctx, confirmPoll) {
			return fmt.Errorf("traffic on port %d could not be confirmed: %w", port, last)
		}
	}
}

// putBack returns traffic to where it was and makes sure of that. When even
// that can't be confirmed, the next command looks again.
func (s *switching) putBack(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.moveWait())
	defer cancel()
	err := s.phase(phasePutBack, cause.Error())
	if err == nil {
		err = s.moveTraffic(ctx, s.result.Previous)
	}
	if err == nil {
		was := Instance{Port: s.result.Previous}
		if s.view.running {
			was = *s.view.active
		}
		err = s.confirm(ctx, was)
	}
	if err != nil {
		return problem(fmt.Errorf("%w: %w; putting traffic back on port %d: %w", errOpen, cause, s.result.Previous, err),
			"where traffic goes is not certain; the next command looks again", "migrate status")
	}
	err = fmt.Errorf("%w: %w", ErrPutBack, cause)
	return errors.Join(problem(err, s.view.where(), "migrate status; see "+s.next.Log), s.end(phaseFailed, "", err))
}
