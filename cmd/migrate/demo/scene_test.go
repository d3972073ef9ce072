package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/orchestrator"
)

// stage is a scene, its clock and its load.
type stage struct {
	*Scene
	figures load.Figures
}

func newStage() *stage {
	return &stage{Scene: NewScene(), figures: load.Figures{Kinds: map[string]int64{}}}
}

func (s *stage) after(d time.Duration) time.Time { return s.start.Add(d) }

func (s *stage) load(at time.Duration) {
	s.loaded(s.after(at), func() load.Figures {
		f := s.figures
		f.Kinds = map[string]int64{}
		for kind, n := range s.figures.Kinds {
			f.Kinds[kind] = n
		}
		return f
	})
}

func (s *stage) event(at time.Duration, phase string, port int) {
	s.Event(orchestrator.Event{Time: s.after(at), Phase: phase, Port: port})
}

// Each beat has its requests, and a cut-over is marked in the one it was in.
func TestSceneBeats(t *testing.T) {
	s := newStage()
	s.enter(1)
	s.event(0, "moved", 8000) // before the load
	s.load(time.Second)
	s.figures.Requests = 5
	s.frame(s.after(1100 * time.Millisecond))
	s.figures.Requests = 8
	s.frame(s.after(1400 * time.Millisecond))
	s.enter(2)
	s.event(1600*time.Millisecond, "moved", 8001)
	s.figures.Requests, s.figures.Failed = 18, 1
	s.frame(s.after(1700 * time.Millisecond))
	f := s.frame(s.after(2 * time.Second))
	want := []Beat{{Requests: 13}, {Requests: 5, CutOver: 2, Failed: true}} // nobody looked at the turn: they share
	if diff := cmp.Diff(want, f.Beats); diff != "" {
		t.Error(diff)
	}
	if f.Serving != 2 || f.Port != 8001 {
		t.Errorf("step %d on %d is served, want step 2 on 8001", f.Serving, f.Port)
	}
	// This program was held up: what happened meanwhile was no gap.
	s.figures.Requests = 48
	f = s.frame(s.after(3400 * time.Millisecond))
	if want := []float64{10, 10}; len(f.Beats) != 4 || f.Beats[2].Requests != want[0] || f.Beats[3].Requests != want[1] {
		t.Errorf("%v, want two beats of 10 more", f.Beats)
	}
	s.unloaded(s.after(3500 * time.Millisecond))
	if f := s.frame(s.after(3600 * time.Millisecond)); f.Beats != nil || f.Load.Requests != 48 {
		t.Errorf("after the load: %v, %d requests", f.Beats, f.Load.Requests)
	}
}

// A fault is told with the step and the time it was first seen at.
func TestSceneFaults(t *testing.T) {
	s := newStage()
	s.load(0)
	s.enter(5)
	s.figures.Kinds["status 503 unavailable"], s.figures.Failed = 1, 1
	s.frame(s.after(14200 * time.Millisecond))
	s.figures.Kinds["status 503 unavailable"], s.figures.Failed = 2, 2
	s.frame(s.after(15 * time.Second))
	s.enter(6)
	s.figures.Kinds["status 503 unavailable"], s.figures.Kinds["closed"], s.figures.Failed, s.figures.Lost = 3, 1, 4, 1
	s.unloaded(s.after(17 * time.Second))
	var out strings.Builder
	d := &demo{Config: Config{Out: &out}, res: Result{Faults: s.faults}}
	d.found(load.Report{Lost: 2})
	d.faults()
	want := "lost 3: ×1 (step 6, 17.0 s), ×2 (when all was read back)\n" +
		"failed 4: status 503 unavailable ×2 (step 5, 14.2 s), closed ×1 (step 6, 17.0 s), status 503 unavailable ×1 (step 6, 17.0 s)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// What the orchestrator does is told in words, and since when.
func TestSceneEvents(t *testing.T) {
	s := newStage()
	s.enter(4)
	s.event(0, "moved", 8003)
	s.enter(5)
	var got []string
	for n, phase := range []string{"intent", "retire", "starting", "started", "ready", "done", "probe", "move", "confirm", "moved", "advance", "drain", "fallback"} {
		s.event(time.Duration(n)*time.Second, phase, 8004)
		f := s.frame(s.after(time.Duration(n)*time.Second + 500*time.Millisecond))
		if line := fmt.Sprintf("%s %v", f.Doing, f.For); f.Doing != "" {
			got = append(got, line)
		}
	}
	want := []string{
		"ending the instance that stood by 500ms",
		"spawning on 8004 500ms",
		"waiting until 8004 is ready 500ms",
		"waiting until 8004 is ready 1.5s",
		"waiting until 8004 is ready 2.5s",
		"probing 8004 500ms",
		"switching traffic to 8004 500ms",
		"switching traffic to 8004 1.5s",
		"switching traffic to 8004 2.5s",
		"making the new database primary 500ms",
		"draining 8003 500ms",
		"draining 8003 1.5s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s.event(13*time.Second, "starting", 0) // a daemon, which has none
	s.tell("backfill")
	s.far(1200, 0)
	if f := s.frame(s.after(14 * time.Second)); f.Doing+f.Far != "backfill 1,200 of 1,200" {
		t.Errorf("%q", f.Doing+f.Far)
	}
}

// Whoever watches is shown frames, and none after the end.
func TestSceneWatch(t *testing.T) {
	defer goleak.VerifyNone(t)
	shown := make(chan Frame)
	s := NewScene()
	end := s.watch(func(f Frame) { shown <- f })
	s.tell("this")
	for f := range shown {
		if f.Doing == "this" {
			break
		}
	}
	go func() {
		for range shown { // one may be on its way
		}
	}()
	end()
	close(shown)
}

func TestColumnsFitTheTerminal(t *testing.T) {
	for width, want := range map[int]string{
		200: "STEP  PORT PRIMARY REQUESTS FAILED P50 MS P99 MS WORST MS DRAIN MS MOVE MS",
		118: "STEP  PORT PRIMARY REQUESTS FAILED P50 MS P99 MS WORST MS DRAIN MS MOVE MS",
		117: "STEP  PORT PRIMARY REQUESTS FAILED P99 MS WORST MS DRAIN MS MOVE MS",
		80:  "STEP  PORT PRIMARY REQUESTS FAILED P99 MS",
		60:  "STEP PORT PRIMARY REQUESTS FAILED",
		10:  "STEP",
	} {
		columns := fitting(width)
		var titles []string
		for _, c := range columns {
			titles = append(titles, c.title)
		}
		if got := strings.Join(titles, " "); got != want {
			t.Errorf("in %d columns: %s, want %s", width, got, want)
		}
		if wide(columns) > width {
			t.Errorf("%d columns in %d", wide(columns), width)
		}
	}
}
