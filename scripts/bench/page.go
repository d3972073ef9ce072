package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// page is the result of a measurement, in Markdown that a terminal shows well,
// too.
type page struct {
	measurement
	began   time.Time
	share   float64 // of the machine, that other programs took
	body    strings.Builder
	targets []target
	remarks []string
	facts   [][]string
}

// target is what a measurement is wanted to show.
type target struct {
	what   string
	wanted string
	got    string
	met    bool
}

func newPage(m measurement, b *bench) *page {
	return &page{measurement: m, began: time.Now(), facts: [][]string{
		{"machine", machineName()},
		{"system", output("uname", "-sr")},
		{"Go", runtime.Version()},
		{"nginx", strings.TrimPrefix(output("nginx", "-v"), "nginx version: ")},
		{"new database", "the embedded server of each build"},
		{"baseline", b.baseline.commit},
		{"present", b.present.commit},
		{"command", command(m, b)},
	}}
}

func command(m measurement, b *bench) string {
	words := []string{"scripts/bench.sh", m.name}
	if b.quick {
		words = append(words, "--quick")
	}
	if len(b.only) > 0 {
		words = append(words, "--only "+strings.Join(b.only, ","))
	}
	if b.pairs > 0 {
		words = append(words, fmt.Sprintf("--pairs %d", b.pairs))
	}
	return "`" + strings.Join(words, " ") + "`"
}

// text adds a paragraph.
func (p *page) text(format string, args ...any) {
	fmt.Fprintf(&p.body, "\n"+format+"\n", args...)
}

// heading begins a part of the page.
func (p *page) heading(title string) { p.text("## %s", title) }

// quote adds what a program printed.
func (p *page) quote(text string) { p.text("```\n%s\n```", strings.TrimSpace(text)) }

// table adds a table. The first row is its head. Columns that hold figures
// stand at the right.
func (p *page) table(rows [][]string) {
	p.body.WriteString("\n" + table(rows))
}

// want notes a target, and whether it was met.
func (p *page) want(what, wanted, got string, met bool) {
	p.targets = append(p.targets, target{what, wanted, got, met})
}

func (p *page) missed() (n int) {
	for _, t := range p.targets {
		if !t.met {
			n++
		}
	}
	return n
}

// judge says of a comparison what a reader must know before he believes it.
func (p *page) judge(what string, c *comparison) {
	if c.disturbed {
		p.remarks = append(p.remarks, fmt.Sprintf("%s: other programs disturbed so many pairs that the disturbed ones count, too.", what))
	}
	if c.unsteady {
		p.remarks = append(p.remarks, fmt.Sprintf("%s: the ratios are still spread widely after %d pairs.", what, len(c.base)))
	}
}

// finish notes how busy the machine was meanwhile.
func (p *page) finish(b *bench) {
	p.share = b.load.since(b.load.began)
	p.facts = append(p.facts,
		[]string{"when", fmt.Sprintf("%s, %v long", p.began.UTC().Format("2006-01-02 15:04 UTC"), time.Since(p.began).Round(time.Second))},
		[]string{"other programs", fmt.Sprintf("took %.0f %% of the machine", 100*p.share)})
}

func (p *page) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Benchmark: %s\n\n%s.\n", p.name, upper(p.short))
	if p.share > tooMuch {
		fmt.Fprintf(&s, "\n**The machine was not idle: other programs took %.0f %% of it. Measure again before you rely on these figures.**\n", 100*p.share)
	}
	if len(p.targets) > 0 {
		rows := [][]string{{"target", "wanted", "measured", ""}}
		for _, t := range p.targets {
			verdict := "**missed**"
			if t.met {
				verdict = "reached"
			}
			if p.share > tooMuch {
				verdict += ", on a busy machine"
			}
			rows = append(rows, []string{t.what, t.wanted, t.got, verdict})
		}
		fmt.Fprintf(&s, "\n%s", table(rows))
	}
	s.WriteString(p.body.String())
	for _, r := range p.remarks {
		fmt.Fprintf(&s, "\n- %s", r)
	}
	if len(p.remarks) > 0 {
		s.WriteString("\n")
	}
	fmt.Fprintf(&s, "\n## How it was measured\n\nThe two builds take turns on one machine: A B, B A, A B. Each pair of turns gives one ratio. Shown is\n"+
		"the median of the ratios, with their quartiles in brackets. A pair during which other programs took more\n"+
		"than %.0f %% of the machine is put aside and measured again. While the quartiles of a deciding ratio are more\n"+
		"than %.0f %% of it apart, more pairs are made, up to twice the number. A quick run measures nothing again.\n\n%s", 100*tooMuch, 100*wide, table(append([][]string{{"", ""}}, p.facts...)))
	return s.String()
}

// write writes the page to its file, and names it.
func (p *page) write(b *bench) error {
	path := b.page
	if path == "" {
		if b.quick || len(b.only) > 0 {
			b.say("a run that is quick, or of some parts alone, writes no page; --page names a file for one")
			return nil
		}
		path = filepath.Join("docs", "bench-"+p.name+".md")
	}
	if err := os.WriteFile(path, []byte(p.String()), 0o644); err != nil {
		return err
	}
	b.say("wrote %s", path)
	return nil
}

// table renders Markdown with columns that line up in a terminal.
func table(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for n, cell := range row {
			width[n] = max(width[n], utf8.RuneCountInString(cell))
		}
	}
	var s strings.Builder
	line := func(row []string, filler string) {
		for n := range width {
			cell := ""
			if n < len(row) {
				cell = row[n]
			}
			fmt.Fprintf(&s, "| %s%s ", cell, strings.Repeat(filler, width[n]-utf8.RuneCountInString(cell)))
		}
		s.WriteString("|\n")
	}
	line(rows[0], " ")
	line(nil, "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	return s.String()
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// output is what a program prints, or that it is not there.
func output(program string, args ...string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		path = filepath.Join("/usr/sbin", program) // where Debian puts servers
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func machineName() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(text) {
			if name, value, _ := strings.Cut(string(line), ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s", model, runtime.NumCPU(), runtime.GOARCH)
}
