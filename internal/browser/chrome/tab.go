package chrome

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// maxRecords is how many problems and requests of a tab are kept, each.
const maxRecords = 10_000

// A Tab is a page in a window of its own. Browser.Open returns one.
type Tab struct {
	ctx   context.Context // of chromedp
	close context.CancelFunc
	view  View

	mu       sync.Mutex
	loads    int           // pages that have been loaded
	loaded   chan struct{} // closed and replaced at each load
	problems []string
	requests []string
}

// Open opens a tab on an empty page. It ends by Close, or with the browser.
func (b *Browser) Open(v View) (*Tab, error) {
	t := &Tab{loaded: make(chan struct{})}
	t.ctx, t.close = chromedp.NewContext(b.ctx, chromedp.WithListener(t.hear))
	if err := chromedp.Do(t.ctx); err != nil { // with the tab's own context: the tab ends with that of its first action
		t.close()
		return nil, fmt.Errorf("opening a tab: %w", err)
	}
	if err := t.View(t.ctx, v); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// Close closes the tab.
func (t *Tab) Close() { t.close() }

// join returns a context of chromedp for an action, which ends with ctx.
func (t *Tab) join(ctx context.Context) (context.Context, context.CancelFunc) {
	joined, cancel := context.WithCancelCause(t.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return joined, func() { stop(); cancel(nil) }
}

// call returns an action that runs a command without a result.
func call[P any](cmd cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, cmd, params)
		return err
	})
}

// hear records events. It must not block.
func (t *Tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	problem := func(kind, text string) {
		if len(t.problems) < maxRecords {
			t.problems = append(t.problems, kind+": "+text)
		}
	}
	switch e := event.(type) {
	case *page.EventLoadEventFired:
		t.loads++
		close(t.loaded)
		t.loaded = make(chan struct{})
	case *network.EventRequestWillBeSent:
		if len(t.requests) < maxRecords {
			t.requests = append(t.requests, e.Request.URL)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem(string(e.Entry.Level), strings.TrimSpace(e.Entry.Text+" "+e.Entry.URL))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		problem("exception", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		var words []string
		for _, a := range e.Args {
			words = append(words, cmp.Or(a.Description, string(a.Value)))
		}
		problem("console", strings.Join(words, " "))
	}
}

// Problems returns the errors and warnings in the console of the pages that the tab has shown, oldest first:
// exceptions, messages of scripts, responses with a status of 400 or more, and violations of policies. It forgets them.
func (t *Tab) Problems() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	problems := t.problems
	t.problems = nil
	return problems
}

// Requests returns the URLs that the tab has requested, oldest first. It forgets them.
func (t *Tab) Requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	requests := t.requests
	t.requests = nil
	return requests
}

// Go opens an address and waits until the page and all that it contains is loaded. A page of an error is no error.
func (t *Tab) Go(ctx context.Context, url string) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	if err := chromedp.Do(joined, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("opening %s: %w", url, err)
	}
	return nil
}

// Reload loads the page again.
func (t *Tab) Reload(ctx context.Context) error {
	return t.loading(ctx, "reload", call(page.Reload, page.ReloadParams{}))
}

// Back goes back in the history by one page. It comes from the browser's cache, or is
// loaded again.
func (t *Tab) Back(ctx context.Context) error { return t.travel(ctx, -1) }

// Forward is the opposite of [Tab.Back].
func (t *Tab) Forward(ctx context.Context) error { return t.travel(ctx, 1) }

func (t *Tab) travel(ctx context.Context, steps int) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	h, err := chromedp.Run(joined, chromedp.NavigationEntries())
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	to := int(h.CurrentIndex) + steps
	if to < 0 || to >= len(h.Entries) {
		return fmt.Errorf("the history has no entry %d of %d", to, len(h.Entries))
	}
	err = chromedp.Do(joined, call(page.NavigateToHistoryEntry,
		page.NavigateToHistoryEntryParams{EntryID: h.Entries[to].ID}))
	if err != nil {
		return fmt.Errorf("going to %s: %w", h.Entries[to].URL, err)
	}
	return t.Wait(ctx, fmt.Sprintf(`location.href === %s && document.readyState === "complete"`, quote(h.Entries[to].URL)))
}

// loading runs an action and waits until the page that it opens is loaded.
func (t *Tab) loading(ctx context.Context, what string, action chromedp.Action[chromedp.Void]) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	t.mu.Lock()
	loaded := t.loaded
	t.mu.Unlock()
	if err := chromedp.Do(joined, action); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	select {
	case <-loaded:
		return nil
	case <-joined.Done():
		return fmt.Errorf("%s: no page was loaded: %w", what, context.Cause(joined))
	}
}

// Hide minimizes the tab's window: its page becomes hidden (document.hidden), as behind another tab.
func (t *Tab) Hide(ctx context.Context) error {
	return t.window(ctx, browser.WindowStateMinimized, true)
}

// Show shows a hidden tab again.
func (t *Tab) Show(ctx context.Context) error { return t.window(ctx, browser.WindowStateNormal, false) }

func (t *Tab) window(ctx context.Context, state browser.WindowState, hidden bool) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	err := chromedp.Do(joined, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		w, err := cdp.Call(ctx, target, browser.GetWindowForTarget, browser.GetWindowForTargetParams{})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, target, browser.SetWindowBounds, browser.SetWindowBoundsParams{
			WindowID: w.WindowID, Bounds: &browser.Bounds{WindowState: state}})
		return err
	}))
	if err != nil {
		return fmt.Errorf("the window: %w", err)
	}
	return t.Wait(ctx, fmt.Sprintf("document.hidden === %t", hidden))
}

// Screenshot returns a PNG of the viewport or, if full is set, of the whole page. The picture has Scale times the
// pixels of the view.
func (t *Tab) Screenshot(ctx context.Context, full bool) ([]byte, error) {
	joined, cancel := t.join(ctx)
	defer cancel()
	picture, err := chromedp.Run(joined, func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		r, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &full})
		return r.Data, err
	})
	if err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", err)
	}
	return picture, nil
}

// Eval evaluates a JavaScript expression in the page, and decodes its value into out, as from JSON. The value of a
// promise is waited for. If out is nil, the value is ignored.
func (t *Tab) Eval(ctx context.Context, expression string, out any) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	if out == nil {
		expression = "(async () => { await (" + expression + "); return null; })()"
	} else {
		expression = "(async () => { const v = await (" + expression + "); return v === undefined ? null : v; })()"
	}
	if t.view.NoScript { // promises need scripts
		expression = strings.NewReplacer("async () ", "() ", "await ", "").Replace(expression)
	}
	value, err := chromedp.Run(joined, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return fmt.Errorf("evaluating %s: %w", expression, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(value, out); err != nil {
		return fmt.Errorf("evaluating %s: %w", expression, err)
	}
	return nil
}

// Run runs a script in the page, and ignores its value. It is not subject to the page's policy.
func (t *Tab) Run(ctx context.Context, script string) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	_, err := chromedp.Run(joined, chromedp.Evaluate[chromedp.Void](script+"\n;0"))
	if err != nil {
		return fmt.Errorf("running a script: %w", err)
	}
	return nil
}

// waiting resolves when the condition %s holds. What changes no node, such as scrolling, is noticed by a frame.
const waiting = `new Promise((done) => {
  const holds = () => { try { return !!(%s); } catch { return false; } };
  if (holds()) { done(true); return; }
  let timer = 0;
  const seen = new MutationObserver(() => check());
  const check = () => { if (holds()) { seen.disconnect(); clearInterval(timer); done(true); } };
  seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  timer = setInterval(check, 20);
})`

// retryWait is how long Wait waits if it must ask the page again.
const retryWait = 10 * time.Millisecond

// Wait waits until a JavaScript expression is true in the page, or in one that replaces it. An exception counts as
// false. The error at the end of ctx has the expression and the text of the page.
func (t *Tab) Wait(ctx context.Context, condition string) error {
	for {
		var holds bool
		var err error
		if t.view.NoScript {
			err = t.Eval(ctx, fmt.Sprintf("(() => { try { return !!(%s); } catch { return false; } })()", condition), &holds)
		} else {
			err = t.Eval(ctx, fmt.Sprintf(waiting, condition), &holds)
		}
		if err == nil && holds {
			return nil
		}
		select { // the page was replaced, or can't tell
		case <-time.After(retryWait):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w\n%s", condition, context.Cause(ctx), t.text())
		case <-t.ctx.Done():
			return fmt.Errorf("waiting for %s: the tab is closed", condition)
		}
	}
}

// text returns the text that the page shows, for errors.
func (t *Tab) text() string {
	ctx, cancel := context.WithTimeout(t.ctx, time.Second)
	defer cancel()
	var text string
	if err := t.Eval(ctx, `location.href + "\n" + document.body.innerText.slice(0, 4000)`, &text); err != nil {
		return err.Error()
	}
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool {
		return strings.TrimSpace(s) == ""
	}), "\n")
}

// quote returns a text as a JavaScript literal.
func quote(s string) string {
	b, _ := json.Marshal(s) // it can't fail for a string
	return string(b)
}
