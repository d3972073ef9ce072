// Package browsertest gives tests a real browser: Debian's Chromium, without a
// window, with an empty profile.
//
// A test that needs one is skipped where none is installed, and fails there
// when MIGRATE_TEST_ALL is 1, as scripts/test.sh sets it.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds each wait. It is only spent when something is wrong.
const patience = time.Minute

// Binary returns the path of the Chromium to test with.
func Binary(t testing.TB) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if name := os.Getenv("MIGRATE_CHROMIUM"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const message = "needs Chromium, which is not installed: run scripts/install-chromium.sh"
	if os.Getenv("MIGRATE_TEST_ALL") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// Tab is a page of a browser. Its methods end the test when they fail.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// New starts a browser with one empty page. When the test ends it ends too;
// an exception in a script, or something that the Content-Security-Policy
// stopped, has then failed the test, unless [Tab.Problems] was asked. More
// options are the browser's own.
func New(t testing.TB, more ...chromedp.ExecAllocatorOption) *Tab {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time: left out of short runs")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(Binary(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.DisableGPU,
		chromedp.NoSandbox, // root, as in a container, can't have one; what is opened is our own
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(patience),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage",
		"disable-background-timer-throttling", "disable-renderer-backgrounding", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, closeTab := chromedp.NewContext(allocator)
	tab := &Tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		for _, problem := range tab.Problems() {
			t.Error(problem)
		}
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
		closeTab()
		end() // and waits: the profile is removed after this
	})
	if err := chromedp.Listen(ctx, tab.heard); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("listen to the browser's log: %v", err)
	}
	return tab
}

func (tab *Tab) heard(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception in a script: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			problem += " " + thrown.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level == log.EntryLevelError { // tests break the network on purpose
			problem = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.problems = append(tab.problems, problem)
	}
}

// Problems returns what scripts threw and what the Content-Security-Policy
// stopped since it was last asked.
func (tab *Tab) Problems() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	problems := tab.problems
	tab.problems = nil
	return problems
}

// Do performs actions.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tab.t.Fatalf("browser: %v%s", err, tab.seen())
	}
}

// Open loads a page.
func (tab *Tab) Open(url string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(url))
}

// Eval returns the value of an expression, or of the promise that it is.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("browser: %s: %v%s", expression, err, tab.seen())
	}
	return value
}

// Wait returns once the expression is true.
func (tab *Tab) Wait(expression string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	look := time.NewTicker(25 * time.Millisecond)
	defer look.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			tab.t.Fatalf("waited in vain for %s (%v)%s", expression, err, tab.seen())
		}
	}
}

// Text waits until the selected element's text contains a part.
func (tab *Tab) Text(selector, part string) {
	tab.t.Helper()
	tab.Wait(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, part))
}

// Count counts in window[name], from now on, how often an element at or within
// the selected one gets a class, or gets it anew: a mark that goes away by itself can't be missed.
func (tab *Tab) Count(name, selector, class string) {
	tab.t.Helper()
	Eval[bool](tab, fmt.Sprintf(`((name, selector, mark) => {
		window[name] = 0;
		new MutationObserver((changes) => {
			const marked = changes.filter(({ target, oldValue }) => target.classList.contains(mark) && !(oldValue ?? "").split(" ").includes(mark));
			window[name] += new Set(marked.map(({ target }) => target)).size; // an element counts once for all that was done to it at once
		}).observe(document.querySelector(selector), { subtree: true, attributeFilter: ["class"], attributeOldValue: true });
		return true;
	})(%q, %q, %q)`, name, selector, class))
}

// Keys presses keys, wherever the keyboard is.
func (tab *Tab) Keys(keys string) {
	tab.t.Helper()
	tab.Do(chromedp.KeyEvent(keys))
}

// Click clicks what is selected.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Look is how a page is looked at.
type Look struct {
	Width, Height int64 // of the window, in CSS pixels
	Dark, Still   bool  // the person prefers dark colours, or reduced motion
}

// As makes the page look so from now on.
func (tab *Tab) As(look Look) {
	tab.t.Helper()
	scheme, motion := "light", "no-preference"
	if look.Dark {
		scheme = "dark"
	}
	if look.Still {
		motion = "reduce"
	}
	tab.Do(chromedp.EmulateViewport(look.Width, look.Height))
	_, err := chromedp.Call(tab.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}})
	if err != nil {
		tab.t.Fatalf("browser: %v", err)
	}
}

// Photograph writes a picture of the whole page: path.png, and a small one,
// path.webp.
func (tab *Tab) Photograph(path string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for ending, params := range map[string]page.CaptureScreenshotParams{
		".png":  {Format: page.CaptureScreenshotFormatPng},
		".webp": {Format: page.CaptureScreenshotFormatWebp, Quality: new(int64(50))},
	} {
		params.CaptureBeyondViewport = new(true)
		picture, err := chromedp.Call(ctx, page.CaptureScreenshot, params)
		if err != nil {
			tab.t.Fatalf("browser: %v", err)
		}
		if err := os.WriteFile(path+ending, picture.Data, 0o644); err != nil {
			tab.t.Fatal(err)
		}
	}
}

// seen is what a person would read on the page now.
func (tab *Tab) seen() string {
	ctx, cancel := context.WithTimeout(tab.ctx, 2*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	if err != nil {
		return ""
	}
	return "\nthe page: " + strings.TrimSpace(text)
}
