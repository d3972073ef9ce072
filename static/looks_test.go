package static_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/static/browsertest"
)

// Each page in each of its states, light and dark, at 320 pixels and wide:
// nothing is cut off or needs sideways scrolling, and all text has its
// contrast. With MIGRATE_SCREENSHOTS set to a folder the pictures go there.
func TestLooks(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.WriteBoth), browsertest.New(t)
	g := gallery{t: t, tab: tab, dir: os.Getenv("MIGRATE_SCREENSHOTS")}
	tab.Open(s.url)
	tab.Text("#panel h2", "write to both")
	tab.Text("#blank", "Nothing to do for Bill")
	g.show("tasks-empty")

	s.create("Bill", "Buy milk, bread and whatever looks good at the market", "Call the landlord about the boiler",
		"Read the whole of https://example.org/a/very/long/path/without/any/place/to/break/a/line/in/it.html", "Büro aufräumen – endlich")
	s.serve(migration.ReadBoth, 8004)
	tab.Click("#filter button")
	tab.Text("#count", "4 tasks")
	tab.Text("#panel h2", "read from both")
	g.show("tasks-changed")
	fill(tab, "#new input", "Water the plants")
	tab.Click("#new button")
	tab.Text("#message", "Added for Bill")
	tab.Wait(`!document.querySelector(".flashing, .changed")`)
	g.show("tasks")
	s.disturb(s.unknown("POST"))
	fill(tab, "#new input", "Pay the rent")
	tab.Click("#new button")
	tab.Text("#message", "may or may not have been saved")
	g.show("tasks-unknown")
	s.disturb(cut("", ""))
	tab.Click("#filter button")
	tab.Text("#message", "can't be read")
	tab.Text("#panel h2", "no answer")
	g.show("tasks-unreachable")

	s.disturb(nil)
	tab.Open(s.url + "/static/taskProducer.html")
	tab.Text("#panel h2", "read from both")
	g.show("producer-idle")
	tab.Click("#run")
	tab.Wait(bill + `.querySelector(".count").textContent >= 6`)
	s.serve(migration.ReadBoth, 8014)
	tab.Text("#cuts li", "8014")
	s.serve(migration.WriteBoth, 8013)
	tab.Text("#cuts li", "step 4 → 3")
	tab.Wait(`!document.querySelector(".flashing, .changed")`)
	tab.Wait(bill + `.querySelector(".count").textContent >= 4`)
	g.show("producer")
	s.disturb(refuse("PUT", "/tasks"))
	tab.Wait(bill + `.dataset.state === "bad"`)
	g.show("producer-failing")

	// Would it be noticed?
	for rule, where := range map[string]string{
		".quiet { color: color-mix(in srgb, var(--ink) 40%, var(--surface)) !important }": "contrast",
		".card { min-width: 400px }":                      "sideways",
		"#panel h2 { white-space: nowrap; width: 60rem }": "cut off",
	} {
		tab.As(browsertest.Look{Width: 320, Height: 700, Still: true})
		browsertest.Eval[int](tab, fmt.Sprintf(`document.styleSheets[0].insertRule(%q, document.styleSheets[0].cssRules.length)`, rule))
		if len(browsertest.Eval[[]string](tab, audit)) == 0 {
			t.Errorf("%s: nothing wrong was found with %s", where, rule)
		}
		browsertest.Eval[bool](tab, `(document.styleSheets[0].deleteRule(document.styleSheets[0].cssRules.length - 1), true)`)
	}
}

// gallery shows a page in each way that people see it.
type gallery struct {
	t   *testing.T
	tab *browsertest.Tab
	dir string
}

func (g gallery) show(name string) {
	g.t.Helper()
	for suffix, look := range map[string]browsertest.Look{
		"wide-light":   {Width: 1200, Height: 760},
		"wide-dark":    {Width: 1200, Height: 760, Dark: true},
		"narrow-light": {Width: 320, Height: 640},
		"narrow-dark":  {Width: 320, Height: 640, Dark: true},
	} {
		look.Still = true
		g.tab.As(look)
		for _, problem := range browsertest.Eval[[]string](g.tab, audit) {
			g.t.Errorf("%s, %s: %s", name, suffix, problem)
		}
		if g.dir != "" {
			g.tab.Photograph(filepath.Join(g.dir, name+"-"+suffix))
		}
	}
	g.tab.As(browsertest.Look{Width: 1200, Height: 760, Still: true})
}

// audit lists what is wrong with the page as it is drawn now.
const audit = `(() => {
	const problems = [];
	const root = document.documentElement;
	if (root.scrollWidth > root.clientWidth) problems.push("it scrolls sideways: " + root.scrollWidth + " > " + root.clientWidth);
	for (const node of document.querySelectorAll("body *:not(.unseen, input, svg *)"))
		if (getComputedStyle(node).overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1)
			problems.push("cut off: <" + node.tagName + "> " + node.className);

	const rgba = (text) => {
		const n = text.match(/[\d.]+(e-?\d+)?/g).map(Number);
		return text.startsWith("color(srgb") ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
	};
	const over = (front, back) => [0, 1, 2].map((i) => front[i] * front[3] + back[i] * (1 - front[3])).concat(1);
	const backOf = (node) => {
		if (!node) return [255, 255, 255, 1];
		const own = rgba(getComputedStyle(node).backgroundColor);
		return own[3] === 1 ? own : over(own, backOf(node.parentElement));
	};
	const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
		const v = c[i] / 255;
		return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	}, 0);
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let text; (text = walker.nextNode()); ) {
		const node = text.parentElement;
		if (!text.data.trim() || !node.checkVisibility() || node.closest(".unseen, noscript")) continue;
		let opacity = 1;
		for (let up = node; up; up = up.parentElement) opacity *= getComputedStyle(up).opacity;
		const back = backOf(node), own = rgba(getComputedStyle(node).color);
		const [a, b] = [luminance(over([...own.slice(0, 3), own[3] * opacity], back)), luminance(back)];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) problems.push("contrast " + ratio.toFixed(2) + ": " + text.data.trim().slice(0, 40));
	}
	return problems;
})()`
