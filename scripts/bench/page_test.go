package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func somePage(b *bench) *page {
	p := newPage(measurement{name: "test", short: "whether it is shown"}, b)
	p.table([][]string{{"step", "ratio"}, {"1", "1.04 (0.98–1.10)"}, {"", "0.5"}})
	return p
}

// A page says by itself when it must not be relied on.
func TestPageOfABusyMachine(t *testing.T) {
	b, _ := scripted(t)
	p := somePage(b)
	if text := p.String(); strings.Contains(text, "not idle") {
		t.Errorf("a quiet machine is called busy:\n%s", text)
	}
	p.share = 0.4
	p.want("p99", "≤ 1.2", "3", false)
	if text := p.String(); !strings.Contains(text, "**missed**, on a busy machine") {
		t.Errorf("the verdict hides that the machine was busy:\n%s", text)
	}
	if text := p.String(); !strings.Contains(text, "took 40 % of it") {
		t.Errorf("a busy machine is not named:\n%s", text)
	}
}

func TestPageShowsItsTargets(t *testing.T) {
	b, _ := scripted(t)
	p := somePage(b)
	p.want("throughput", "≥ 0.9", "0.95", true)
	p.want("p99", "≤ 1.2", "3", false)
	p.want("p50", "≤ 1.2", "2", false)
	text := p.String()
	for _, want := range []string{"| throughput | ≥ 0.9  | 0.95     | reached    |", "| p99        | ≤ 1.2  | 3        | **missed** |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	if p.missed() != 2 {
		t.Errorf("%d targets missed, want 2", p.missed())
	}
}

// Columns line up though characters have several bytes.
func TestTableLinesUp(t *testing.T) {
	got := table([][]string{{"a", "ratio"}, {"1", "÷–"}, {"long", "2"}})
	want := "| a    | ratio |\n| ---- | ----- |\n| 1    | ÷–    |\n| long | 2     |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A quick run, and one of some parts, leave the page of a whole one alone.
func TestOnlyWholeRunWritesItsPage(t *testing.T) {
	b, _ := scripted(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("docs", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, partial := range []bench{{quick: true}, {only: []string{"link"}}} {
		b.quick, b.only = partial.quick, partial.only
		if err := somePage(b).write(b); err != nil {
			t.Fatal(err)
		}
		if pages, _ := filepath.Glob("docs/*"); len(pages) > 0 {
			t.Errorf("a run with quick %v, only %v wrote %q", b.quick, b.only, pages)
		}
	}
	b.quick, b.only = false, nil
	if err := somePage(b).write(b); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile("docs/bench-test.md"); err != nil || !strings.Contains(string(text), "0.98–1.10") {
		t.Errorf("%q, %v: want the page", text, err)
	}
}

func TestOthersAreSeen(t *testing.T) {
	o := watchOthers(t.TempDir())
	if machine().all == 0 {
		t.Skip("this system has no /proc/stat")
	}
	since := o.now()
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; { // work of our own
	}
	ours := o.now().ours - since.ours
	if ours <= 0 {
		t.Error("work of this process is not counted as ours")
	}
	if share := o.since(span{all: since.all, busy: since.busy - 10*time.Second, ours: since.ours}); share == 0 {
		t.Error("ten seconds of others' work are not seen")
	}
}
