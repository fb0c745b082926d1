package chrome

import (
	"cmp"
	"context"
	"fmt"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A View is what a tab emulates. Its zero value is a light desktop of 1280 × 800.
type View struct {
	Width, Height int     // of the viewport in CSS pixels; 1280 × 800 if zero
	Scale         float64 // device pixels of a CSS pixel; 1 if zero
	Dark          bool    // prefers-color-scheme
	Phone         bool    // touch events, and the viewport and scrollbars of a phone
	NoScript      bool    // scripts of pages don't run
}

func (v View) width() int  { return cmp.Or(v.Width, 1280) }
func (v View) height() int { return cmp.Or(v.Height, 800) }

// View changes what the tab emulates. The page remains; it gets a new size and theme at once, while NoScript takes
// effect with the next page. Animations are off always (prefers-reduced-motion), and times are in UTC, in English.
func (t *Tab) View(ctx context.Context, v View) error {
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	ctx, cancel := t.join(ctx)
	defer cancel()
	err := chromedp.Do(ctx,
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: int64(v.width()), Height: int64(v.height()), ScreenWidth: int64(v.width()), ScreenHeight: int64(v.height()),
			DeviceScaleFactor: cmp.Or(v.Scale, 1), Mobile: v.Phone}),
		call(emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: v.Phone}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}),
		call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"}),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.NoScript}),
	)
	if err != nil {
		return fmt.Errorf("emulating %+v: %w", v, err)
	}
	t.view = v
	return nil
}
