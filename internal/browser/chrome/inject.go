package chrome

import (
	"context"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Inject runs a script in each page that the tab opens from now on, before the page's own scripts.
func (t *Tab) Inject(ctx context.Context, script string) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	err := chromedp.Do(joined, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument,
			page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
	if err != nil {
		return fmt.Errorf("injecting a script: %w", err)
	}
	return nil
}
