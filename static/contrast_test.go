package static_test

import (
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"migrate.invalid/migrate/static"
)

// Every pair of colours that meet, light and dark, has the contrast that WCAG
// 2.2 asks for at level AA: 4.5 for text, 3 for what else must be seen.
func TestContrast(t *testing.T) {
	css := read(t, "style.css")
	for _, problem := range contrast(css) {
		t.Error(problem)
	}
	// Would a colour that is too pale be noticed, or one that is gone?
	for _, name := range []string{"quiet", "step-6", "edge", "on-step"} {
		declared := regexp.MustCompile(`--` + name + `: light-dark\([^)]*\);`)
		if !declared.MatchString(css) {
			t.Errorf("--%s is not declared as expected", name)
		}
		pale := declared.ReplaceAllString(css, `--`+name+`: light-dark(#c8ccd2, #50565f);`)
		if len(contrast(pale)) == 0 {
			t.Errorf("a pale --%s passes", name)
		}
		if len(contrast(declared.ReplaceAllString(css, ""))) == 0 {
			t.Errorf("without --%s it passes", name)
		}
	}
}

func contrast(css string) (problems []string) {
	const text, shape = 4.5, 3
	type pair struct {
		front, back string
		least       float64
	}
	pairs := []pair{
		{"accent", "surface", text}, {"accent", "page", text}, {"on-accent", "accent", text}, {"bad", "surface", text},
		{"ink", "bad-tint", text}, {"ink", "warn-tint", text}, {"ink", "changed", text},
		{"good", "surface", shape}, {"bad", "bad-tint", shape}, {"step-6", "warn-tint", shape}, {"good", "page", shape}, {"bad", "page", shape},
	}
	for _, back := range []string{"page", "surface"} {
		pairs = append(pairs, pair{"ink", back, text}, pair{"quiet", back, text}, pair{"edge", back, shape}, pair{"focus", back, shape})
	}
	for step := range 9 {
		name := fmt.Sprintf("step-%d", step)
		pairs = append(pairs, pair{"on-step", name, text}, pair{name, "surface", shape}, pair{name, "page", shape})
	}
	colours := properties(css)
	for _, p := range pairs {
		front, back := colours[p.front], colours[p.back]
		if len(front) != 2 || len(back) != 2 {
			problems = append(problems, fmt.Sprintf("--%s or --%s is not declared", p.front, p.back))
			continue
		}
		for i, scheme := range []string{"light", "dark"} {
			if got := ratio(front[i], back[i]); got < p.least {
				problems = append(problems, fmt.Sprintf("%s: --%s on --%s has %.2f, at least %.1f wanted", scheme, p.front, p.back, got, p.least))
			}
		}
	}
	return problems
}

// properties returns the luminance of each custom property, light and dark.
func properties(css string) map[string][]float64 {
	declared := regexp.MustCompile(`--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);`)
	colours := map[string][]float64{}
	for _, m := range declared.FindAllStringSubmatch(css, -1) {
		colours[m[1]] = []float64{luminance(m[2]), luminance(m[3])}
	}
	return colours
}

// ratio is WCAG's contrast ratio of two relative luminances.
func ratio(a, b float64) float64 { return (max(a, b) + .05) / (min(a, b) + .05) }

// luminance is WCAG's relative luminance of #rrggbb.
func luminance(hex string) float64 {
	sum := 0.
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return math.NaN()
		}
		c := float64(n) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func TestEachStepHasItsColour(t *testing.T) {
	css := read(t, "style.css")
	if problem := unlike(css); problem != "" {
		t.Error(problem)
	}
	for name, broken := range map[string]string{
		"no rule":         strings.Replace(css, `[data-step="3"] { --step: var(--step-3); }`, "", 1),
		"the same colour": strings.Replace(css, `[data-step="3"] { --step: var(--step-3); }`, `[data-step="3"] { --step: var(--step-2); }`, 1),
	} {
		if unlike(broken) == "" {
			t.Errorf("%s passes", name)
		}
	}
}

// unlike says which step looks like another one.
func unlike(css string) string {
	colours, seen := properties(css), map[float64]int{}
	for step := 1; step <= 8; step++ {
		rule := fmt.Sprintf(`[data-step="%d"] { --step: var(--step-%d); }`, step, step)
		if !strings.Contains(css, rule) {
			return "there is no " + rule
		}
		for _, l := range colours[fmt.Sprintf("step-%d", step)] {
			if other, ok := seen[l]; ok {
				return fmt.Sprintf("steps %d and %d have the same colour", other, step)
			}
			seen[l] = step
		}
	}
	return ""
}

// Nothing comes from outside, and nothing in the pages needs a policy that
// lets inline scripts or styles be.
func TestPagesAreTheirOwn(t *testing.T) {
	for _, name := range []string{"index.html", "taskProducer.html", "style.css", "api.js", "panel.js", "producer.js", "strip.js", "tasks.js"} {
		for _, problem := range foreign(read(t, name)) {
			t.Errorf("%s: %s", name, problem)
		}
	}
	for _, broken := range []string{
		`<script src="https://cdn.example/x.js"></script>`, `<script src="//cdn.example/x.js"></script>`, `<p style="color: red">`,
		`<button onclick="go()">`, `<script>go()</script>`, `<style>p {}</style>`, `@import "http://fonts.example/x.css";`,
		`node.innerHTML = task.description`, `node.insertAdjacentHTML("beforeend", x)`, `document.write(x)`, `eval(x)`,
	} {
		if len(foreign(broken)) == 0 {
			t.Errorf("%s passes", broken)
		}
	}
}

func foreign(content string) (problems []string) {
	for what, pattern := range map[string]string{
		"something from outside": `(https?:)?//[a-z0-9-]+\.[a-z]`,
		"an inline style":        `<[^>]* style=|<style`,
		"an inline script":       `<[^>]* on[a-z]+=|<script[^>]*>[^<]`,
		"text read as markup":    `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`,
	} {
		if found := regexp.MustCompile(pattern).FindString(content); found != "" {
			problems = append(problems, what+": "+found)
		}
	}
	return problems
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(static.Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}
