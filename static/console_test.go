package static_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/static/browsertest"
)

const items = `document.querySelectorAll("#tasks li")`

func TestTaskAddedDoneGone(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
	tab.Open(s.url)
	tab.Text("#blank", "Nothing to do for Bill")
	fill(tab, "#new input", "buy milk")
	tab.Click("#new button")
	tab.Text("#tasks li", "buy milk")
	tab.Text("#message", "Added for Bill: buy milk")
	tab.Text("#count", "1 task")
	if got := s.undone("Bill"); !slices.Equal(got, []string{"buy milk"}) {
		t.Fatalf("the service has %q", got)
	}
	tab.Click("#tasks input")
	tab.Text("#message", "Done: buy milk")
	tab.Wait(items + ".length === 0")
	tab.Text("#blank", "Nothing to do for Bill")
	if got := s.undone("Bill"); len(got) != 0 {
		t.Errorf("the service still has %q", got)
	}
	s.create("Jane", "read", "write")
	fill(tab, "#filter input", "Jane")
	tab.Click("#filter button")
	tab.Text("#count", "2 tasks")
	tab.Open(s.url + "/?assignee=Jane") // as a bookmark would
	tab.Text("#list-title", "To do for Jane")
	tab.Text("#count", "2 tasks")
}

func TestLongListsComeInPages(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
	for i := range 230 {
		s.create("Bill", fmt.Sprintf("task %d", i))
	}
	tab.Open(s.url)
	tab.Text("#count", "100 shown, there are more")
	fill(tab, "#new input", "one more")
	tab.Click("#new button")
	tab.Wait(items + ".length === 101")
	tab.Click("#more")
	tab.Wait(items + ".length > 101")
	tab.Click("#more")
	tab.Text("#count", "231 tasks")
	shown := browsertest.Eval[[]string](tab, `[...`+items+`].map((item) => item.textContent)`)
	slices.Sort(shown)
	if want := s.undone("Bill"); len(slices.Compact(shown)) != len(want) {
		t.Errorf("%d different tasks are shown of %d", len(slices.Compact(shown)), len(want))
	}
}

// The list is in the order of descriptions, as the original's was, whatever
// the order of ids, page by page, and with what is added.
func TestListIsSortedByDescription(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
	want := []string{"walk", "Éclair", "apple", "Zebra", "banana", "apple 10", "apple 9", "Apple 5", "<b>"}
	for i := range 120 { // more than a page
		want = append(want, fmt.Sprintf("task %d", 120-i))
	}
	s.create("Bill", want...)
	tab.Open(s.url)
	tab.Text("#count", "100 shown, there are more")
	sorted := func(n int) {
		t.Helper()
		tab.Wait(fmt.Sprintf("%s.length === %d", items, n))
		got := browsertest.Eval[[]string](tab, `[...`+items+`].map((item) => item.textContent)`)
		inOrder := func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
		if !slices.IsSortedFunc(got, inOrder) {
			t.Errorf("not in order: %q", got)
		}
	}
	sorted(100)
	fill(tab, "#new input", "coffee")
	tab.Click("#new button")
	sorted(101)
	tab.Click("#more")
	sorted(len(want) + 1)
}

// A page of the original that the browser has in its cache leads to the
// present one at the same address, by the script that it asks for.
func TestCachedPagesOfTheOriginal(t *testing.T) {
	t.Parallel()
	for path, c := range map[string]struct{ scripts, title string }{
		"/":                         {`<script src="../static/serverConfigController.js"></script><script src="../static/userConsole.js"></script>`, "Tasks · To do"},
		"/static/taskProducer.html": {`<script src="../static/serverConfigController.js"></script><script src="../static/taskProducer.js"></script>`, "Task producer · To do"},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
			var again atomic.Int64
			s.disturb(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != path || again.Add(1) > 1 {
					return false
				}
				w.Header().Set("Cache-Control", "public, max-age=43200") // as Flask says
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprintf(w, `<!DOCTYPE html><title>Original</title><link href="../static/serverConfig.css" rel="stylesheet">%s<p>original`, c.scripts)
				return true
			})
			tab.Open(s.url + path)
			tab.Wait(fmt.Sprintf(`document.title === %q && document.querySelector("#panel")`, c.title))
			tab.Open("about:blank")
			tab.Open(s.url + path) // and the cache has the present one now
			tab.Wait(fmt.Sprintf(`document.title === %q`, c.title))
		})
	}
}

// A cache on the way that gives the old page for ever is not asked for ever.
func TestOriginalThatStaysIsLeftAlone(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
	var pages atomic.Int64
	s.disturb(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/" {
			return false
		}
		pages.Add(1)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><title>Original</title><script src="/static/userConsole.js"></script><script src="/static/serverConfigController.js"></script>`)
		return true
	})
	tab.Open(s.url)
	tab.Wait(`performance.getEntriesByType("navigation")[0].loadEventEnd > 0 && sessionStorage.getItem("moved") !== null`)
	for range 20 { // turns of a page that goes on loading anew
		tab.Wait(`document.readyState === "complete"`)
	}
	if n := pages.Load(); n > 4 {
		t.Errorf("the page was asked for %d times", n)
	}
}

// Everything can be done with the keyboard, and one sees where it is.
func TestKeyboardOnly(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.WriteBoth), browsertest.New(t)
	s.create("Bill", "first", "second")
	tab.Open(s.url)
	tab.Wait(items + ".length === 2")
	tab.Keys("\t\r") // the skip link
	tab.Wait(`document.activeElement.id === "list"`)
	tab.Open(s.url)
	tab.Wait(items + ".length === 2")
	reach(t, tab, "#new input")
	tab.Keys("third\r")
	tab.Wait(items + ".length === 3")
	tab.Wait(`document.activeElement.matches("#new input") && document.activeElement.value === ""`)
	reach(t, tab, "#tasks input")
	for left := 2; left >= 0; left-- { // the keyboard goes on to the next one by itself
		tab.Keys(" ")
		tab.Wait(fmt.Sprintf("%s.length === %d", items, left))
	}
	tab.Wait(`document.activeElement.matches("#new input")`)
	if got := s.undone("Bill"); len(got) != 0 {
		t.Errorf("still undone: %q", got)
	}
	tab.Open(s.url + "/static/taskProducer.html")
	tab.Text("#panel h2", "write to both")
	reach(t, tab, "#run")
	tab.Keys("\r")
	tab.Text("#running", "Running")
	tab.Keys(" ")
	tab.Text("#running", "Stopped")

	// Would it be noticed if one saw nothing?
	browsertest.Eval[bool](tab, `document.styleSheets[0].insertRule("*:focus-visible { outline: none !important }"), true`)
	if visibleFocus(tab) {
		t.Error("a focus without an outline passed for a visible one")
	}
}

// reach presses Tab until the keyboard is at the element, and wants to see it
// at each stop on the way.
func reach(t *testing.T, tab *browsertest.Tab, selector string) {
	t.Helper()
	for range 20 {
		tab.Keys("\t")
		if !visibleFocus(tab) {
			t.Errorf("the focus can't be seen at %s", browsertest.Eval[string](tab, `document.activeElement.outerHTML`))
		}
		if browsertest.Eval[bool](tab, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
	}
	t.Fatalf("the keyboard does not get to %s", selector)
}

func visibleFocus(tab *browsertest.Tab) bool {
	return browsertest.Eval[bool](tab, `(() => {
		const style = getComputedStyle(document.activeElement);
		return document.activeElement !== document.body && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
	})()`)
}

// User text is never markup: not in the list, not in a message, not by its id.
func TestUserTextIsNoMarkup(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.DeployNew), browsertest.New(t)
	const evil = `<img src=x onerror="window.hit=1"><script>window.hit=2</script>`
	tab.Open(s.url + "/?assignee=" + "%3Cimg%20src%3Dx%3E")
	tab.Text("#blank", "Nothing to do for <img src=x>")
	fill(tab, "#new input", evil)
	tab.Click("#new button")
	tab.Text("#tasks li", evil)
	tab.Text("#message", `<img src=x onerror="window.hit=1">`)
	const markup = `document.querySelectorAll("main img, main script").length + (window.hit ?? 0)`
	if n := browsertest.Eval[int](tab, markup); n != 0 {
		t.Errorf("%d elements were made of user text", n)
	}
	tab.Click("#tasks input")
	tab.Wait(items + ".length === 0")

	// Would it be noticed? And does the policy stop what would then run?
	browsertest.Eval[bool](tab, fmt.Sprintf(`(document.querySelector("#message").innerHTML = %q, true)`, evil))
	tab.Wait(`[...document.images].every((image) => image.complete)`)
	if n := browsertest.Eval[int](tab, markup); n < 2 {
		t.Errorf("of markup made of user text %d elements were noticed", n)
	}
	var stopped bool
	for !stopped && !t.Failed() {
		tab.Wait("true")
		stopped = slices.ContainsFunc(tab.Problems(), func(p string) bool { return strings.Contains(p, "Content Security Policy") })
	}
	if browsertest.Eval[bool](tab, `"hit" in window`) {
		t.Error("the script in user text ran")
	}
}

// A write of unknown outcome says so; one can look again, and adding the same
// once more makes no second task.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	for name, disturbed := range map[string]func(*site) fault{
		"said": func(s *site) fault { return s.unknown("POST") },
		"cut": func(s *site) fault {
			return func(w http.ResponseWriter, r *http.Request) bool {
				return s.unknown("POST")(discard{w}, r) && cut("POST", "")(w, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
			tab.Open(s.url)
			tab.Text("#blank", "Nothing to do")
			s.disturb(disturbed(s))
			fill(tab, "#new input", "pay rent")
			tab.Click("#new button")
			tab.Text(`#message[data-kind="unknown"]`, "may or may not have been saved")
			tab.Click("#message button")
			tab.Text("#tasks li", "pay rent")
			s.disturb(nil)
			tab.Click("#new button") // the words are still there
			tab.Text("#message", "Added for Bill")
			if got := s.undone("Bill"); !slices.Equal(got, []string{"pay rent"}) {
				t.Errorf("the service has %q", got)
			}
			s.disturb(s.unknown("PUT"))
			tab.Click("#tasks input")
			tab.Text(`#message[data-kind="unknown"]`, "may or may not have been saved")
			tab.Click("#message button")
			tab.Wait(items + ".length === 0")
		})
	}
}

// discard drops an answer.
type discard struct{ http.ResponseWriter }

func (discard) Header() http.Header             { return http.Header{} }
func (discard) WriteHeader(int)                 {}
func (discard) Write(b []byte) (n int, _ error) { return len(b), nil }

func TestRefusedWritesSayThatNothingChanged(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
	tab.Open(s.url)
	tab.Text("#blank", "Nothing to do")
	s.disturb(refuse("POST", "/tasks"))
	fill(tab, "#new input", "pay rent")
	tab.Click("#new button")
	tab.Text(`#message[data-kind="bad"]`, "“pay rent” was not saved: the database can't be reached; nothing has changed")
	if got := s.undone("Bill"); len(got) != 0 {
		t.Errorf("the service has %q", got)
	}
}

// Loading, unreachable, and there again; what was read before stays, marked.
func TestLoadingAndUnreachable(t *testing.T) {
	t.Parallel()
	s, tab := newSite(t, migration.ReadBoth), browsertest.New(t)
	answerNow := make(chan struct{})
	s.disturb(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/tasks" || r.URL.Path == "/config" {
			<-answerNow
		}
		return false
	})
	tab.Open(s.url)
	tab.Text("#blank", "Loading…")
	tab.Text("#panel h2", "Asking who serves…")
	tab.Wait(`document.querySelector("#list").ariaBusy === "true"`)
	close(answerNow)
	tab.Text("#blank", "Nothing to do for Bill")
	s.create("Bill", "one")
	tab.Click("#filter button")
	tab.Text("#tasks li", "one")

	s.disturb(cut("", ""))
	tab.Click("#filter button")
	tab.Text(`#message[data-kind="bad"]`, "The tasks can't be read")
	tab.Text("#count", "as last read")
	tab.Text("#tasks[data-stale] li", "one")
	fill(tab, "#filter input", "Jane")
	tab.Click("#filter button")
	tab.Text("#blank", "Jane's tasks can't be shown now")
	tab.Wait(items + ".length === 0") // Bill's are not Jane's
	tab.Text(`#panel[data-state="unreachable"] h2`, "no answer")

	s.disturb(nil)
	tab.Click("#message button")
	tab.Text("#blank", "Nothing to do for Jane")
	tab.Text(`#panel[data-state="live"] h2`, "read from both")
}

// fill replaces what is in a field.
func fill(tab *browsertest.Tab, selector, text string) {
	browsertest.Eval[bool](tab, fmt.Sprintf(`(document.querySelector(%q).select(), true)`, selector))
	tab.Keys(text)
}
