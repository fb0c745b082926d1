package chrome

import (
	"context"
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Keys for [Tab.Press].
const (
	Enter  = kb.Enter
	Escape = kb.Escape
	TabKey = kb.Tab
)

// target is the middle of the first visible element that matches a selector and has a text, scrolled into view. It is
// null without such an element, and tells what covers it if a click would not reach it.
const target = `(() => {
  const el = [...document.querySelectorAll(%s)].find((e) => e.checkVisibility({ visibilityProperty: true }) &&
    (e.textContent || e.value || "").replace(/\s+/g, " ").includes(%s));
  if (!el) return null;
  let r = el.getBoundingClientRect();
  if (r.top < 0 || r.left < 0 || r.bottom > innerHeight || r.right > innerWidth) {
    el.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    r = el.getBoundingClientRect();
  }
  const x = r.left + r.width / 2, y = r.top + r.height / 2;
  const at = document.elementFromPoint(x, y);
  const hit = at && (el.contains(at) || at.contains(el) && at.matches("label"));
  if (!hit) return { over: at ? at.outerHTML.slice(0, 200) : "nothing" };
  return { x, y };
})()`

type point struct {
	X, Y float64
	Over string
}

// at waits for an element that can be clicked, and returns its middle.
func (t *Tab) at(ctx context.Context, css, text string) (point, error) {
	find := fmt.Sprintf(target, quote(css), quote(text))
	if err := t.Wait(ctx, find); err != nil {
		return point{}, err
	}
	var p *point
	switch err := t.Eval(ctx, find, &p); {
	case err != nil:
		return point{}, err
	case p == nil:
		return point{}, fmt.Errorf("%s %q has disappeared", css, text)
	case p.Over != "":
		return point{}, fmt.Errorf("%s %q is covered by %s", css, text, p.Over)
	}
	return *p, nil
}

// Click waits for a visible element that matches a CSS selector and contains a text, and clicks it, or taps it in the
// view of a phone. An empty text matches any. It fails if something covers the element.
func (t *Tab) Click(ctx context.Context, css, text string) error {
	p, err := t.at(ctx, css, text)
	if err != nil {
		return fmt.Errorf("clicking: %w", err)
	}
	joined, cancel := t.join(ctx)
	defer cancel()
	if err := chromedp.Do(joined, t.press(p)); err != nil {
		return fmt.Errorf("clicking %s %q: %w", css, text, err)
	}
	return nil
}

// Follow is [Click] of an element that opens a page, such as a link or the button of a form. It waits until that is
// loaded.
func (t *Tab) Follow(ctx context.Context, css, text string) error {
	p, err := t.at(ctx, css, text)
	if err != nil {
		return fmt.Errorf("following: %w", err)
	}
	return t.loading(ctx, fmt.Sprintf("following %s %q", css, text), t.press(p))
}

func (t *Tab) press(p point) chromedp.Action[chromedp.Void] {
	if t.view.Phone {
		return chromedp.TapXY(p.X, p.Y)
	}
	return chromedp.MouseClickXY(p.X, p.Y)
}

// Fill replaces the text of a field by another.
func (t *Tab) Fill(ctx context.Context, css, text string) error {
	if err := t.Click(ctx, css, ""); err != nil {
		return err
	}
	if err := t.Eval(ctx, "document.activeElement.select()", nil); err != nil {
		return fmt.Errorf("selecting the text of %s: %w", css, err)
	}
	if text == "" {
		return t.Press(ctx, kb.Delete)
	}
	return t.Type(ctx, text)
}

// Type inserts a text where the focus is.
func (t *Tab) Type(ctx context.Context, text string) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	if err := chromedp.Do(joined, call(input.InsertText, input.InsertTextParams{Text: text})); err != nil {
		return fmt.Errorf("typing: %w", err)
	}
	return nil
}

// Press presses keys, one after the other: letters, or constants such as [Enter].
func (t *Tab) Press(ctx context.Context, keys string) error {
	joined, cancel := t.join(ctx)
	defer cancel()
	for _, key := range keys {
		if err := chromedp.Do(joined, stroke(key)); err != nil {
			return fmt.Errorf("pressing %q: %w", keys, err)
		}
	}
	return nil
}

// stroke presses a key and releases it. The browser makes the character of the key itself, unless the page prevents it;
// chromedp.KeyEvent would insert it in any case.
func stroke(key rune) chromedp.Action[chromedp.Void] {
	var steps []chromedp.Action[chromedp.Void]
	events := kb.Encode(key)
	for i, e := range events {
		switch {
		case e.Type == kb.KeyChar:
			continue
		case e.Type == kb.KeyDown && i+1 < len(events) && events[i+1].Type == kb.KeyChar:
			e.Text = events[i+1].Text
		}
		steps = append(steps, call(input.DispatchKeyEvent, *e))
	}
	return chromedp.Steps(steps...)
}
