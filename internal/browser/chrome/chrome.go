// Package chrome drives a Chromium that is installed on this machine, for tests and pictures of pages.
//
//	b, err := chrome.Start(ctx)
//	tab, err := b.Open(chrome.View{Width: 1280, Height: 800, Dark: true})
//	err = tab.Go(ctx, "http://127.0.0.1:8090/")
//	err = tab.Follow(ctx, "nav a", "Tasks")
//	err = tab.Wait(ctx, `document.querySelector("h1").textContent == "Tasks"`)
//	png, err := tab.Screenshot(ctx, true)
//
// Tabs share one profile, which is temporary: cookies and storage are those of one user. Each tab has a window of its
// own, so all of them are visible until [Tab.Hide]. A tab records what the page reports and requests: see
// [Tab.Problems] and [Tab.Requests].
//
// Waiting means that the page tells when a condition holds; nothing sleeps. Every wait ends with its context.
//
// A [Browser] and its tabs are safe for concurrent use, but the actions of one tab would race: use a tab in one
// goroutine.
package chrome

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
)

// Variable is the environment variable with the path of the browser.
const Variable = "AF_TEST_CHROMIUM"

// closeWait is how long Close waits for the browser before it is killed.
const closeWait = 5 * time.Second

// ErrNone means that no browser is installed.
var ErrNone = errors.New("no Chromium: install it, or set " + Variable + " to the path of one")

// Find returns the path of a browser: that of the environment variable AF_TEST_CHROMIUM, or the first of chromium,
// chromium-browser and google-chrome in PATH. Without any, it returns [ErrNone].
func Find() (string, error) {
	if path := os.Getenv(Variable); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", Variable, err)
		}
		return found, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

// A Browser is a running Chromium. Start returns one; it ends with the context of Start or by Close.
type Browser struct {
	ctx   context.Context // of chromedp
	stop  context.CancelFunc
	close sync.Once
}

// Start starts a browser without windows on the screen, and with an empty temporary profile. It makes no requests of
// its own. It runs until ctx ends or Close is called, and its profile is removed then.
func Start(ctx context.Context) (*Browser, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-pings", true),
		chromedp.Flag("lang", "en-US"),
		// One process for all pages of a site, and none in reserve: starting them takes most of the time.
		chromedp.Flag("process-per-site", true),
		chromedp.Flag("disable-features", "Translate,SpareRendererForSitePerProcess,OptimizationHints,MediaRouter"),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it does not work for root
	}
	all, stopAll := chromedp.NewExecAllocator(ctx, options...)
	quiet := func(string, ...any) {} // chromedp logs events that it does not know
	first, stopFirst := chromedp.NewContext(all, chromedp.WithLogf(quiet), chromedp.WithErrorf(quiet))
	b := &Browser{ctx: first, stop: func() { stopFirst(); stopAll() }}
	if err := chromedp.Do(first); err != nil {
		b.stop()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return b, nil
}

// Close ends the browser and all of its tabs, and waits until it has ended. Further calls do nothing.
func (b *Browser) Close() {
	b.close.Do(func() {
		ctx, cancel := context.WithTimeout(b.ctx, closeWait)
		defer cancel()
		_ = chromedp.Cancel(ctx) // what does not end by itself is killed
		b.stop()
	})
}
